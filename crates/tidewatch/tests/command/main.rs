//! The command as a process: one module for each thing that it is for.
//!
//! `cargo test -p tidewatch --test command MODULE::` runs one of them, and with `-- --ignored --nocapture` its long form, where it
//! has one. All are one binary, so that what they share is compiled once ([`support`]), and what waits for one process
//! waits while another one works.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "processes live in real time"
)]
#![allow(clippy::print_stdout, reason = "figures are printed, not tested")]

mod alerts;
mod apart;
mod cli;
mod deploy;
mod epochs;
mod evidence;
mod execution;
mod monitoring;
mod nats;
mod nodes;
#[cfg(feature = "prove")]
mod proving;
mod sentinel;
mod sequence;
mod sequencing;
mod sink;
mod sizes;
mod support;
mod upstream;
