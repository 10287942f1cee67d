//! B17. A range was fetched in parts, and only the parent of the first block was checked. The upstream
//! reorged in between, and parts of two chains were stored as one.
//!
//! Here every block is checked against its predecessor, across parts too. A part that does not link is
//! rejected, and no tier moves.
//!
//! What differs from the entry: parts fetched before the reorg do link to the local chain, and they
//! *are* delivered, in order, without a tier. The next pass prunes those that are not on the new chain
//! before anything replaces them. A certified source verifies the hash chain of a whole range before it
//! returns any of it, which it can do because it knows the last digest.

use crate::support::Steps;
use tidewatch_core::{Event, FaultKind, Height, Tier, Watermarks};
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind},
};

/// A view at 99, of a source at 199 that returns 25 blocks at once.
fn at_ninety_nine(chain: &Chain) -> Steps {
    let mut steps = Steps::new(chain, [99, 0, 0, 0]);
    steps.source.change(|world| world.blocks_max = 100);
    steps.settle();
    steps.source.change(|world| world.blocks_max = 25);
    steps.source.stand(chain, [199, 0, 0, 0]);
    steps
}

#[test]
fn a_part_of_another_chain_does_not_link_and_is_not_taken_in() {
    let chain = Chain::new('a', 199);
    let theirs = chain.fork(120, 'b', 199);
    let mut steps = at_ninety_nine(&chain);
    // A source that violates its port: it returns blocks of its current chain, whatever the tip.
    steps.source.change(|world| world.careless = true);
    steps.source.after(Kind::Blocks, 2, move |world| world.stand(&theirs, [199, 0, 0, 0]));
    let pass = steps.pass();
    assert_eq!(pass.fault(), Some(FaultKind::NotLinked));
    assert_eq!(pass.events, ["blocks 100a-124a", "blocks 125a-149a"], "no tier");
    let pass = steps.pass();
    assert_eq!(pass.events[0], "prune 119a: 30 dropped, 99a - - -");
    assert_eq!(pass.events[1..3], ["blocks 120b-144b", "blocks 145b-169b"]);
    assert_eq!(steps.stands(), "199b: 199b - - -");
}

/// A reorg between any two parts, with a fork anywhere: the consumer always holds a single chain.
#[test]
fn wherever_the_reorg_falls_no_two_chains_are_ever_mixed() {
    let chain = Chain::new('a', 199);
    for after in 1..=3 {
        for fork in (95..199).step_by(4) {
            for careless in [true, false] {
                let mut steps = at_ninety_nine(&chain);
                steps.source.change(|world| world.careless = careless);
                let theirs = chain.fork(fork, 'b', 199);
                let next = theirs.clone();
                steps.source.after(Kind::Blocks, after, move |w| w.stand(&next, [199, 0, 0, 0]));
                let pass = steps.pass();
                assert!(
                    matches!(
                        pass.fault(),
                        Some(FaultKind::NotLinked | FaultKind::Missing | FaultKind::Torn)
                    ),
                    "{:?}",
                    pass.result
                );
                let proposed = steps.view.stands().tips.block(Tier::Proposed);
                assert_eq!(proposed, Some(chain.at(99)), "no tier moved");
                steps.settle();
                assert_eq!(steps.stands(), "199b: 199b - - -");
                assert_no_block_is_replaced_before_it_is_pruned(&steps.view.events());
            }
        }
    }
}

fn assert_no_block_is_replaced_before_it_is_pruned(events: &[Event]) {
    let mut watermarks = Watermarks::none();
    for event in events {
        if let Event::Blocks { from, .. } = event {
            let next = watermarks.delivered.map_or(Height::new(1), |head| head.height.next());
            assert_eq!(from.height, next, "{event}");
        }
        watermarks.apply(event);
    }
}

/// One wrong link anywhere in a part rejects that part.
#[test]
fn every_parent_is_checked_not_only_the_first() {
    let chain = Chain::new('a', 20);
    for at in 12..=20 {
        let mut steps = Steps::synced(&chain, [10, 0, 0, 0]);
        steps.source.stand(&chain, [20, 0, 0, 0]);
        let other = Chain::new('b', 20);
        let mixed = [chain.range(11, at - 1), other.range(at, 20)].concat();
        steps.source.answer(Kind::Blocks, 1, Answer::Blocks(mixed));
        let pass = steps.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::NotLinked), 0), "{at}");
    }
}
