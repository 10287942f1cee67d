//! Hands the events of a log to one consumer, at that consumer's pace.
//!
//! # Overview
//!
//! ```text
//!  log ──read(next, batch)──▶ Delivery ──handle(records)──▶ Consumer ──▶ its workers
//!   ▲                            │  ▲                          │              │
//!   │                            │  └──Ack::Durable, Accepted──┘              │
//!   └──store(name, cursor)───────┴─────Ack::Later────acknowledgement──────────┘
//! ```
//!
//! At least once, and in order. Each consumer has a delivery of its own, which reads the log when it
//! is ready for more: a slow consumer delays nobody, and costs no memory.
//!
//! # Acknowledgement
//!
//! `Ack::Accepted` lets the next events come, and moves nothing that survives a restart.
//! `Ack::Durable` moves the consumer's position in the log, for everything up to there. A consumer
//! that fails, or panics, is given the same events again after a back-off.
//!
//! `Ack::Later` lets the next events come too, while no more than `in_flight_max` batches are out. They
//! are acknowledged in any order; the position moves over the contiguous prefix, and one write makes
//! durable whatever was acknowledged by then. `Ack::Durable` behind a batch that is out waits for it. A
//! dropped acknowledgement is a failure: every batch that is out is forgotten, and after a back-off the
//! events come again from the first one that is not acknowledged.
//!
//! # Restart safety
//!
//! It starts after the last durable acknowledgement: what was handled after that comes again. Told to
//! stop, it waits for the call at hand, but not for acknowledgements that are out.
//!
//! # Slow consumers
//!
//! A consumer may take as long as it likes over its events; only a stop does not wait for it longer than
//! `grace`. One that falls behind the events that are kept is given the bridge from where it stands, as
//! after a fork: every block since is announced in it. Only where these blocks were trimmed too is it asked
//! to start again (see [`Consumer::restart`](tidewatch_core::Consumer::restart)); it is never given a
//! history with a hole in it.
//!
//! A bridge at the start of a delivery begins with a prune to the consumer's position: it may have taken in
//! more than it acknowledged, and those events do not come again.
//!
//! A position that is ahead of the log, taken over from an instance that was further on, waits for the log.

mod actor;
mod bridge;
mod call;
mod config;
mod flight;
mod ingress;
mod metrics;
mod progress;
#[cfg(test)]
mod tests;
mod window;

pub use actor::Delivery;
pub use config::{Config, Parts};
pub use ingress::{Mailbox, Stopped};
