//! The port to what is followed.

use crate::{Block, BlockRef, ChainId, Digest, Fault, Height, Ladder, TipSet};
use bytes::Bytes;
use std::{future::Future, num::NonZeroUsize};

/// Which chain a source follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// The chain's name. A store that was opened for another one is refused.
    pub id: ChainId,
    /// Its block at height 0.
    pub genesis: BlockRef,
}

/// How much a source answers at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Heights that one [`Source::digests`] call may name.
    pub digests_max: NonZeroUsize,
    /// Blocks that one [`Source::blocks`] call returns at most.
    pub blocks_max: NonZeroUsize,
}

/// Proves that a tier stands at a block: for finalized a certificate, for proven a validity proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierProof {
    /// The block that it proves.
    pub block: BlockRef,
    /// The proof in the chain's own encoding, as the source verified it.
    pub bytes: Bytes,
}

/// One read of a source: all tiers as they stood at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The tiers.
    pub tips: TipSet,
    /// Proves the finalized tip, where the chain has proofs.
    pub proof: Option<TierProof>,
    /// The proposed tip's own time, in milliseconds since the Unix epoch, where blocks carry one.
    pub time_ms: Option<u64>,
}

impl From<TipSet> for Snapshot {
    fn from(tips: TipSet) -> Self {
        Self { tips, proof: None, time_ms: None }
    }
}

/// What a follower follows: one snapshot of tips, digests, ranges of blocks, and a doorbell.
///
/// Everything that a source returns has been verified as far as its chain allows: what did not verify
/// is a [`Fault`], never an answer. Each method is one *source call* in the cost budgets; how many
/// requests a source makes for it is the source's business, and bounded by its own deadlines.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again.
pub trait Source: Send + Sync + 'static {
    /// The chain's blocks.
    type Block: Block;

    /// Names the source in faults and metrics, without credentials.
    fn name(&self) -> &str;

    /// The order in which the tiers of this chain may stand.
    fn ladder(&self) -> Ladder;

    /// How much it answers at once.
    fn limits(&self) -> Limits;

    /// Which chain this is. Asked at start, and again before an answer that contradicts genesis is taken
    /// for that of another chain.
    fn chain_info(&self) -> impl Future<Output = Result<ChainInfo, Fault>> + Send;

    /// All tiers at one moment. A tier that is not known is `None`.
    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, Fault>> + Send;

    /// The digests of the source's chain at `heights` (at most [`Limits::digests_max`], in any
    /// order), one answer each, in their order; `None` where the source does not know. The chain is
    /// that of its newest proposed tip: where several drivers share a source, another one may have asked for
    /// a newer tip than the driver that asks here.
    fn digests(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<Digest>>, Fault>> + Send;

    /// Consecutive blocks from `from` upwards on the chain that ends in `tip`, none above it, at
    /// most [`Limits::blocks_max`]. `tip` is the proposed tip of a snapshot of this source. Fewer
    /// blocks are a normal answer; none at all means that the source moved away from `tip`.
    fn blocks(
        &self,
        from: Height,
        tip: BlockRef,
    ) -> impl Future<Output = Result<Vec<Self::Block>, Fault>> + Send;

    /// Resolves when the source may have moved. It carries nothing: a pass asks. A source without
    /// pushes never rings, and is polled. It has one listener: where several drivers share a source, a ring
    /// wakes one of them, and the others see what moved at their next poll.
    fn doorbell(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}
