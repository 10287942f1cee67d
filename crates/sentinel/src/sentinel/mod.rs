//! The actor that judges.

mod config;
#[expect(dead_code, reason = "the loop that takes these messages follows")]
mod ingress;

pub use config::Config;
pub use ingress::Mailbox;
