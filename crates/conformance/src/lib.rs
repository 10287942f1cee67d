//! Conformance suites for implementations of [`Source`](tidewatch_core::Source) and
//! [`Consumer`](tidewatch_core::Consumer), and of [`Positions`](tidewatch_core::Positions). Each suite is a function that a
//! test calls.
//!
//! # Overview
//!
//! ```text
//!  your Source ──▶ conformance::source(context, source, &mut stage) ─────┐
//!  your Stage  ──▶   requests, dropped calls, a real Driver, every act    ├─▶ Report ─▶ .assert()
//!                                                                         │
//!  your Consumer ─▶ conformance::consumer(context, || subject) ──────────┘
//!  your Subject  ─▶   a real log and Delivery, crashes at every await
//! ```
//!
//! The first two run in any commonware runtime: in the deterministic one, where waiting is free and a seed
//! replays a run, and in the tokio one, for implementations with sockets or files. Both return a
//! [`Report`] that lists every check by name with its verdict: held, broken (and how), or not shown (and
//! why). If the implementation fails, hangs or panics, that breaks a check, never the suite.
//!
//! - [`source`](source()) sends requests that are valid for any chain, then follows the source with a
//!   real driver, once with blocks and once tips-only. If a [`Stage`] can change the chain, the driver
//!   must follow each change.
//! - [`consumer`](consumer()) feeds generated histories to a consumer through a real log and delivery,
//!   crashes it, reopens it on what it persisted, and compares its state with the fold of the events.
//! - [`positions`](positions()) writes, lists, forgets and fills the positions of consumers; it panics where a promise is
//!   broken.
//!
//! # Limits
//!
//! One call may take [`DEADLINE`] of the runtime's time; after a call that takes longer, the suite makes
//! no further calls. A source is followed from at most [`SPAN`] blocks below its tip, so that a suite on
//! a long chain is as fast as on a short one.

mod consumer;
mod patience;
mod positions;
mod report;
mod source;
mod told;

#[cfg(test)]
mod tests;

pub use consumer::{Subject, consumer, name as consumer_checks};
pub use positions::positions;
pub use report::{Check, Report, Verdict};
pub use source::{Stage, Still, name as source_checks, source};

use commonware_runtime::{Clock, Metrics, Spawner};
use rand::Rng;
use std::time::Duration;

/// Deadline of one call to the implementation under test.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Maximum depth below the tip at which the suite requests blocks and starts to follow.
pub const SPAN: u64 = 64;

/// Runtime capabilities that a suite requires; every commonware context provides them.
pub trait Runtime: Clock + Spawner + Metrics + Rng {}

impl<E: Clock + Spawner + Metrics + Rng> Runtime for E {}
