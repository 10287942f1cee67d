//! B13. A field that was documented as one that may regress was treated as monotonic.
//!
//! Here a regression is a different event variant from an advance, and a consumer cannot overlook it:
//! the match below has no wildcard, so it would not compile if the two became one.

use crate::support::Steps;
use tidewatch_core::{Event, Tier, Watermarks};
use tidewatch_testkit::chain::Chain;

/// A consumer that keeps one height per tier, variant by variant.
fn heights_move_as_the_variant_says(events: &[Event]) {
    let mut watermarks = Watermarks::none();
    for event in events {
        match event {
            Event::Blocks { from, .. } => {
                assert!(watermarks.delivered.is_none_or(|was| was.height < from.height), "{event}");
            }
            Event::Advanced { tier, tip } => {
                let was = watermarks.tips.block(*tier);
                assert!(was.is_none_or(|was| was.height < tip.block.height), "{event}");
            }
            Event::Regressed { tier, tip } => {
                // Down, or to another block at the same height: never up.
                let was = watermarks.tips.block(*tier).expect("it was known");
                assert!(tip.block.height <= was.height && tip.block != was, "{event}");
            }
            Event::Pruned { tips, .. } => {
                for tier in Tier::ALL {
                    let (was, is) = (watermarks.tips.block(tier), tips.block(tier));
                    assert!(is.map(|is| is.height) <= was.map(|was| was.height), "{event}");
                }
            }
        }
        watermarks.apply(event);
    }
}

#[test]
fn a_tier_that_goes_back_on_the_same_chain_is_regressed() {
    let chain = Chain::new('a', 10);
    let mut steps = Steps::synced(&chain, [10, 9, 8, 3]);
    steps.source.stand(&chain, [10, 7, 5, 3]);
    assert_eq!(steps.pass().events, ["back proven 5a/5", "back checkpointed 7a/7"]);
    heights_move_as_the_variant_says(&steps.view.events());
}

/// Every move of two tiers on ten blocks. After a prune the proposed tip is announced once more, by the
/// variant that corresponds to the move since the start of the pass.
#[test]
fn whatever_the_tiers_do_the_variant_says_which_way() {
    let chain = Chain::new('a', 10);
    let mut steps = Steps::synced(&chain, [10, 1, 1, 1]);
    for checkpointed in [4, 9, 2, 10, 6, 1, 8] {
        for proven in 1..=checkpointed {
            steps.source.stand(&chain, [10, checkpointed, proven, 1]);
            steps.settle();
        }
    }
    heights_move_as_the_variant_says(&steps.view.events());
    assert!(steps.view.words().iter().any(|event| event.starts_with("back proven")));
}
