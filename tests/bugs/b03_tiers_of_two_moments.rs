//! B03. Tiers were read one by one while the upstream moved. The resulting tip set had never been true,
//! and the cursor computed from it got stuck permanently.
//!
//! Here one pass reads all tiers in one call. A source that still mixes two moments is detected if its
//! tip set contradicts itself: the snapshot is rejected if it breaks the ladder, and a single tier is
//! rejected if its tip is not on the chain of the proposed tip. Nothing of it is kept.

use crate::support::Steps;
use tidewatch_core::{FaultKind, Tier, TipSet};
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Call, Kind},
    words::tips_words,
};

#[test]
fn one_call_reads_all_tiers() {
    let chain = Chain::new('a', 12);
    let mut steps = Steps::synced(&chain, [10, 8, 6, 4]);
    steps.source.stand(&chain, [10, 9, 7, 5]);
    steps.source.after(Kind::Snapshot, 1, move |world| world.stand(&chain, [12, 12, 12, 12]));
    let pass = steps.pass();
    assert_eq!(pass.calls, [Call::Snapshot]);
    assert_eq!(pass.events, ["checkpointed 9a/9", "proven 7a/7", "finalized 5a/5"]);
}

#[test]
fn a_picture_whose_ladder_is_broken_is_refused_whole_and_read_again() {
    let chain = Chain::new('a', 12);
    let mut steps = Steps::synced(&chain, [10, 8, 6, 4]);
    let (before, after) = (chain.tips([10, 8, 6, 4]), chain.tips([12, 12, 12, 12]));
    let torn = before.with(Tier::Finalized, after.get(Tier::Finalized).unwrap());
    steps.source.stand(&chain, [12, 12, 12, 12]);
    steps.source.answer(Kind::Snapshot, 1, Answer::Tips(torn.into()));
    let pass = steps.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::LadderBroken), 0));
    steps.settle();
    assert_eq!(steps.stands(), "12a: 12a 12a/12 12a/12 12a/12");
}

/// Every mix of two moments, tier by tier, where a reorg lies between the two.
#[test]
fn no_mix_of_two_moments_moves_a_tier_off_the_chain_or_keeps_it_from_moving_later() {
    let old = Chain::new('a', 12);
    let new = old.fork(8, 'b', 14);
    let (before, after) = (old.tips([12, 10, 9, 5]), new.tips([14, 13, 9, 6]));
    for mix in 0..16_u8 {
        for served in [&old, &new] {
            let mut torn = TipSet::unknown();
            for tier in Tier::ALL {
                let late = mix & (1 << tier.index()) != 0;
                torn.set(tier, if late { after.get(tier) } else { before.get(tier) });
            }
            let mut steps = Steps::synced(&old, [11, 9, 8, 5]);
            steps.source.change(|world| {
                world.chain = served.clone();
                world.tips = torn;
            });
            let _ = steps.pass();
            // The view has checked every event already. The chain of the tiers remains to be checked.
            let tips = steps.view.stands().tips;
            let proposed = tips.block(Tier::Proposed).unwrap();
            let chain = if old.has(proposed) { &old } else { &new };
            for tier in Tier::ALL {
                let block = tips.block(tier).unwrap();
                assert!(chain.has(block), "{tier} of {}, {}", tips_words(&tips), tips_words(&torn));
            }
            steps.source.stand(&new, [14, 13, 9, 6]);
            steps.settle();
            assert_eq!(steps.stands(), "14b: 14b 13b/13 9b/9 6a/6", "after {}", tips_words(&torn));
        }
    }
}
