//! A simulated world that tries to break a follower, on the deterministic runtime.
//!
//! # Overview
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | a chain that reorganises, upstreams that lie, lag and hang, consumers that fail, drawn from one seed |
//! | [`host`] | the machine that it runs on: clock jumps, starved tasks, a disk that is slow, fails or crashes in a write |
//! | [`watch`] | what crosses the follower's borders, and a checker for every rule |
//! | [`scripted`] | a chain, a source and a view that do exactly what a test tells them to |
//!
//! The code under test runs as it is: the driver, the store on disk, the deliveries. A seed decides
//! everything, and replays it exactly. The command is `tidewatch-sim`; see `--help`.
//!
//! # Limits
//!
//! Worlds are followed through a source that takes its upstreams' word, so what only certificates could
//! refuse (a false claim of finality) is not among the lies.

pub mod host;
pub mod scripted;
pub mod watch;
pub mod world;
