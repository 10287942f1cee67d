//! The port to delivered blocks and to proofs.

use crate::{BlockRef, Fault, Height, Pin, Tier, TierProof};
use std::{future::Future, num::NonZeroUsize};

/// Why the archive does not have a block. Each means that the caller must do something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The chain has another block at that height: follow the prune that says so.
    #[error("block {wanted} is not on this chain, which has {ours}")]
    OffChain {
        /// The block that was asked for.
        wanted: BlockRef,
        /// The block that stands at its height.
        ours: BlockRef,
    },
    /// The block is below the oldest one that is held: it was trimmed, or never delivered.
    #[error("block {wanted} is no longer held, the oldest is at height {oldest}")]
    Trimmed {
        /// The block that was asked for.
        wanted: BlockRef,
        /// The height of the oldest block that is held.
        oldest: Height,
    },
    /// The block is above the delivered one: ask again once it is delivered.
    #[error("block {wanted} is above what was delivered: {}", .ours.map_or_else(|| "nothing".into(), |ours| ours.to_string()))]
    Ahead {
        /// The block that was asked for.
        wanted: BlockRef,
        /// The delivered block; `None` where no block was delivered.
        ours: Option<BlockRef>,
    },
    /// The archive could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Delivered blocks and the proofs of tiers. Blocks are named by [`BlockRef`], never by height
/// alone, so that a reader beside a reorg gets the block that it asked for, or
/// [`OffChain`](ArchiveError::OffChain), and never the block that replaced it.
///
/// Reads do not wait for a commit.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again.
pub trait Archive: Clone + Send + Sync + 'static {
    /// The chain's blocks.
    type Block;

    /// The delivered block `wanted`.
    fn block(
        &self,
        wanted: BlockRef,
    ) -> impl Future<Output = Result<Self::Block, ArchiveError>> + Send;

    /// Consecutive delivered blocks from `from` on, none above `to`, at most `max`; fewer are a normal
    /// answer, none at all where `from` is above `to`. Both ends must be on the chain.
    fn range(
        &self,
        from: BlockRef,
        to: BlockRef,
        max: NonZeroUsize,
    ) -> impl Future<Output = Result<Vec<Self::Block>, ArchiveError>> + Send;

    /// Holds `block`, everything above it, and their proofs against trimming until the pin is dropped.
    /// `name` is what the status lists it by. What was trimmed before does not come back: a read that
    /// succeeds after the pin was made says that the block is held.
    fn pin(&self, name: &str, block: BlockRef) -> Pin;

    /// The lowest stored proof of `tier` for `block` or a block above it; `None` if there is none.
    fn proof(
        &self,
        tier: Tier,
        block: BlockRef,
    ) -> impl Future<Output = Result<Option<TierProof>, ArchiveError>> + Send;
}
