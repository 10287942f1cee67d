//! The port to what a consumer has durably taken in.

use crate::{
    Block, BlockRef, ChainInfo, Conflict, Event, Fault, Height, Tier, TierProof, Tip, TipSet,
    Watermarks,
};
use std::future::Future;

/// One step of a pass, as the driver hands it to its local view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a pass makes a handful of changes")]
pub enum Change<B> {
    /// Drop everything above `to`, and clamp the tiers, in one step.
    Pruned {
        /// The highest block that survives.
        to: BlockRef,
        /// All tiers after it.
        tips: TipSet,
    },
    /// Take in these blocks: never empty, consecutive, each linked to the one before it. The first
    /// one stands on the delivered block, or starts a new run above it (a start height, a skip).
    Blocks(Vec<B>),
    /// Keep the certificate of a delivered block that is final. No tier moves by it, and no event speaks of it: the
    /// blocks of a long range are taken in before any tier is announced, and this is why they are final.
    Certified(TierProof),
    /// A tier moves up, or becomes known.
    Advanced {
        /// The tier.
        tier: Tier,
        /// Where it stands now.
        tip: Tip,
        /// Proves that the tier stands there, where the source gave a proof of this very block.
        proof: Option<TierProof>,
    },
    /// A tier moves back.
    Regressed {
        /// The tier.
        tier: Tier,
        /// Where it stands now.
        tip: Tip,
        /// Proves that the tier stands there, where the source gave a proof of this very block.
        proof: Option<TierProof>,
    },
}

impl<B: Block> Change<B> {
    /// The thin event of this change for a view that stands at `watermarks`; `None` for no blocks, and for a
    /// certificate. For a view
    /// that skipped no height: one that did counts what a prune drops with [`Dropped`](crate::Dropped).
    pub fn event(&self, watermarks: &Watermarks) -> Option<Event> {
        Some(match self {
            Self::Pruned { to, tips } => {
                let above = |block: BlockRef| block.height.get().saturating_sub(to.height.get());
                Event::Pruned { to: *to, depth: watermarks.delivered.map_or(0, above), tips: *tips }
            }
            Self::Blocks(blocks) => {
                Event::Blocks { from: blocks.first()?.reference(), to: blocks.last()?.reference() }
            }
            Self::Certified(_) => return None,
            Self::Advanced { tier, tip, .. } => Event::Advanced { tier: *tier, tip: *tip },
            Self::Regressed { tier, tip, .. } => Event::Regressed { tier: *tier, tip: *tip },
        })
    }
}

/// What a consumer has durably taken in: its watermarks, and digests at heights. The driver that owns it
/// is its only writer, so an implementation need not be `Clone`. The store's writer is one; a consumer
/// that keeps the chain itself (a database, an execution layer) can be one too.
///
/// Faults of a view end the pass; their severity decides whether the driver goes on.
pub trait LocalView: Send + Sync + 'static {
    /// The chain's blocks.
    type Block: Block;

    /// The chain that the view was opened for.
    fn chain_info(&self) -> &ChainInfo;

    /// Where the view stands.
    fn watermarks(&self) -> impl Future<Output = Result<Watermarks, Fault>> + Send;

    /// For each height, the highest block that this view knows at or below it; `None` where it knows
    /// none. A dense view answers with the block at that very height. The block that the first
    /// delivered one stands on, and genesis where nothing was skipped, are known too.
    fn locate(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<BlockRef>>, Fault>> + Send;

    /// Applies `changes` in order. When it returns, all of them survive a crash; if it fails or is
    /// dropped, any prefix of them may have.
    fn commit(
        &mut self,
        changes: Vec<Change<Self::Block>>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Keeps both sides of a contradiction about a finalized block. The same conflict may come again.
    fn keep_evidence(
        &mut self,
        conflict: Conflict,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}
