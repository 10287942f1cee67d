//! What a pass decides, as functions over values: whether a run of blocks links, where a prune leaves
//! the tiers, and which tiers move.

use tidewatch_core::{
    Block, BlockRef, Conflict, Digest, Height, Ladder, Tier, Tip, TipSet, Watermarks,
};

/// Why a run of blocks is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlinked {
    /// The source returned no block, although its tip is not reached.
    #[error("no block at {0}")]
    Empty(Height),
    /// A block is not at the height that follows the one before it.
    #[error("block {got} where height {want} was asked for")]
    Height {
        /// The height that follows.
        want: Height,
        /// The block that came.
        got: BlockRef,
    },
    /// A block is above the tip of the snapshot that it was asked for under.
    #[error("block {got} is above the tip {tip}")]
    AboveTip {
        /// The tip.
        tip: BlockRef,
        /// The block that came.
        got: BlockRef,
    },
    /// A block does not stand on the block before it.
    #[error("block {block} stands on {parent}, not on {below}")]
    Parent {
        /// The block.
        block: BlockRef,
        /// The parent that it names.
        parent: Digest,
        /// The block before it.
        below: BlockRef,
    },
}

/// Checks that `blocks` are consecutive from `from`, not above `tip`, and that each stands on the one
/// before it; the first on `below`, where that is known. Returns the last.
pub fn link<B: Block>(
    below: Option<BlockRef>,
    from: Height,
    tip: BlockRef,
    blocks: &[B],
) -> Result<BlockRef, Unlinked> {
    let mut below = below;
    let mut want = from.get();
    for block in blocks {
        let got = block.reference();
        if got.height.get() != want {
            return Err(Unlinked::Height { want: Height::new(want), got });
        }
        if want > tip.height.get() {
            return Err(Unlinked::AboveTip { tip, got });
        }
        if let Some(below) = below.filter(|below| below.digest != block.parent()) {
            return Err(Unlinked::Parent { block: got, parent: block.parent(), below });
        }
        below = Some(got);
        want = want.saturating_add(1);
    }
    below.filter(|_| !blocks.is_empty()).ok_or(Unlinked::Empty(from))
}

/// The source's tips that do not contradict what the view knows at their heights (see
/// [`Situation::known`]): a prune must not move a tier to a block of another chain.
pub fn coherent(source: &TipSet, known: &[Option<BlockRef>; 4]) -> TipSet {
    let mut tips = *source;
    for tier in Tier::ALL {
        let other = known[tier.index()].is_some_and(|ours| source.block(tier) != Some(ours));
        if other {
            tips.set(tier, None);
        }
    }
    tips
}

/// Where the tiers stand after everything above `to` was dropped.
///
/// Each is clamped to its own source tip, in the same step: a tier that stood above `to`, or above
/// what the source says of that very tier, comes down to the lower of the two, and a tier never goes
/// up. Where it comes down to `to` itself, inside of a checkpoint, no checkpoint is named: which one
/// it was is not known here, and none is made up. Finalized is never touched, and nothing that the
/// ladder puts above it comes down below it. Where the source's own tips would break the ladder, they
/// do not count.
pub fn clamp(ladder: Ladder, local: &TipSet, source: &TipSet, to: BlockRef) -> TipSet {
    let clamped = clamp_unchecked(ladder, local, source, to);
    if clamped.check(ladder).is_ok() {
        return clamped;
    }
    clamp_unchecked(ladder, local, &TipSet::unknown(), to)
}

fn clamp_unchecked(ladder: Ladder, local: &TipSet, source: &TipSet, to: BlockRef) -> TipSet {
    let mut clamped = *local;
    let mut floor = None;
    for tier in ladder.tiers().into_iter().rev() {
        if tier == Tier::Finalized {
            floor = local.get(tier);
            continue;
        }
        let Some(ours) = local.get(tier) else { continue };
        let own = source.get(tier).filter(|tip| tip.block.height <= to.height);
        let limit = match own {
            Some(own) if tier != Tier::Proposed => own,
            _ => Tip::from(to),
        };
        let limit = floor.filter(|floor| limit.block.height < floor.block.height).unwrap_or(limit);
        if ours.block.height > limit.block.height {
            clamped.set(tier, Some(limit));
        }
    }
    // A tier that the source does not know comes down with the tier that it cannot be above.
    let mut ceiling: Option<Tip> = None;
    for tier in ladder.tiers() {
        let Some(tip) = clamped.get(tier) else { continue };
        let unknown = source.get(tier).is_none() && tier != Tier::Finalized;
        let lower = ceiling.filter(|ceiling| unknown && ceiling.block.height < tip.block.height);
        clamped.set(tier, Some(lower.unwrap_or(tip)));
        ceiling = lowest(ceiling, lower.unwrap_or(tip));
    }
    clamped
}

