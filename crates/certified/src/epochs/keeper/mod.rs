//! The actor that makes boundaries durable.
//!
//! # Overview
//!
//! Takes every boundary that a table of epochs learned, with its certificate where it came with one, and
//! writes it to disk. At a start it gives the table back what was written: [`Keeper::open`].
//!
//! # Messages
//!
//! | message | when the mailbox is full |
//! |---|---|
//! | a boundary | it waits: boundaries are never dropped, and there is one for each epoch |
//! | wait for a boundary to be on disk | it waits, unless whoever asked has left |
//!
//! # Restart safety
//!
//! A boundary that somebody vouched for may be written while no follower runs ([`import`]); from then on the
//! table says that it begins with it.
//!
//! A boundary that was not written is fetched and verified again. What was written is believed: it was
//! verified before, and the disk checks its own bytes. What does not decode is a fault, and the start fails.
//! A directory belongs to one chain: one of another chain is refused.
//!
//! # Cost
//!
//! One write for each epoch; boundaries that wait together share one. All of them are held in memory.

mod actor;
mod config;
mod ingress;
mod record;

pub use actor::Keeper;
pub use config::Config;
pub(super) use ingress::Mailbox;
pub use record::{Record, import, newest};
