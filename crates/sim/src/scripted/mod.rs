//! A chain, a source and a view that a test controls step by step.
//!
//! For tests of one situation: the test sets the state of the chain, the responses and the failures, and
//! every call is recorded. Random worlds, drawn from a seed, are in [`world`](crate::world).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test double that is misused, or detects a broken rule, must fail its test"
)]

pub mod chain;
pub mod committee;
pub mod source;
pub mod view;
pub mod words;