/// The lower of two tips.
fn lowest(one: Option<Tip>, other: Tip) -> Option<Tip> {
    Some(one.filter(|one| one.block.height <= other.block.height).unwrap_or(other))
}

/// Which way a tier moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To a higher block, or to its first one: announced as `Advanced`.
    Up,
    /// To a lower block, or to another one at its height: announced as `Regressed`.
    Back,
}

/// A tier that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which way.
    pub direction: Direction,
    /// The tier.
    pub tier: Tier,
    /// Where it stands now.
    pub tip: Tip,
}

/// What the tiers do after the blocks of a pass were taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// In the order in which they are announced: first those that move back, from the lowest tier,
    /// then those that move up, from the highest. So no prefix of them breaks the ladder.
    pub moves: Vec<Move>,
    /// The source contradicts the finalized tip: it is held where it is, the others go on.
    pub conflict: Option<Conflict>,
    /// Tiers that were not moved, because the source's tip for them is not on the chain of its own
    /// proposed tip, or would break the ladder.
    pub withheld: Vec<(Tier, BlockRef)>,
}

/// Everything [`moves`] decides from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The order in which the tiers may stand.
    pub ladder: Ladder,
    /// Where the view stands, blocks of this pass included.
    pub watermarks: &'a Watermarks,
    /// What was announced as proposed when the pass began.
    pub baseline: Option<BlockRef>,
    /// The source's snapshot.
    pub source: &'a TipSet,
    /// Before the first block: below this height tiers are announced without any.
    pub start: Height,
    /// For each tier of [`Tier::ALL`], the view's own block at the height of the source's tip, where
    /// it knows one.
    pub known: [Option<BlockRef>; 4],
}

impl Situation<'_> {
    /// Whether the consumer was given the block at `height`, or asked not to be.
    fn given(&self, height: Height) -> bool {
        match self.watermarks.delivered {
            Some(delivered) => height <= delivered.height,
            None => height < self.start,
        }
    }

    /// Whether the view has another block at the height of `theirs`. Without blocks, all that it has
    /// there may be what was said of this very tier: that can be corrected.
    fn foreign(&self, tier: Tier, theirs: BlockRef) -> bool {
        let hearsay =
            self.watermarks.tips.block(tier).filter(|_| self.watermarks.delivered.is_none());
        let other = |ours: BlockRef| ours != theirs && Some(ours) != hearsay;
        self.known[tier.index()].is_some_and(other)
    }

    /// Where a tier that the source does not know has to stand for the others to move: it is at least as
    /// high as the highest of those that the ladder puts below it. Finality is never concluded so.
    fn implied(&self, tier: Tier, below: Option<Tip>) -> Option<Move> {
        let (ours, tip) = (self.watermarks.tips.block(tier)?, below?);
        let unknown = self.source.get(tier).is_none() && tier != Tier::Finalized;
        let lifted = unknown && tip.block.height > ours.height;
        lifted.then_some(Move { direction: Direction::Up, tier, tip })
    }

    /// The same the other way: where the lowest of the tiers that the ladder puts above it moves back below it,
    /// it cannot stay where it is.
    fn implied_back(&self, tier: Tier, above: Option<Tip>) -> Option<Move> {
        let (ours, tip) = (self.watermarks.tips.block(tier)?, above?);
        let unknown = self.source.get(tier).is_none() && tier != Tier::Finalized;
        let lowered = unknown && tip.block.height < ours.height;
        lowered.then_some(Move { direction: Direction::Back, tier, tip })
    }

    fn conflict(&self) -> Option<Conflict> {
        let ours = self.watermarks.tips.block(Tier::Finalized)?;
        let theirs = self.source.block(Tier::Finalized)?;
        if theirs.height > ours.height {
            return None;
        }
        let at = if theirs.height == ours.height {
            Some(ours)
        } else {
            self.known[Tier::Finalized.index()]
        };
        at.filter(|ours| *ours != theirs).map(|ours| Conflict { ours, theirs })
    }

    /// The move of one tier, if it makes one. Two tips are the same tip if their blocks are.
    fn step(&self, tier: Tier) -> Option<Move> {
        let tip = self.source.get(tier)?;
        let local = self.watermarks.tips.block(tier);
        let before = if tier == Tier::Proposed { self.baseline } else { local };
        if local == Some(tip.block) && before == local {
            return None;
        }
        // A prune moved proposed already, but not to the baseline: it is announced all the same, for
        // those who listen to one tier.
        let from = if local == Some(tip.block) { before } else { local };
        let back = from.is_some_and(|from| tip.block.height <= from.height);
        let direction = if back { Direction::Back } else { Direction::Up };
        Some(Move { direction, tier, tip })
    }
}

