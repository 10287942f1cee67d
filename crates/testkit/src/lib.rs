//! Test doubles for what lies around an actor: a chain, a source, a view, a machine.
//!
//! # Overview
//!
//! | module | holds |
//! |---|---|
//! | [`chain`] | blocks, and chains that link |
//! | [`source`] | a source that answers what it is told, and records what it was asked; [`source::Gate`], which holds a call |
//! | [`view`] | any local view, watched: every commit is checked against the invariants, and can be made to fail |
//! | [`invariants`] | what every history of events keeps to, for whoever checks one |
//! | [`monitor`] | a monitor that remembers the faults that it is told |
//! | [`words`] | events and watermarks in a notation that fits a line of a test |
//! | [`host`] | the machine: clock jumps, starved tasks, a disk that is slow, fails, or crashes in the middle of a write |
//! | `committee` | validators that sign any block, with real signatures; behind the feature of that name |
//! | `node` | nodes that answer JSON-RPC, over real sockets; behind the feature of that name |
//!
//! For tests of one situation: the test sets the state of the chain, the responses and the failures, and
//! every call is recorded. Of Tidewatch's crates this one knows the core alone, so that every other one
//! can use it in its unit tests. Random worlds, drawn from a seed, are in `tidewatch-sim`; suites for
//! implementations of a port in `tidewatch-conformance`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test double that is misused, or detects a broken rule, must fail its test"
)]

pub mod chain;
#[cfg(feature = "committee")]
pub mod committee;
pub mod host;
pub mod invariants;
pub mod monitor;
#[cfg(feature = "node")]
pub mod node;
pub mod source;
pub mod view;
pub mod words;
