//! Every decision in every small world: four heights, two forks, both ladders.

use super::words::{tips_words, word};
use crate::reconcile::{Direction, Move, Moves, Situation, clamp, coherent, moves};
use tidewatch_core::{BlockRef, Digest, Height, Ladder, Tier, TipSet, Watermarks};

const LADDERS: [Ladder; 2] = [Ladder::Rollup, Ladder::Certified];
const TOP: u64 = 3;

/// The block of `fork` at `height`; both forks have one genesis.
fn block(height: u64, fork: u8) -> BlockRef {
    let fork = if height == 0 { b'g' } else { fork };
    BlockRef::new(Height::new(height), Digest([fork; 32]))
}

/// Every tip set on blocks of `forks` that keeps to `ladder`.
fn tip_sets(ladder: Ladder, forks: &[u8]) -> Vec<TipSet> {
    let mut tips = vec![None, Some(block(0, b'g'))];
    for height in 1..=TOP {
        tips.extend(forks.iter().map(|fork| Some(block(height, *fork))));
    }
    let mut sets = vec![TipSet::unknown()];
    for tier in Tier::ALL {
        let with =
            |set: &TipSet, tip: &Option<BlockRef>| tip.map_or(*set, |tip| set.with(tier, tip));
        sets = sets.iter().flat_map(|set| tips.iter().map(move |tip| with(set, tip))).collect();
    }
    sets.retain(|set| set.check(ladder).is_ok());
    sets
}

/// What a view of fork `a` knows at the heights of the tips of `source`: every block up to the one
/// that was delivered, or only its own tips.
fn known(watermarks: &Watermarks, source: &TipSet) -> [Option<BlockRef>; 4] {
    Tier::ALL.map(|tier| {
        let theirs = source.block(tier)?;
        if watermarks.tips.block(tier) == Some(theirs) {
            return None;
        }
        let ours = block(theirs.height.get(), b'a');
        match watermarks.delivered {
            Some(head) => Some(ours).filter(|ours| ours.height <= head.height),
            None => {
                Tier::ALL.iter().any(|t| watermarks.tips.block(*t) == Some(ours)).then_some(ours)
            }
        }
    })
}

