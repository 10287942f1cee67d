//! Ranges of blocks up to a finality.

use std::{fmt, num::NonZeroUsize, str::FromStr};
use tidewatch_core::{Archive, ArchiveError, BlockRef, Head, Tier, TipSet};

/// How final blocks are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finality {
    /// Delivered.
    Committed,
    /// Proven.
    Proven,
    /// Finalized.
    Finalized,
}

impl Finality {
    /// Name in requests and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Proven => "proven",
            Self::Finalized => "finalized",
        }
    }

    /// How far that is, at `head`.
    pub fn tip(self, head: &Head) -> Option<BlockRef> {
        match self {
            Self::Committed => head.delivered(),
            Self::Proven => head.block(Tier::Proven),
            Self::Finalized => head.block(Tier::Finalized),
        }
    }
}

impl fmt::Display for Finality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such finality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `committed`, `proven` or `finalized`")]
pub struct NoFinality;

impl FromStr for Finality {
    type Err = NoFinality;

    fn from_str(text: &str) -> Result<Self, NoFinality> {
        let all = [Self::Committed, Self::Proven, Self::Finalized];
        all.into_iter().find(|finality| finality.as_str() == text).ok_or(NoFinality)
    }
}

/// An answer: all of it as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranged<B> {
    /// Consecutive blocks from the one that was asked for on, none above `tip`.
    pub blocks: Vec<B>,
    /// How far blocks are as final as was asked for.
    pub tip: BlockRef,
    /// Every tier at that moment.
    pub tips: TipSet,
}

/// Why a range was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// Nothing from there on is as final yet.
    #[error(
        "nothing from {from} on is {} yet, which is at {}",
        finality.as_str(), tip.map_or_else(|| "no block".into(), |tip| tip.to_string())
    )]
    NotYet {
        /// Where the range was to begin.
        from: BlockRef,
        /// What was asked for.
        finality: Finality,
        /// How far that is.
        tip: Option<BlockRef>,
    },
    /// The archive does not have it: on another chain, trimmed, or reorged meanwhile.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Blocks from `from` on that are as final as `finality`, at most `max`, with the tip and all tiers of one moment:
/// `head`.
///
/// # Errors
///
/// [`NotAnswered`] says how far the finality is, or what the archive has instead.
///
/// # Cancel safety
///
/// May be dropped and called again.
pub async fn range<A: Archive>(
    archive: &A,
    head: &Head,
    from: BlockRef,
    finality: Finality,
    max: NonZeroUsize,
) -> Result<Ranged<A::Block>, NotAnswered> {
    let reached = finality.tip(head);
    let tip = reached.filter(|tip| tip.height >= from.height).ok_or(NotAnswered::NotYet {
        from,
        finality,
        tip: reached,
    })?;
    let blocks = archive.range(from, tip, max).await?;
    Ok(Ranged { blocks, tip, tips: head.watermarks.tips })
}
