//! B25. A reorg reached below the configured start height of a follower, where it had nothing to
//! compare: it searched there, or named a block that it had never had.
//!
//! Here the block below the first delivered one is known by its digest, from that block's parent. If
//! even that one was replaced, the prune goes to the block below it *on the source's chain*, and
//! delivery continues from there. Nothing further down is requested, and no height is ever below
//! genesis.

use crate::support::{Steps, from};
use tidewatch_core::{Event, Ladder};
use tidewatch_stream::{Mode, Start};
use tidewatch_testkit::{chain::Chain, source::Call, words::word};

const START: u64 = 100;

fn started(mode: Mode, chain: &Chain) -> Steps {
    let mut steps = Steps::on(Ladder::Rollup, mode, chain, [105, 0, 0, 0]);
    steps.settle();
    steps
}

#[test]
fn a_reorg_below_the_start_prunes_to_a_true_block_right_under_it() {
    let chain = Chain::new('a', 105);
    let theirs = chain.fork(98, 'b', 106);
    let mut steps = started(from(START), &chain);
    steps.source.stand(&theirs, [106, 0, 0, 0]);
    let pass = steps.pass();
    let events = ["prune 98b: 6 dropped, 98b - - -", "blocks 99b-106b", "proposed 106b"];
    assert_eq!(pass.events, events);
    let Some(Event::Pruned { to, .. }) = steps.view.events().get(2).copied() else {
        panic!("{:?}", steps.view.words());
    };
    assert_eq!(to, theirs.at(98), "the block that the source has there, by its digest");
}

/// A fork at every height from genesis to the tip, for every start.
#[test]
fn for_every_fork_and_every_start_the_follower_ends_up_on_the_new_chain() {
    let chain = Chain::new('a', 105);
    for start in [0, 1, 2, START, 104, 105] {
        for fork in 1..=105 {
            let theirs = chain.fork(fork, 'b', 106);
            let mut steps = started(from(start), &chain);
            steps.source.stand(&theirs, [106, 0, 0, 0]);
            let events = steps.settle();
            assert_eq!(steps.stands(), "106b: 106b - - -");
            // The ancestor, unless it is below the first block's parent; else the block below that
            // parent.
            let first = start.max(1);
            let lowest = if fork >= first { fork - 1 } else { first - 2 };
            let to = steps.view.events().iter().find_map(|event| match event {
                Event::Pruned { to, .. } => Some(*to),
                _ => None,
            });
            let to = to.expect("pruned");
            assert!(theirs.has(to), "{}: {events:?}", word(to));
            assert_eq!(to.height.get(), lowest, "{} under start {start}: {events:?}", word(to));
        }
    }
}

#[test]
fn nothing_below_the_block_under_the_start_is_asked_for() {
    let chain = Chain::new('a', 105);
    let mut steps = started(from(START), &chain);
    steps.source.stand(&chain.fork(3, 'b', 106), [106, 0, 0, 0]);
    for call in steps.pass().calls {
        let lowest = match call {
            Call::Digests(heights) => heights.into_iter().min(),
            Call::Blocks(from, _) => Some(from),
            Call::ChainInfo | Call::Snapshot => None,
        };
        assert!(lowest.is_none_or(|lowest| lowest >= START - 2), "{lowest:?}");
    }
}

#[test]
fn a_start_at_the_tip_that_is_reorged_away_is_no_exception() {
    let chain = Chain::new('a', 105);
    let mut steps = started(Mode::Blocks { start: Start::Tip, skip_finalized: false }, &chain);
    assert_eq!(steps.view.words(), ["blocks 105a-105a", "proposed 105a"]);
    steps.source.stand(&chain.fork(90, 'b', 106), [106, 0, 0, 0]);
    let events = ["prune 103b: 1 dropped, 103b - - -", "blocks 104b-106b", "proposed 106b"];
    assert_eq!(steps.pass().events, events);
}
