//! A consistent set of tips, one for each tier.

use crate::{BlockRef, HEIGHT_LIMIT, Ladder, Tier, Tip};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write, varint::UInt};

/// A versioned, consistent set of tips, one for each tier.
///
/// A tier that the chain lacks, or whose tip is not known yet, is `None`, never height 0; at genesis
/// every tier that the chain has is `Some(genesis)`. The version counts changes: of two tip sets of one
/// local view, the one with the higher version is newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TipSet {
    version: u64,
    tips: [Option<Tip>; 4],
}

/// Two tiers are in an order that violates the chain's ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lower} tip {} is not below or at {higher} tip {}", .below.map_or("none".into(), |b| b.to_string()), .above.map_or("none".into(), |b| b.to_string()))]
pub struct LadderBroken {
    /// The lower tier on the ladder.
    pub lower: Tier,
    /// Block of the lower tier's tip.
    pub below: Option<BlockRef>,
    /// The higher tier on the ladder.
    pub higher: Tier,
    /// Block of the higher tier's tip; `None` if it is unknown.
    pub above: Option<BlockRef>,
}

impl TipSet {
    /// A tip set in which no tier is known.
    pub const fn unknown() -> Self {
        Self { version: 0, tips: [None; 4] }
    }

    /// Number of changes since the tip set was created; it saturates at `u64::MAX`.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The tip of `tier`.
    pub const fn get(&self, tier: Tier) -> Option<Tip> {
        self.tips[tier.index()]
    }

    /// The block of the tip of `tier`.
    pub fn block(&self, tier: Tier) -> Option<BlockRef> {
        self.get(tier).map(|tip| tip.block)
    }

    /// Sets the tip of `tier`, and increments the version if that changes the tip.
    pub fn set(&mut self, tier: Tier, tip: Option<Tip>) {
        let before = self.version;
        let slot = &mut self.tips[tier.index()];
        if *slot != tip {
            *slot = tip;
            self.version = self.version.saturating_add(1);
        }
        debug_assert_eq!(self.get(tier), tip, "{tier} tip was not set");
        debug_assert!(self.version >= before, "version fell from {before} to {}", self.version);
    }

    /// Returns the tip set with the tip of `tier` set to `tip` (builder style).
    #[must_use]
    pub fn with(mut self, tier: Tier, tip: impl Into<Tip>) -> Self {
        self.set(tier, Some(tip.into()));
        self
    }

    /// Whether the blocks of all tips are equal. Checkpoints are not compared: a tip is identified by
    /// its block.
    pub fn same_blocks(&self, other: &Self) -> bool {
        self.tips
            .iter()
            .zip(&other.tips)
            .all(|(a, b)| a.map(|tip| tip.block) == b.map(|tip| tip.block))
    }

    /// Returns the block of a tip at or above [`HEIGHT_LIMIT`], if there is one. No real chain reaches
    /// that height, and every local view refuses such a tip.
    pub fn unfollowable(&self) -> Option<BlockRef> {
        let mut tips = Tier::ALL.into_iter().filter_map(|tier| self.block(tier));
        tips.find(|tip| tip.height >= HEIGHT_LIMIT)
    }

    /// Checks the order of the known tiers: heights must not increase down the ladder, and two tiers at
    /// the same height must be at the same block. If any tier is known, the top tier must be known.
    ///
    /// # Errors
    ///
    /// [`LadderBroken`] with the first pair that violates the order.
    pub fn check(&self, ladder: Ladder) -> Result<(), LadderBroken> {
        let [top, rest @ ..] = ladder.tiers();
        let (mut higher, mut above) = (top, self.block(top));
        for lower in rest {
            let Some(below) = self.block(lower) else { continue };
            let ordered = above.is_some_and(|above| below.height < above.height || below == above);
            if !ordered {
                return Err(LadderBroken { lower, below: Some(below), higher, above });
            }
            (higher, above) = (lower, Some(below));
        }
        debug_assert!(
            self.block(top).is_some() || *self == Self { version: self.version, ..Self::unknown() },
            "a tier is known and {top} is not"
        );
        Ok(())
    }
}