/// Decides which tiers move: each whose block differs from what was announced, never one above what
/// the consumer was given, never finalized back, and never so that the ladder breaks.
pub fn moves(situation: &Situation<'_>) -> Moves {
    let mut result = Moves { conflict: situation.conflict(), ..Moves::default() };
    let mut steps = Vec::with_capacity(Tier::ALL.len());
    // The highest of the tiers below the one at hand, as they will stand.
    let mut below: Option<Tip> = None;
    for tier in situation.ladder.tiers().into_iter().rev() {
        let step = situation.step(tier).or_else(|| situation.implied(tier, below));
        let step = step.filter(|step| {
            let held = tier == Tier::Finalized
                && (step.direction == Direction::Back || result.conflict.is_some());
            // An older answer of the same chain is only old; another chain's is a conflict.
            situation.given(step.tip.block.height) && !held
        });
        let foreign = step.filter(|step| situation.foreign(tier, step.tip.block));
        if let Some(step) = foreign {
            result.withheld.push((tier, step.tip.block));
        }
        let step = step.filter(|_| foreign.is_none());
        steps.push((tier, step));
        let stands = step.map(|step| step.tip).or(situation.watermarks.tips.get(tier));
        below = below.into_iter().chain(stands).max_by_key(|tip| tip.block.height);
    }
    // The lowest of the tiers above the one at hand, as they will stand.
    let mut above: Option<Tip> = None;
    for (tier, step) in steps.iter_mut().rev() {
        *step = step.or_else(|| situation.implied_back(*tier, above));
        let stands = step.map(|step| step.tip).or(situation.watermarks.tips.get(*tier));
        above = stands.map_or(above, |stands| lowest(above, stands));
    }
    let steps = steps.into_iter().filter_map(|(_, step)| step);
    let (backs, mut ups): (Vec<_>, Vec<_>) =
        steps.partition(|step| step.direction == Direction::Back);
    ups.reverse();
    let mut tips = situation.watermarks.tips;
    for step in backs.into_iter().chain(ups) {
        let mut next = tips;
        next.set(step.tier, Some(step.tip));
        // What already stands in a broken order (a chain that was opened so) must not stop the tiers.
        let breaks = next.check(situation.ladder).is_err() && tips.check(situation.ladder).is_ok();
        if breaks {
            result.withheld.push((step.tier, step.tip.block));
            continue;
        }
        tips = next;
        result.moves.push(step);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::CheckpointRef;

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    fn tips(heights: [u64; 4]) -> TipSet {
        let known = Tier::ALL.into_iter().zip(heights);
        known.fold(TipSet::unknown(), |tips, (tier, height)| tips.with(tier, block(height)))
    }

    #[test]
    fn where_the_sources_tips_break_the_ladder_they_do_not_count() {
        let (local, source) = (tips([9, 8, 7, 2]), tips([9, 3, 5, 2]));
        let clamped = clamp(Ladder::Rollup, &local, &source, block(6));
        assert!(clamped.same_blocks(&tips([6, 6, 6, 2])), "{clamped:?}");
    }

    #[test]
    fn finality_that_the_source_does_not_know_is_never_concluded_from_a_tier_below_it() {
        let watermarks = Watermarks { delivered: Some(block(9)), tips: tips([9, 3, 3, 3]) };
        let source =
            TipSet::unknown().with(Tier::Proposed, block(9)).with(Tier::Checkpointed, block(7));
        let situation = Situation {
            ladder: Ladder::Certified,
            watermarks: &watermarks,
            baseline: Some(block(9)),
            source: &source,
            start: Height::new(1),
            known: [Some(block(9)), Some(block(7)), None, None],
        };
        let decided = moves(&situation);
        assert_eq!(decided.moves, []);
        assert_eq!(decided.withheld, [(Tier::Checkpointed, block(7))]);
    }

    #[test]
    fn a_tier_at_the_block_of_the_prune_keeps_its_checkpoint() {
        let checkpoint = CheckpointRef { number: 3, digest: Digest([7; 32]) };
        let at = Tip { block: block(6), checkpoint: Some(checkpoint) };
        let local = tips([9, 6, 6, 2]).with(Tier::Checkpointed, at);
        let source = TipSet::unknown().with(Tier::Proposed, block(9));
        let clamped = clamp(Ladder::Rollup, &local, &source, block(6));
        assert_eq!(clamped.get(Tier::Checkpointed), Some(at));
    }
}
