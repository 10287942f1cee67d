//! A chain, a source and a view that do exactly what a test tells them to.
//!
//! For tests of one situation: what is true, what is answered and what fails is said step by step, and
//! every question is written down. Worlds that are drawn from a seed are in [`world`](crate::world).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test double that is told nonsense, or sees a broken rule, ends its test"
)]

pub mod chain;
pub mod committee;
pub mod source;
pub mod view;
pub mod words;
