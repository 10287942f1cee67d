//! B02. A consumer was notified that a block is proven before it received the block, because tiers and
//! blocks travelled separately and the delivery of blocks had failed half-way.
//!
//! Here blocks come first and tiers after them, from the highest tier down. Whatever fails in between,
//! no tier is ever above the delivered head, and the next pass catches up in the same order.

use crate::support::Steps;
use tidewatch_core::{Event, FaultKind, Watermarks};
use tidewatch_testkit::chain::Chain;

/// A view at proposed 10, of a source with every tier at 15, in ranges of three blocks.
fn at_ten() -> Steps {
    let chain = Chain::new('a', 15);
    let steps = Steps::synced(&chain, [10, 0, 0, 0]);
    steps.source.change(|world| world.blocks_max = 3);
    steps.source.stand(&chain, [15, 15, 15, 12]);
    steps
}

const THE_REST: [&str; 5] =
    ["blocks 14a-15a", "proposed 15a", "checkpointed 15a/15", "proven 15a/15", "finalized 12a/12"];

#[test]
fn a_delivery_that_fails_half_way_moves_no_tier_until_it_is_complete() {
    let mut steps = at_ten();
    steps.view.fail(2, FaultKind::Consumer, 0);
    let pass = steps.pass();
    assert_eq!(pass.fault(), Some(FaultKind::Consumer));
    assert_eq!(pass.events, ["blocks 11a-13a"], "and no tier");
    assert_eq!(steps.stands(), "13a: 10a - - -");
    assert_eq!(steps.pass().events, THE_REST);
}

/// Every point at which the last commit can fail.
#[test]
fn wherever_it_fails_the_rest_comes_in_the_same_order_and_nothing_comes_twice() {
    for made in 0..=THE_REST.len() {
        let mut steps = at_ten();
        steps.view.fail(2, FaultKind::Consumer, made);
        let mut events = steps.pass().events;
        assert_eq!(events.len(), 1 + made);
        events.extend(steps.settle());
        assert_eq!(events[1..], THE_REST, "after {made} changes of the commit");
        assert_no_tier_is_above_what_was_given(&steps.view.events());
    }
}

fn assert_no_tier_is_above_what_was_given(events: &[Event]) {
    let mut watermarks = Watermarks::none();
    for event in events {
        if let Event::Advanced { tip, .. } | Event::Regressed { tip, .. } = event {
            let given = watermarks.delivered.expect("blocks came first").height;
            assert!(tip.block.height <= given, "{event} with blocks up to {given}");
        }
        watermarks.apply(event);
    }
}
