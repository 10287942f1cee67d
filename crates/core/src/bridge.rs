//! How the tiers get from where a cursor stands to where a log does, so that no step on the way breaks the
//! ladder.

use crate::{BlockRef, Event, Height, Ladder, Tier, Tip, TipSet, Watermarks};

/// The ladder that both sides obey. Where they obey both, and where they obey none, that of a rollup: it takes
/// tiers that are equal at both ends, and a certified chain with checkpoints, for the other one to matter.
pub fn ladder_of(theirs: &TipSet, ours: &TipSet) -> Ladder {
    let obeyed = |ladder: &Ladder| theirs.check(*ladder).is_ok() && ours.check(*ladder).is_ok();
    [Ladder::Rollup, Ladder::Certified].into_iter().find(obeyed).unwrap_or(Ladder::Rollup)
}

/// The prune, if the cursor stands above the ancestor or has a tier that this chain does not have. Of the
/// blocks that it drops, those count that lie from `first` on, where this log's begin.
pub fn undo(
    ladder: Ladder,
    theirs: &Watermarks,
    ours: &Watermarks,
    ancestor: BlockRef,
    first: Option<Height>,
) -> Option<Event> {
    let head = theirs.head()?;
    let tips = clamp(ladder, &theirs.tips, &ours.tips, ancestor);
    let gone = Tier::ALL.iter().any(|t| theirs.tips.get(*t).is_some() && tips.get(*t).is_none());
    if !gone && head == ancestor && theirs.tips.same_blocks(&tips) {
        return None;
    }
    let floor = first.and_then(Height::previous).map_or(ancestor.height, |base| {
        let begins_here = theirs.delivered.is_some_and(|delivered| delivered.height >= base);
        if begins_here { ancestor.height.max(base) } else { ancestor.height }
    });
    let above = |block: BlockRef| block.height.get().saturating_sub(floor.get());
    Some(Event::Pruned { to: ancestor, depth: theirs.delivered.map_or(0, above), tips })
}

/// Where the tiers of a cursor stand after a prune to `ancestor`: each at its frontier in this log where that
/// survives, otherwise at the highest block that does, and none above a tier that the ladder puts above it.
fn clamp(ladder: Ladder, theirs: &TipSet, ours: &TipSet, ancestor: BlockRef) -> TipSet {
    let mut tips = *theirs;
    let mut limit = Tip::from(ancestor);
    for tier in ladder.tiers() {
        let Some(tip) = theirs.get(tier) else { continue };
        let clamped = match ours.get(tier) {
            None => None,
            // The ancestor is never below it, and where no ladder holds, finality still does.
            Some(_) if tier == Tier::Finalized => Some(tip),
            Some(_) if tip.block.height <= limit.block.height => Some(tip),
            Some(now) if now.block.height <= limit.block.height => Some(now),
            Some(_) => Some(limit),
        };
        tips.set(tier, clamped);
        limit = clamped.unwrap_or(limit);
    }
    tips
}

