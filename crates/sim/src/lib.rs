//! Deterministic simulation of a follower in a hostile environment.
//!
//! # Overview
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | a chain that reorgs, upstreams that lie, lag and hang, and consumers that fail, all drawn from one seed |
//! | [`truth`] | the chain as it is, which every upstream reports in its own way |
//! | [`flaw`] | parts that are wrong, one for each checker, which has to detect it |
//! | [`watch`] | recorders at every port of the follower, and a checker for each rule |
//! | [`validators`] | a sentinel among validators that are offline, late, equivocate; reorgs, crashes, and a checker that knows the truth |
//! | [`sequencing`] | a sequencer, and a network of key holders that misbehaves |
//!
//! The code under test is the production code: the driver, the store on disk, the deliveries. A seed
//! determines the whole run and replays it exactly. The command is `tidewatch-sim`; see `--help`.
//!
//! # Limits
//!
//! Most worlds use a source that trusts its upstreams. In those, no upstream makes a false claim of
//! finality, because the source could not detect it. In about one world of seven the chain is certified:
//! upstreams forge certificates and blocks, and everything announced as final must be true.

pub mod flaw;
pub mod sequencing;
pub mod truth;
pub mod validators;
pub mod watch;
pub mod world;
