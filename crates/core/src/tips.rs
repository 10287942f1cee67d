//! One consistent picture of all tiers.

use crate::{BlockRef, HEIGHT_LIMIT, Ladder, Tier, Tip};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write, varint::UInt};

/// One consistent picture of all tiers, with a version.
///
/// A tier that the chain does not have, or that is not known yet, is `None`, never zero; at genesis
/// every tier that the chain has is `Some(genesis)`. The version counts the changes that led here:
/// of two tip sets of one local view, the one with the higher version is the newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TipSet {
    version: u64,
    tips: [Option<Tip>; 4],
}

/// Two tiers stand in an order that the chain's ladder does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lower} tip {} is not below or at {higher} tip {}", .below.map_or("none".into(), |b| b.to_string()), .above.map_or("none".into(), |b| b.to_string()))]
pub struct LadderBroken {
    /// The tier that should be the lower one.
    pub lower: Tier,
    /// Where it stands.
    pub below: Option<BlockRef>,
    /// The tier that should be the higher one.
    pub higher: Tier,
    /// Where it stands.
    pub above: Option<BlockRef>,
}

impl TipSet {
    /// No tier is known.
    pub const fn unknown() -> Self {
        Self { version: 0, tips: [None; 4] }
    }

    /// How many changes led here.
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

    /// Moves `tier` and counts the change, if it is one.
    pub fn set(&mut self, tier: Tier, tip: Option<Tip>) {
        let slot = &mut self.tips[tier.index()];
        if *slot != tip {
            *slot = tip;
            self.version = self.version.saturating_add(1);
        }
    }

    /// The same tip set with `tier` at `tip`, for building one up.
    #[must_use]
    pub fn with(mut self, tier: Tier, tip: impl Into<Tip>) -> Self {
        self.set(tier, Some(tip.into()));
        self
    }

    /// Whether all tiers stand at the same blocks. Checkpoints are not compared: two tips are the
    /// same tip if their blocks are.
    pub fn same_blocks(&self, other: &Self) -> bool {
        self.tips
            .iter()
            .zip(&other.tips)
            .all(|(a, b)| a.map(|tip| tip.block) == b.map(|tip| tip.block))
    }

    /// A tip so high that nothing could follow it: no chain has one, and no view takes it in.
    pub fn unfollowable(&self) -> Option<BlockRef> {
        let mut tips = Tier::ALL.into_iter().filter_map(|tier| self.block(tier));
        tips.find(|tip| tip.height >= HEIGHT_LIMIT)
    }

    /// Checks the order of the tiers that are known: heights never rise down the ladder, and two
    /// tiers at one height are at one block. If any tier is known, the highest one must be.
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
