//! Whole followers over real sockets, real certificates and real disks.
//!
//! # Overview
//!
//! What every test here runs is what the command runs: a source, a durable store in a directory of its
//! own, and a [`Follower`](tidewatch_node::Follower) over both, on the commonware tokio runtime. At the other
//! end is a real alto indexer on loopback, in front of running validators or of a chain that was signed
//! in advance, or a real Ethereum node.
//!
//! | module of `real` | against |
//! |---|---|
//! | `devnet` | validators that make blocks: from genesis, from the tip, across restarts of the indexer |
//! | `restart` | crashes and restarts of the follower, with validators and without |
//! | `conformance` | a committee that grows, replaces and finalizes blocks: the source alone, in the suite for sources |
//! | `anvil` | an Ethereum node that npm installs, and that reorgs its chain as it is told |
//! | `consensus` | an Ethereum chain of real clients that npm installs, with finality by attestations |
//! | `miden` | a Miden network, by `scripts/miden-network`, which builds it |
//! | `readymade` | upstreams that lie, break, fall silent or contradict themselves; the cost of catching up |
//!
//! A test waits for what it is about by watching the follower ([`Recorder::until`]), never for a while.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/anvil.rs"]
pub mod anvil;
#[path = "support/checks.rs"]
mod checks;
#[path = "support/consensus.rs"]
pub mod consensus;
#[path = "support/counted.rs"]
mod counted;
#[path = "support/ethereum.rs"]
mod ethereum;
#[path = "support/miden.rs"]
pub mod miden;
#[path = "support/node.rs"]
mod node;
#[path = "support/npm.rs"]
pub mod npm;
#[path = "support/process.rs"]
mod process;
#[path = "support/program.rs"]
mod program;
#[path = "support/reader.rs"]
mod reader;
#[path = "support/recorder.rs"]
mod recorder;

pub use anvil::Anvil;
pub use checks::{assert_kept, assert_lawful, assert_lawful_on, block_at, history};
pub use counted::{Call, Counted};
pub use ethereum::{EthereumNode, EthereumSettings};
pub use miden::MidenNode;
pub use node::{Node, Running, Settings, Tuning};
pub use process::{process, run, run_within};
pub use reader::Reader;
pub use recorder::{DEADLINE, Recorder, Seen};
