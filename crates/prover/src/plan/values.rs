//! What goes into a plan, and what comes out of it.

use super::{Cancel, Job, State};
use crate::{Handle, Key, Stored};
use tidewatch_core::{BlockRef, Height};

/// A job as it was on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What it is about.
    pub key: Key,
    /// Its inputs.
    pub inputs: Stored,
    /// Where it stands.
    pub state: State,
    /// Logical failures so far.
    pub logical: u32,
    /// Where it was submitted: the prover's name, and the job's there.
    pub handles: Vec<(String, Handle)>,
}

/// Why a block was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// Another block stands there: prune first.
    #[error("{wanted} is not the block at its height, which is {ours}")]
    Other {
        /// The block.
        wanted: BlockRef,
        /// The one that stands there.
        ours: BlockRef,
    },
    /// The block does not stand on the one below it.
    #[error("{wanted} does not stand on {above}")]
    Unlinked {
        /// The block.
        wanted: BlockRef,
        /// The one below it.
        above: BlockRef,
    },
    /// Blocks in between are missing.
    #[error("{wanted} does not follow {committed}")]
    Gap {
        /// The block.
        wanted: BlockRef,
        /// The highest one that was added.
        committed: BlockRef,
    },
}

/// Whether a job was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was.
    New,
    /// It is there, or its block is proven.
    Exists,
}

/// Why an operator's request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoJob {
    /// The block is proven.
    #[error("height {0} is proven")]
    Proven(Height),
    /// No block was added at that height.
    #[error("nothing is known at height {0}")]
    Unknown(Height),
    /// A proof of it waits for lower blocks.
    #[error("a proof of height {0} waits for lower blocks")]
    Waits(Height),
}

/// What a prune removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// Attempts to cancel.
    pub cancels: Vec<Cancel>,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Whether the proven tip went back.
    pub regressed: bool,
}