impl Write for TipSet {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.version).write(buf);
        for tip in &self.tips {
            tip.write(buf);
        }
    }
}

impl EncodeSize for TipSet {
    fn encode_size(&self) -> usize {
        let tips: usize = self.tips.iter().map(EncodeSize::encode_size).sum();
        UInt(self.version).encode_size() + tips
    }
}

impl Read for TipSet {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let version = UInt::read(buf)?.into();
        let mut tips = [None; 4];
        for tip in &mut tips {
            *tip = Option::read(buf)?;
        }
        Ok(Self { version, tips })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Height};
    use commonware_codec::{Decode as _, Encode as _};

    fn block(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fork; 32]))
    }

    fn tips(ladder: Ladder, heights: [Option<u64>; 4]) -> TipSet {
        let mut tips = TipSet::unknown();
        for (tier, height) in ladder.tiers().into_iter().zip(heights) {
            tips.set(tier, height.map(|height| block(height, height as u8).into()));
        }
        tips
    }

    #[test]
    fn the_ladder_holds_exactly_for_heights_that_never_rise_down_it() {
        let values = [None, Some(0), Some(1), Some(2)];
        for ladder in [Ladder::Rollup, Ladder::Certified] {
            for a in values {
                for b in values {
                    for c in values {
                        for d in values {
                            let known: Vec<u64> = [b, c, d].into_iter().flatten().collect();
                            let ordered = match a {
                                None => known.is_empty(),
                                Some(a) => known
                                    .iter()
                                    .try_fold(a, |top, &next| (next <= top).then_some(next))
                                    .is_some(),
                            };
                            let set = tips(ladder, [a, b, c, d]);
                            assert_eq!(
                                set.check(ladder).is_ok(),
                                ordered,
                                "{a:?} {b:?} {c:?} {d:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn two_tiers_at_one_height_must_be_at_one_block() {
        let set =
            TipSet::unknown().with(Tier::Proposed, block(3, 1)).with(Tier::Finalized, block(3, 2));
        assert_eq!(
            set.check(Ladder::Certified),
            Err(LadderBroken {
                lower: Tier::Finalized,
                below: Some(block(3, 2)),
                higher: Tier::Proposed,
                above: Some(block(3, 1)),
            })
        );
    }

    #[test]
    fn a_tip_at_the_limit_cannot_be_followed() {
        for tier in Tier::ALL {
            let at = |height| TipSet::unknown().with(tier, block(height, 1));
            assert_eq!(at(HEIGHT_LIMIT.get() - 1).unfollowable(), None);
            assert_eq!(at(HEIGHT_LIMIT.get()).unfollowable(), Some(block(HEIGHT_LIMIT.get(), 1)));
        }
    }

    #[test]
    fn the_version_counts_changes_only() {
        let mut set = TipSet::unknown();
        set.set(Tier::Proposed, Some(block(1, 1).into()));
        set.set(Tier::Proposed, Some(block(1, 1).into()));
        assert_eq!(set.version(), 1);
        set.set(Tier::Proposed, None);
        assert_eq!(set.version(), 2);
    }

    #[test]
    fn the_last_version_is_not_followed_by_the_first() {
        let last = [UInt(u64::MAX).encode().as_ref(), &[0; 4]].concat();
        let mut set = TipSet::decode_cfg(last.as_slice(), &()).unwrap();
        set.set(Tier::Proposed, Some(block(1, 1).into()));
        assert_eq!((set.version(), set.block(Tier::Proposed)), (u64::MAX, Some(block(1, 1))));
    }

    #[test]
    fn genesis_is_known_and_unknown_is_not_genesis() {
        let genesis = TipSet::unknown().with(Tier::Proposed, block(0, 0));
        assert_eq!(genesis.block(Tier::Proposed), Some(block(0, 0)));
        assert!(!genesis.same_blocks(&TipSet::unknown()));
    }
}
