//! B07. A prune moved the proposed tip below the proven one and left the proven tip unchanged: for a
//! while the follower claimed a proof for blocks that it had just dropped.
//!
//! Here a prune is one event that carries all tips after it. Tiers above the prune are clamped to it,
//! or to the source's own lower tip, in that same event.

use crate::support::Steps;
use tidewatch_core::{Event, Tier};
use tidewatch_testkit::chain::Chain;

#[test]
fn every_tier_above_the_ancestor_comes_down_in_the_event_that_prunes() {
    let chain = Chain::new('a', 20);
    let mut steps = Steps::synced(&chain, [20, 19, 18, 5]);
    steps.source.stand(&chain.fork(16, 'b', 21), [21, 0, 0, 5]);
    let pass = steps.pass();
    assert_eq!(pass.events[0], "prune 15a: 5 dropped, 15a 15a 15a 5a/5");
    assert_eq!(pass.events[1..], ["blocks 16b-21b", "proposed 21b"]);
}

#[test]
fn for_every_ancestor_and_every_proven_tip_no_tier_stays_above_the_prune() {
    let chain = Chain::new('a', 20);
    for ancestor in 5..20 {
        for proven in 5..=20 {
            let mut steps = Steps::synced(&chain, [20, 20, proven, 5]);
            steps.source.stand(&chain.fork(ancestor + 1, 'b', 22), [22, 0, 0, 5]);
            let before = steps.view.events().len();
            steps.pass();
            let Event::Pruned { to, tips, .. } = steps.view.events()[before] else {
                panic!("the prune comes first");
            };
            assert_eq!(to, chain.at(ancestor));
            let below = |height: u64| chain.at(height.min(ancestor));
            assert_eq!(tips.block(Tier::Proposed), Some(to));
            assert_eq!(tips.block(Tier::Checkpointed), Some(to));
            assert_eq!(tips.block(Tier::Proven), Some(below(proven)));
            assert_eq!(tips.block(Tier::Finalized), Some(chain.at(5)));
        }
    }
}
