//! Whole followers over real sockets, real certificates and real disks.
//!
//! # Overview
//!
//! What every test here runs is what the command runs: an alto source, a durable store in a directory
//! of its own, and a [`Follower`](tidewatch::Follower) over both, on the commonware tokio runtime. At
//! the other end is a real alto indexer on loopback, in front of running validators or of a chain that
//! was signed in advance.
//!
//! | binary | against |
//! |---|---|
//! | `devnet` | validators that make blocks: from genesis, from the tip, across restarts of the indexer |
//! | `restart` | crashes and restarts of the follower, with validators and without |
//! | `conformance` | a committee that grows, replaces and finalizes blocks: the source alone, in the suite for sources |
//! | `readymade` | upstreams that lie, break, fall silent or contradict themselves; the cost of catching up |
//!
//! A test waits for what it is about by watching the follower ([`Witness::until`]), never for a while.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/checks.rs"]
mod checks;
#[path = "support/counted.rs"]
mod counted;
#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod process;
#[path = "support/reader.rs"]
mod reader;
#[path = "support/witness.rs"]
mod witness;

pub use checks::{assert_kept, assert_lawful, history};
pub use counted::{Call, Counted};
pub use node::{Node, Settings};
pub use process::{process, run};
pub use reader::Reader;
pub use witness::{DEADLINE, Seen, Witness};
