//! What a pass is asked to deliver.

use tidewatch_core::{BlockRef, Height, Tier, TipSet};

/// Where a view without blocks starts. It acts only before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the block after genesis.
    Genesis,
    /// From this height.
    Height(Height),
    /// From the source's finalized tip, or its proposed tip where it has no finalized one.
    Tip,
}

/// What a pass delivers. Settings that make no sense without blocks cannot be given without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tiers only: no block is read, and the local history is as sparse as the announcements.
    TipsOnly,
    /// Every block, then tiers.
    Blocks {
        /// Where to start.
        start: Start,
        /// Whenever the source's finalized tip is above what is to come next, go on from there: the
        /// finalized block itself is delivered, as the meeting point of both sides.
        skip_finalized: bool,
    },
}

impl Mode {
    /// Every block from genesis.
    pub const GENESIS: Self = Self::Blocks { start: Start::Genesis, skip_finalized: false };

    /// The first height to deliver to a view that stands on `head`.
    pub(super) fn first_height(&self, head: Option<BlockRef>, tips: &TipSet) -> Height {
        let above = head.map_or(0, |head| head.height.get()).saturating_add(1);
        let Self::Blocks { skip_finalized, .. } = self else { return Height::new(above) };
        // A view that was pruned down to where it started starts again.
        let start = if above == 1 { self.lowest(tips).get() } else { 1 };
        let finalized = tips.block(Tier::Finalized).map_or(0, |tip| tip.height.get());
        let skip = if *skip_finalized { finalized } else { 0 };
        Height::new(above.max(start).max(skip))
    }

    /// The lowest height that was asked for: below it, tiers are announced without blocks.
    pub(super) fn lowest(&self, tips: &TipSet) -> Height {
        let height = match self {
            Self::TipsOnly => 0,
            Self::Blocks { start, .. } => match start {
                Start::Genesis => 1,
                Start::Height(height) => height.get().max(1),
                Start::Tip => {
                    let tip = tips.block(Tier::Finalized).or_else(|| tips.block(Tier::Proposed));
                    tip.map_or(1, |tip| tip.height.get().max(1))
                }
            },
        };
        Height::new(height)
    }
}
