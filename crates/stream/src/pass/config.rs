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

    /// The first height to deliver to a view whose last delivered block is `head`.
    pub(super) fn first_height(&self, head: Option<BlockRef>, tips: &TipSet) -> Height {
        let next = head.map_or_else(|| self.lowest(tips), |head| head.height.next());
        match (self, tips.block(Tier::Finalized)) {
            (Self::Blocks { skip_finalized: true, .. }, Some(finalized)) => {
                next.max(finalized.height)
            }
            _ => next,
        }
    }

    /// The lowest height whose block was asked for: below it, tiers are announced without.
    pub(super) fn lowest(&self, tips: &TipSet) -> Height {
        let height = match self {
            Self::TipsOnly => u64::MAX,
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
