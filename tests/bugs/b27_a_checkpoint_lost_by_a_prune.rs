//! B27. A prune went to a block in the middle of a checkpoint. No checkpoint ended there, so the
//! checkpointed tip was set to 0, and everything since genesis was announced again.
//!
//! Here a tier above the prune moves down to the source's own tip of that tier if that is below the
//! prune, and otherwise to the pruned-to block, without an invented checkpoint. Nothing that was
//! announced and is still valid is announced again.

use crate::support::Steps;
use tidewatch_core::{Event, Tier};
use tidewatch_testkit::chain::Chain;

/// Checkpoints end at 10 and at 20.
fn at_twenty_two() -> (Chain, Steps) {
    let chain = Chain::new('a', 22);
    let mut steps = Steps::new(&chain, [10, 10, 0, 4]);
    steps.settle();
    steps.source.stand(&chain, [22, 20, 0, 4]);
    steps.settle();
    (chain, steps)
}

#[test]
fn the_checkpointed_tip_comes_down_to_the_last_checkpoint_below_the_prune() {
    let (chain, mut steps) = at_twenty_two();
    steps.source.stand(&chain.fork(18, 'b', 23), [23, 10, 0, 4]);
    let pass = steps.pass();
    let events = ["prune 17a: 5 dropped, 17a 10a/10 - 4a/4", "blocks 18b-23b", "proposed 23b"];
    assert_eq!(pass.events, events, "the checkpoint at 10 is not said again");
    assert_eq!(steps.settle(), [""; 0]);
}

#[test]
fn where_the_source_does_not_say_it_is_the_pruned_to_block_without_a_checkpoint() {
    let (chain, mut steps) = at_twenty_two();
    steps.source.stand(&chain.fork(18, 'b', 23), [23, 0, 0, 4]);
    let pass = steps.pass();
    assert_eq!(pass.events[0], "prune 17a: 5 dropped, 17a 17a - 4a/4");
    let Event::Pruned { tips, .. } = steps.view.events()[steps.view.events().len() - 3] else {
        panic!("{:?}", steps.view.words());
    };
    assert_eq!(tips.get(Tier::Checkpointed).unwrap().checkpoint, None);
    steps.source.stand(&chain.fork(18, 'b', 23), [23, 10, 0, 4]);
    assert_eq!(steps.settle(), ["back checkpointed 10a/10"], "and when it does, it is one event");
}

/// Every prune, with the checkpoint below it: never back to genesis, and no block or tier twice.
#[test]
fn no_prune_ever_brings_back_what_was_announced_already() {
    for fork in 5..=22 {
        let (chain, mut steps) = at_twenty_two();
        steps.source.change(|world| world.blocks_max = 20);
        let before = steps.view.events().len();
        // The highest checkpoint below the fork that the source reports; the finalized tip is one.
        let last = match fork {
            21.. => 20,
            11..21 => 10,
            _ => 4,
        };
        let theirs = chain.fork(fork, 'b', 23);
        steps.source.stand(&theirs, [23, last, 0, 4]);
        steps.settle();
        let checkpointed = steps.view.stands().tips.block(Tier::Checkpointed);
        assert_eq!(checkpointed, Some(theirs.at(last)));
        let events = steps.view.events().split_off(before);
        assert!(matches!(events[0], Event::Pruned { .. }));
        let came: Vec<_> = events[1..]
            .iter()
            .map(|event| match event {
                Event::Blocks { from, to } => (from.height.get(), to.height.get()),
                Event::Advanced { tip, .. } => (tip.block.height.get(), tip.block.height.get()),
                event => panic!("{event}"),
            })
            .collect();
        assert_eq!(came, [(fork, 23), (23, 23)], "fork at {fork}");
    }
}
