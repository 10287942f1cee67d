//! An execution layer beside commonware's marshal: what the marshal delivers is executed, then acknowledged.
//!
//! # Overview
//!
//! ```text
//!  marshal ── updates ──▶ Application ── batches ──▶ Executor ──▶ Execution: give, point
//!     ▲                       │                         ▲
//!     └── acknowledgements, ──┘                         │
//!         blocks that the client lost                   │
//!  FollowDriver, Resolver ──▶ Layer: durable, at, by digest, redeliver
//! ```
//!
//! [`Mailbox::updates`] belongs among the marshal's reporters, beside those of
//! [`FollowDriver`](tidewatch_certified::FollowDriver), to which [`Layer`] is the execution layer. What the marshal
//! delivers is final: each block is head, safe and finalized at once. Tips that are only announced are not pointed
//! at, because the client has no way to their blocks but this one.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | blocks that wait | they are given together, up to a limit, and acknowledged together when the client stands at the last |
//! | the client does not answer, or is not done | the same again, after a growing pause |
//! | the client was restarted and lost blocks | those between where it stands and what waits are read from the marshal and given first |
//! | it lost blocks that the marshal does not keep | [`Lost`](crate::ExecutionError::Lost), again and again: the operator has to bring one of the two back |
//! | INVALID | the executor ends with the evidence, and this with it; the acknowledgement is dropped, so the marshal ends too |
//!
//! # Restart safety
//!
//! Nothing is kept. An acknowledged block that the client lost with its process is below what the marshal counts as
//! delivered: the next start of the driver redelivers it.

mod actor;
mod config;
mod ingress;
mod layer;
mod metrics;
#[cfg(test)]
mod tests;

pub use actor::Application;
pub use config::{Config, Parts};
pub use ingress::{Mailbox, Updates};
pub use layer::{History, Layer};
