//! What a view knows at a height: the blocks of its run, the one below it, genesis, or anchors.

use crate::anchors::Anchors;
use tidewatch_core::{BlockRef, Height, Watermarks};

/// Where delivered blocks begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunStart {
    /// Height of the first block.
    pub(crate) first: Height,
    /// The block that it stands on; `None` if it is genesis.
    pub(crate) base: Option<BlockRef>,
}

/// The answer for one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The block of the run at that very height: its digest is to be read.
    Dense,
    /// This block, or none.
    Is(Option<BlockRef>),
}

/// The highest block that a view at `watermarks` knows at or below `height`.
pub(crate) fn known(
    height: Height,
    watermarks: &Watermarks,
    run: Option<RunStart>,
    anchors: &Anchors,
    genesis: BlockRef,
) -> Known {
    let Some(delivered) = watermarks.delivered else {
        let genesis = Some(genesis).filter(|genesis| genesis.height <= height);
        return Known::Is(anchors.at_or_below(height).or(genesis));
    };
    if height >= delivered.height {
        return Known::Is(Some(delivered));
    }
    match run {
        Some(run) if height >= run.first => Known::Dense,
        Some(run) => Known::Is(run.base.filter(|base| base.height <= height)),
        None => Known::Is(None),
    }
}
