//! Sinks over real sockets: a real Tidewatch server of a history that the test writes, and what they deliver to.

#![allow(clippy::disallowed_types, reason = "how long it takes is real time")]
#![allow(clippy::print_stdout, reason = "figures are printed, not tested")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "shared with the tests of the command")]
mod database;
mod postgres;
#[allow(dead_code, reason = "shared with the tests of the command")]
mod receiver;
mod rows;
mod webhook;
#[allow(dead_code, reason = "shared with the tests of the command")]
mod world;
