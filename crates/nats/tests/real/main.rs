//! Everything over real servers of NATS, alone and in a cluster of three: one module for each thing that it is about.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures real time")]
#![allow(clippy::print_stdout, reason = "figures are printed, not tested")]

mod figures;
mod jobs;
mod positions;
mod rig;
mod server;
mod servers;
mod tail;