/// Tier moves from `theirs` to `ours`: back from the lowest tier, then up from the highest. If both ends
/// obey `ladder`, so does every step.
pub fn tiers(ladder: Ladder, theirs: &TipSet, ours: &TipSet) -> Vec<Event> {
    let mut events = Vec::new();
    let back = |tier: Tier, tip: Tip| {
        theirs.block(tier).is_some_and(|theirs| theirs.height > tip.block.height)
    };
    for tier in ladder.tiers().into_iter().rev() {
        if let Some(tip) = ours.get(tier).filter(|tip| back(tier, *tip)) {
            events.push(Event::Regressed { tier, tip });
        }
    }
    for tier in ladder.tiers() {
        let moves = |tip: &Tip| theirs.block(tier) != Some(tip.block) && !back(tier, *tip);
        if let Some(tip) = ours.get(tier).filter(moves) {
            events.push(Event::Advanced { tier, tip });
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    const TOP: u64 = 4;

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    fn tips(heights: [u64; 4]) -> TipSet {
        let mut tips = TipSet::unknown();
        for (tier, height) in Tier::ALL.into_iter().zip(heights) {
            tips.set(tier, Some(block(height).into()));
        }
        tips
    }

    /// Every tip set of one chain that obeys `ladder`; above the highest tier, any other may be unknown.
    fn every(ladder: Ladder) -> Vec<TipSet> {
        let heights = || std::iter::once(None).chain((1..=TOP).map(Some));
        let mut all = Vec::new();
        for top in 1..=TOP {
            for a in heights() {
                for b in heights() {
                    for c in heights() {
                        let mut tips = TipSet::unknown();
                        let known = [Some(top), a, b, c];
                        for (tier, height) in Tier::ALL.into_iter().zip(known) {
                            tips.set(tier, height.map(|height| block(height).into()));
                        }
                        all.extend(Some(tips).filter(|tips| tips.check(ladder).is_ok()));
                    }
                }
            }
        }
        all
    }

    /// The tip sets on the way from a cursor over `ancestor` to a log.
    fn steps(ladder: Ladder, theirs: TipSet, ours: TipSet, ancestor: BlockRef) -> Vec<TipSet> {
        let at = |tips| Watermarks { delivered: Some(block(TOP)), tips };
        let mut watermarks = at(theirs);
        let undo = undo(ladder, &watermarks, &at(ours), ancestor, None);
        let mut steps = Vec::new();
        if let Some(event) = undo {
            watermarks.apply(&event);
            steps.push(watermarks.tips);
        }
        for event in tiers(ladder, &watermarks.tips, &ours) {
            watermarks.apply(&event);
            steps.push(watermarks.tips);
        }
        steps
    }

    #[test]
    fn no_step_of_any_bridge_breaks_the_ladder() {
        for ladder in [Ladder::Rollup, Ladder::Certified] {
            for theirs in every(ladder) {
                for ours in every(ladder) {
                    let finalized = |tips: &TipSet| tips.block(Tier::Finalized);
                    let floor = finalized(&theirs).map_or(0, |block| block.height.get());
                    if finalized(&theirs).map(|b| b.height) > finalized(&ours).map(|b| b.height) {
                        continue; // Such a cursor is ahead.
                    }
                    for ancestor in floor..=TOP {
                        let steps = steps(ladder, theirs, ours, block(ancestor));
                        for tips in &steps {
                            let about = || format!("{theirs:?} to {ours:?}: {steps:?}");
                            assert_eq!(tips.check(ladder), Ok(()), "{}", about());
                        }
                        let end = steps.last().copied().unwrap_or(theirs);
                        for tier in Tier::ALL {
                            assert_eq!(end.block(tier), ours.block(tier), "{tier}: {steps:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_tier_that_comes_down_takes_those_below_it_along() {
        let (theirs, ours) = (tips([12, 9, 8, 3]), tips([12, 5, 5, 3]));
        let back = |tier| Event::Regressed { tier, tip: block(5).into() };
        let moves = tiers(Ladder::Rollup, &theirs, &ours);
        assert_eq!(moves, [back(Tier::Proven), back(Tier::Checkpointed)]);
        let at = |tips| Watermarks { delivered: Some(block(12)), tips };
        let undo = undo(Ladder::Rollup, &at(theirs), &at(ours), block(8), None);
        let Some(Event::Pruned { tips: left, depth: 4, .. }) = undo else { panic!("{undo:?}") };
        assert!(left.same_blocks(&tips([8, 5, 5, 3])), "{left:?}");
    }

    #[test]
    fn a_prune_leaves_each_tier_as_high_as_the_one_above_it_lets_it() {
        let left = |theirs, ours, ancestor| {
            clamp(Ladder::Rollup, &tips(theirs), &tips(ours), block(ancestor))
        };
        // A tier that survives the prune stays, though it is higher here.
        let stays = left([9, 3, 2, 1], [9, 7, 2, 1], 8);
        assert!(stays.same_blocks(&tips([8, 3, 2, 1])), "{stays:?}");
        // Where no ladder holds, what is final stays final.
        let stays = left([9, 3, 2, 7], [9, 5, 5, 8], 8);
        assert!(stays.same_blocks(&tips([8, 3, 2, 7])), "{stays:?}");
    }

    #[test]
    fn a_prune_counts_no_block_below_the_first_that_is_known() {
        let at = |delivered| Watermarks { delivered: Some(block(delivered)), ..Watermarks::none() };
        let first = Some(Height::new(10));
        // Nobody knows what a cursor that ends below it was given.
        for (theirs, ancestor, counted) in [(12, 3, 3), (9, 3, 0), (8, 3, 5), (12, 11, 1)] {
            let undo = undo(Ladder::Rollup, &at(theirs), &at(20), block(ancestor), first);
            let Some(Event::Pruned { depth, .. }) = undo else { panic!("{undo:?}") };
            assert_eq!(depth, counted, "from {theirs} to {ancestor}");
        }
    }

    #[test]
    fn the_ladder_is_that_which_both_ends_obey() {
        let certified = tips([9, 3, 2, 7]);
        assert_eq!(ladder_of(&certified, &tips([9, 5, 5, 5])), Ladder::Certified);
        assert_eq!(ladder_of(&tips([9, 5, 4, 3]), &tips([9, 5, 5, 5])), Ladder::Rollup);
    }
}
