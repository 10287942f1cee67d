//! B34. Only the latest blocks were remembered. A fork below the oldest of them ended in an assertion,
//! or in an unhelpful message.
//!
//! Here a view with blocks knows all of them, so there is no window; a tips-only view knows 64 anchors.
//! A fork below everything known is pruned to what is certain: the deepest anchor on the new chain,
//! never below finalized. A fork below finalized drops nothing that is finalized, and reports the two
//! conflicting blocks.

use crate::support::{Steps, crash, open, pass, restart};
use tidewatch_core::{Event, FaultKind, Ladder, LocalView as _, Tier};
use tidewatch_stream::{Ended, Mode};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource, words::watermarks_words};

const FINALIZED: u64 = 10;

#[test]
fn with_blocks_there_is_no_window_and_every_depth_finds_its_ancestor() {
    let chain = Chain::new('a', 400);
    for depth in [1, 63, 64, 65, 66, 128, 389, 390] {
        let mut steps = Steps::new(&chain, [400, 0, 0, FINALIZED]);
        steps.source.change(|world| world.blocks_max = 400);
        steps.settle();
        let ancestor = 400 - depth;
        steps.source.stand(&chain.fork(ancestor + 1, 'b', 401), [401, 0, 0, FINALIZED]);
        let events = steps.pass().events;
        assert_eq!(
            events[0],
            format!("prune {ancestor}a: {depth} dropped, {ancestor}a - - 10a/10")
        );
        assert_eq!(steps.stands(), "401b: 401b - - 10a/10");
    }
}

/// Two hundred announced tips, of which 64 are remembered, and a fork anywhere above finalized.
#[test]
fn without_blocks_a_fork_below_every_anchor_is_pruned_to_finalized_at_the_lowest() {
    let chain = Chain::new('a', 210);
    let mut steps = Steps::on(Ladder::Rollup, Mode::TipsOnly, &chain, [FINALIZED, 0, 0, FINALIZED]);
    for tip in FINALIZED..=210 {
        steps.source.stand(&chain, [tip, 0, 0, FINALIZED]);
        steps.settle();
    }
    // Forks of increasing depth: the remaining anchors are always on the chain.
    for (fork, letter) in (FINALIZED + 1..=210).rev().step_by(7).zip(('b'..='z').cycle()) {
        let theirs = chain.fork(fork, letter, 211);
        let before = steps.view.events().len();
        steps.source.stand(&theirs, [211, 0, 0, FINALIZED]);
        steps.settle();
        let Event::Pruned { to, .. } = steps.view.events()[before] else {
            panic!("{:?}", steps.view.words());
        };
        assert!(theirs.has(to) && to.height.get() >= FINALIZED, "fork at {fork}, pruned to {to}");
        assert_eq!(steps.view.stands().tips.block(Tier::Proposed), Some(theirs.at(211)));
        assert_eq!(steps.view.stands().tips.block(Tier::Finalized), Some(chain.at(FINALIZED)));
    }
}

#[test]
fn a_fork_below_finalized_stops_there_and_says_why() {
    let chain = Chain::new('a', 80);
    for fork in [1, 2, FINALIZED - 1, FINALIZED] {
        let mut steps = Steps::synced(&chain, [80, 0, 0, FINALIZED]);
        let theirs = chain.fork(fork, 'b', 81);
        steps.source.stand(&theirs, [81, 0, 0, 0]);
        let pass = steps.pass();
        assert_eq!(pass.ended(), Ended::Conflicted);
        assert_eq!(pass.faults(), [FaultKind::FinalityConflict]);
        let fault = &pass.result.as_ref().unwrap().faults[0];
        let conflict = fault.conflict.expect("both sides");
        assert_eq!((conflict.ours, conflict.theirs), (chain.at(FINALIZED), theirs.at(FINALIZED)));
        assert_eq!(pass.events, ["prune 10a: 70 dropped, 10a - - 10a/10"]);
        assert_eq!(steps.pass().events, [""; 0], "and goes no further");
    }
}

/// The oldest block is durable: the same depths across a crash.
#[test]
fn after_a_crash_the_deepest_fork_is_found_as_before() {
    let chain = Chain::new('a', 200);
    let chain_info = chain.chain_info();
    let source = ScriptedSource::new(&chain, [200, 0, 0, FINALIZED]);
    source.change(|world| world.blocks_max = 200);
    let (_, checkpoint) = crash(|context| async move {
        let mut store = open(&context, &chain_info).await.unwrap();
        pass(&source, &mut store, &chain_info, Mode::GENESIS).await.unwrap();
    });
    let chain_info = chain.chain_info();
    let theirs = chain.fork(FINALIZED + 1, 'b', 201);
    let source = ScriptedSource::new(&theirs, [201, 0, 0, FINALIZED]);
    source.change(|world| world.blocks_max = 200);
    restart(checkpoint, |context| async move {
        let mut store = open(&context, &chain_info).await.unwrap();
        pass(&source, &mut store, &chain_info, Mode::GENESIS).await.unwrap();
        assert_eq!(watermarks_words(&store.watermarks().await.unwrap()), "201b: 201b - - 10a/10");
    });
}
