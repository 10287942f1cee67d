//! A simulated world that tries to break a follower, on the deterministic runtime.
//!
//! # Overview
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | a chain that reorgs, upstreams that lie, lag and hang, consumers that fail, drawn from one seed |
//! | [`host`] | the machine that it runs on: clock jumps, starved tasks, a disk that is slow, fails or crashes in a write |
//! | [`watch`] | what crosses the follower's borders, and a checker for every rule |
//! | [`conformance`] | the two suites for your own code: one for a `Source`, one for a `Consumer` |
//! | [`scripted`] | a chain, a source and a view that do exactly what a test tells them to |
//!
//! The code under test runs as it is: the driver, the store on disk, the deliveries. A seed decides
//! everything, and replays it exactly. The command is `tidewatch-sim`; see `--help`.
//!
//! # Limits
//!
//! Most worlds are followed through a source that takes its upstreams' word; there a false claim of
//! finality is not among the lies, because nothing could refuse it. In one world of seven the chain is
//! certified, its upstreams lie in bytes, and what is announced must be the truth.

pub mod conformance;
pub mod host;
pub mod scripted;
pub mod watch;
pub mod world;
