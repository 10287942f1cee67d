//! Hands the events of a log to one consumer, at that consumer's pace.
//!
//! # Overview
//!
//! ```text
//!  log ──read(next, batch)──▶ Delivery ──handle(records)──▶ Consumer
//!   ▲                            │                             │
//!   └──store(name, cursor)───────┴──────────Ack::Durable───────┘
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
//! # Restart safety
//!
//! It starts after the last durable acknowledgement: what was handled after that comes again.
//!
//! # Slow consumers
//!
//! A consumer may take as long as it likes over its events; only a stop does not wait for it longer than
//! `grace`. One that falls behind the log's retention is asked to start again (see
//! [`Consumer::restart`](tidewatch_core::Consumer::restart)); it is never given a history with a hole
//! in it.

mod actor;
mod config;
mod metrics;
#[cfg(test)]
mod tests;

pub use actor::Delivery;
pub use config::Config;