/// Every situation of a view of fork `a` and a source of both.
fn situations(mut each: impl FnMut(&Situation<'_>)) -> usize {
    let mut count = 0;
    for ladder in LADDERS {
        let sources = tip_sets(ladder, b"ab");
        for tips in tip_sets(ladder, b"a") {
            let proposed = tips.block(Tier::Proposed);
            let lowest = proposed.map_or(0, |block| block.height.get());
            let given = (lowest..=TOP).map(|height| Some(block(height, b'a')));
            for delivered in given.chain([None]) {
                let watermarks = Watermarks { delivered, tips };
                for source in &sources {
                    let known = known(&watermarks, source);
                    for (start, baseline) in [
                        (0, proposed),
                        (2, proposed),
                        (u64::MAX, proposed),
                        (0, proposed.map(|_| block(TOP, b'b'))),
                    ] {
                        let start = Height::new(start);
                        each(&Situation {
                            ladder,
                            watermarks: &watermarks,
                            baseline,
                            source,
                            start,
                            known,
                        });
                        count += 1;
                    }
                }
            }
        }
    }
    count
}

/// Whether the view was given the block at `height`, or asked not to be.
fn given(situation: &Situation<'_>, height: Height) -> bool {
    let delivered = situation.watermarks.delivered.map(|block| block.height);
    delivered.map_or(height < situation.start, |delivered| height <= delivered)
}

fn describe(situation: &Situation<'_>, decided: &Moves) -> String {
    let Situation { ladder, watermarks, source, start, .. } = situation;
    let ours = super::words::watermarks_words(watermarks);
    format!("{ladder:?} {ours}, source {}, start {start}: {decided:?}", tips_words(source))
}

/// Whether a tier may make `step`: to the source's own tip or, where the source does not know that tier, up to
/// one that the source has below it, and back to one that it has above it.
fn is_told(situation: &Situation<'_>, step: &Move) -> bool {
    let told = |other: Tier| situation.source.get(other) == Some(step.tip);
    let tiers = situation.ladder.tiers().into_iter();
    match (situation.source.get(step.tier), step.direction) {
        (Some(own), _) => own == step.tip,
        (None, Direction::Back) => tiers.take_while(|above| *above != step.tier).any(told),
        (None, Direction::Up) => tiers.skip_while(|above| *above != step.tier).skip(1).any(told),
    }
}

#[test]
fn no_prefix_of_any_decision_breaks_an_invariant() {
    let count = situations(|situation| {
        let decided = moves(situation);
        let about = || describe(situation, &decided);
        let mut tips = situation.watermarks.tips;
        for step in &decided.moves {
            assert!(is_told(situation, step), "{}", about());
            let was = tips.block(step.tier);
            let height = step.tip.block.height;
            assert!(given(situation, height), "above what was given: {}", about());
            tips.set(step.tier, Some(step.tip));
            assert_eq!(tips.check(situation.ladder), Ok(()), "{}", about());
            if step.tier == Tier::Finalized {
                assert!(
                    step.direction == Direction::Up && was.is_none_or(|was| height > was.height),
                    "{}",
                    about()
                );
            } else if situation.baseline == situation.watermarks.tips.block(Tier::Proposed) {
                assert_eq!(
                    step.direction == Direction::Back,
                    was.is_some_and(|was| height <= was.height),
                    "{}",
                    about()
                );
            }
        }
    });
    assert!(count > 500_000, "{count} situations");
}

#[test]
fn no_difference_is_passed_over_without_a_reason() {
    situations(|situation| {
        let decided = moves(situation);
        let about = || describe(situation, &decided);
        for tier in Tier::ALL {
            let Some(theirs) = situation.source.block(tier) else { continue };
            let ours = situation.watermarks.tips.block(tier);
            let moved = decided.moves.iter().any(|step| step.tier == tier);
            let withheld = decided.withheld.contains(&(tier, theirs));
            assert!(!(moved && withheld), "{}", about());
            let old = tier == Tier::Finalized
                && (decided.conflict.is_some() || ours.is_some_and(|o| theirs.height <= o.height));
            if ours != Some(theirs) && given(situation, theirs.height) && !old {
                assert!(moved || withheld, "{tier}: {}", about());
            }
        }
        if let Some(conflict) = decided.conflict {
            assert_ne!(conflict.ours, conflict.theirs);
            assert_eq!(conflict.ours.height, conflict.theirs.height, "{}", about());
        }
    });
}

#[test]
fn a_source_on_our_own_chain_is_never_held_up() {
    situations(|situation| {
        let on_ours = |tier: &Tier| {
            situation.source.block(*tier).is_none_or(|tip| tip == block(tip.height.get(), b'a'))
        };
        if !Tier::ALL.iter().all(on_ours) {
            return;
        }
        let decided = moves(situation);
        assert_eq!(decided.conflict, None);
        let finalized = |tips: &TipSet| tips.block(Tier::Finalized).map(|tip| tip.height);
        let old = finalized(&situation.watermarks.tips) > finalized(situation.source);
        // Nothing is concluded about finality.
        let unknown = |tier: &Tier| {
            let ours = situation.watermarks.tips.block(*tier);
            *tier == Tier::Finalized && situation.source.block(*tier).is_none() && ours.is_some()
        };
        let ungiven = |tier: &Tier| {
            situation.source.block(*tier).is_some_and(|tip| !given(situation, tip.height))
        };
        // What stands still, because the answer is old or short, can be in the way of the others.
        if !old && !Tier::ALL.iter().any(|tier| unknown(tier) || ungiven(tier)) {
            assert_eq!(decided.withheld, [], "{}", describe(situation, &decided));
        }
    });
}

#[test]
fn a_clamp_never_raises_a_tier_nor_touches_finalized_nor_breaks_the_ladder() {
    let mut count = 0;
    for ladder in LADDERS {
        let sources = tip_sets(ladder, b"ab");
        for local in tip_sets(ladder, b"a") {
            let height = |tier| local.block(tier).map_or(0, |block| block.height.get());
            for to in height(Tier::Finalized)..=height(Tier::Proposed) {
                let to = block(to, b'a');
                for source in &sources {
                    let watermarks = Watermarks { delivered: Some(block(TOP, b'a')), tips: local };
                    let source = coherent(source, &known(&watermarks, source));
                    check_clamp(ladder, &local, &source, to);
                    count += 1;
                }
                check_clamp(ladder, &local, &TipSet::unknown(), to);
            }
        }
    }
    assert!(count > 50_000, "{count} clamps");
}

fn check_clamp(ladder: Ladder, local: &TipSet, source: &TipSet, to: BlockRef) {
    let clamped = clamp(ladder, local, source, to);
    let about = || {
        let [ours, theirs, after] = [local, source, &clamped].map(tips_words);
        format!("{ladder:?} {ours}, source {theirs}, to {}: {after}", word(to))
    };
    assert_eq!(clamped.check(ladder), Ok(()), "{}", about());
    assert_eq!(clamped.get(Tier::Finalized), local.get(Tier::Finalized), "{}", about());
    for tier in Tier::ALL {
        let (before, after) = (local.block(tier), clamped.block(tier));
        assert_eq!(before.is_some(), after.is_some(), "{}", about());
        let (Some(before), Some(after)) = (before, after) else { continue };
        assert!(after.height <= to.height, "{tier} is above the prune: {}", about());
        assert!(after == before || after.height < before.height, "{tier} was raised: {}", about());
        assert_eq!(after, block(after.height.get(), b'a'), "{tier} left the chain: {}", about());
        let own = source.block(tier).filter(|own| tier != Tier::Proposed && own.height < to.height);
        // A tier that the source does not know comes down with the lowest of those above it.
        let unknown = source.block(tier).is_none() && tier != Tier::Finalized;
        let mut above = ladder.tiers().into_iter().take_while(|above| *above != tier && unknown);
        let follows = above.any(|above| clamped.block(above) == Some(after));
        let limit = own.map_or(to.height, |own| own.height);
        let limit = if follows { limit.min(after.height) } else { limit };
        assert!(before.height > limit || after == before, "{tier} moved for nothing: {}", about());
    }
}
