//! B01. A follower derived one tier from a report about a *different* tier, and a downstream component
//! acted on a finality that no source had stated.
//!
//! Here a tip comes only from the source's report of that tier, or from the clamp of a prune. There is one
//! exception, and it is not for finality: a tier that the source no longer knows is announced where a tier
//! stands now that the ladder puts below it, and moves back with one that the ladder puts above it. What is
//! proven was checkpointed; to hold the proven tier back because nobody says so would keep finality from the
//! consumer, and to leave it where it was would keep the checkpointed tier from moving back.

use crate::support::{ALL, Steps};
use tidewatch_core::{BlockRef, Event, Ladder, Tier, TipSet};
use tidewatch_testkit::{
    chain::Chain,
    words::{tips_words, words},
};

/// All tip sets with heights up to `max` that obey the ladder; any lower tier may be unknown.
fn every(ladder: Ladder, chain: &Chain, max: u64) -> Vec<TipSet> {
    let values: Vec<_> = std::iter::once(None).chain((1..=max).map(Some)).collect();
    let mut sets = Vec::new();
    for &a in &values {
        for &b in &values {
            for &c in &values {
                for &d in &values {
                    let tips = chain.tips_at([a, b, c, d]);
                    if a.is_some() && tips.check(ladder).is_ok() {
                        sets.push(tips);
                    }
                }
            }
        }
    }
    sets
}

#[test]
fn only_the_tier_that_the_source_raised_moves_and_the_others_keep_height_and_digest() {
    let chain = Chain::new('a', 20);
    let mut steps = Steps::synced(&chain, [20, 15, 10, 5]);
    let before = steps.view.stands().tips;
    steps.source.stand(&chain, [20, 15, 12, 5]);
    assert_eq!(steps.pass().events, ["proven 12a/12"]);
    let after = steps.view.stands().tips;
    for tier in [Tier::Proposed, Tier::Checkpointed, Tier::Finalized] {
        assert_eq!(after.get(tier), before.get(tier), "{tier}");
    }
    assert_eq!(steps.settle(), [""; 0]);
}

/// Every tip set over three blocks after every other one, on the same chain and on a fork: the tip of a
/// tier is one that the source reported for that tier, or the block that a prune went to, or, where the
/// source does not know a tier other than finalized, one that it reported for the tier that it cannot be below,
/// or cannot be above.
#[test]
fn in_every_small_world_a_tier_becomes_what_was_said_of_it_or_is_clamped() {
    let ours = Chain::new('a', 3);
    for ladder in [Ladder::Rollup, Ladder::Certified] {
        for theirs in [ours.clone(), ours.fork(3, 'b', 3)] {
            let (first, second) = (every(ladder, &ours, 3), every(ladder, &theirs, 3));
            for was in &first {
                for said in &second {
                    follow(ladder, (&ours, was), (&theirs, said));
                }
            }
        }
    }
}

fn follow(ladder: Ladder, (ours, was): (&Chain, &TipSet), (theirs, said): (&Chain, &TipSet)) {
    let mut steps = Steps::on(ladder, ALL, ours, [0; 4]);
    for (chain, tips) in [(ours, was), (theirs, said)] {
        let top = tips.block(Tier::Proposed).expect("known").height.get();
        steps.source.change(|world| {
            world.chain = chain.fork(top + 1, 'z', top);
            world.tips = *tips;
        });
        for _ in 0..3 {
            let _ = steps.pass(); // The pass may fail: only the resulting watermarks matter.
        }
    }
    let pruned_to: Vec<BlockRef> = steps
        .view
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Pruned { to, .. } => Some(*to),
            _ => None,
        })
        .collect();
    let stands = steps.view.stands().tips;
    for tier in Tier::ALL {
        let is = stands.block(tier);
        let own = [None, was.block(tier), said.block(tier)];
        let clamped = is.is_some_and(|is| pruned_to.contains(&is));
        let mut others = Tier::ALL.into_iter().filter(|other| *other != tier);
        let implied = tier != Tier::Finalized
            && said.block(tier).is_none()
            && others.any(|other| said.block(other) == is);
        assert!(
            own.contains(&is) || clamped || implied,
            "{tier} of {} after {} and {}: {:?}",
            tips_words(&stands),
            tips_words(was),
            tips_words(said),
            words(&steps.view.events())
        );
    }
}
