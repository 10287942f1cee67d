//! A follower as one piece, for embedding: a [`Follower`] made of a source, a store, a driver and any
//! number of consumers, under one [`Supervisor`].
//!
//! The parts are crates of their own, and each can be started alone: [`core`] has the vocabulary and the
//! ports, [`stream`] the pass, its driver and the delivery to consumers, [`store`] what is kept on disk.
//! There is no command line here, no server and no chain: sources are in `tidewatch-sources`.
//!
//! An actor of one's own implements [`Actor`](tidewatch_core::Actor) and comes under the same supervisor:
//! see `examples/own_actor.rs`.

pub mod follower;
pub mod supervisor;

pub use follower::{Attached, Attachment, Config, Follower};
pub use supervisor::{Ended, Id, Member, Report, Restarts, Role, StillRunning, Supervisor};
pub use tidewatch_core as core;
pub use tidewatch_store as store;
pub use tidewatch_stream as stream;
