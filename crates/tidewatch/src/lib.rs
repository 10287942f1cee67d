//! Tidewatch as one piece: a [`Follower`] made of a source, a store, a driver and any number of
//! consumers, under one supervisor.
//!
//! The parts are crates of their own, and each can be started alone: [`core`] has the
//! vocabulary and the ports, [`stream`] the pass and its driver,
//! [`store`] what is kept on disk, [`sources`] the chains. The
//! `tidewatch` command is this crate's binary.

pub mod follower;

pub use follower::{Config, Ended, Follower, StillRunning};
pub use tidewatch_core as core;
pub use tidewatch_sources as sources;
pub use tidewatch_store as store;
pub use tidewatch_stream as stream;
