//! What a [`Source`](tidewatch_core::Source) and a [`Consumer`](tidewatch_core::Consumer) must keep
//! to, as two functions that a test calls.
//!
//! # Overview
//!
//! ```text
//!  your Source ──▶ conformance::source(context, source, &mut stage) ─────┐
//!  your Stage  ──▶   questions, dropped calls, a real Driver, every act   ├─▶ Report ─▶ .assert()
//!                                                                         │
//!  your Consumer ─▶ conformance::consumer(context, || subject) ──────────┘
//!  your Subject  ─▶   a real log and Delivery, crashes at every await
//! ```
//!
//! Both run in any commonware runtime: in the deterministic one, where waiting costs nothing and a
//! seed replays a run, and in the tokio one, for what has sockets or files. Both end with a
//! [`Report`] that lists every check by name: it held, it is broken and how, or it could not be shown
//! and why. What is examined may fail, hang and panic: that breaks a check, never the suite.
//!
//! - [`source`](source()) puts questions to a source that can be asked of any chain, then follows it
//!   with a real driver: for its blocks, and once more for its tips alone. What a [`Stage`] can do to the
//!   chain meanwhile is followed too.
//! - [`consumer`](consumer()) tells a consumer made-up histories through a real log and delivery, lets
//!   it crash, opens it again on what it kept, and compares what it holds with where the events lead.
//!
//! # Limits
//!
//! One call may take [`DEADLINE`] of the runtime's time; after one that took longer, nothing more is
//! asked. A source is followed from at most [`SPAN`] blocks below its tip, so that a suite on a long
//! chain is as quick as on a short one.

mod consumer;
mod patience;
mod report;
mod source;
mod told;

#[cfg(test)]
mod tests;

pub use consumer::{Subject, consumer, name as consumer_checks};
pub use report::{Check, Report, Verdict};
pub use source::{Stage, Still, name as source_checks, source};

use commonware_runtime::{Clock, Metrics, Spawner};
use rand::Rng;
use std::time::Duration;

/// How long a call of what is examined may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Blocks below the tip that a source is asked for, and followed from.
pub const SPAN: u64 = 64;

/// What a suite needs of a runtime: any commonware context has it.
pub trait Runtime: Clock + Spawner + Metrics + Rng {}

impl<E: Clock + Spawner + Metrics + Rng> Runtime for E {}
