//! B73. The first sync was reported as complete although it had failed; and finality was announced only
//! after the unfinished part of the chain had been caught up.
//!
//! Here the status covers the first half: a failed pass leaves a known gap, and with a gap the state is
//! not `Live`. The second half is deliberately different: no tier is announced above the delivered
//! head, and the tiers are announced together with the last block. A client that needs finality at once
//! follows the same source with a tips-only view.

use crate::support::{Live, Steps, secs, simulate};
use commonware_runtime::Supervisor as _;
use tidewatch_core::{FaultKind, Ladder, State, Tier};
use tidewatch_stream::{Mode, driver::Config};
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind, ScriptedSource},
};

#[test]
fn a_first_sync_that_failed_is_not_a_sync() {
    for blocks in [1, 2, 30, 200] {
        simulate(|context| async move {
            let source = ScriptedSource::new(&Chain::new('a', blocks), [blocks, 0, 0, 0]);
            for nth in 1..=20 {
                source.answer(Kind::Blocks, nth, Answer::Fault(FaultKind::Missing));
            }
            let live = Live::new(&context, &source, Config::default());
            while source.count(Kind::Blocks) < 20 {
                live.sleep(secs(1)).await;
                assert_ne!(live.recorder.state(), Some(State::Live));
            }
            live.sleep(secs(5)).await;
            let told = live.recorder.statuses();
            let first = told.iter().find(|(_, status)| status.state == State::Live).unwrap();
            let done = live.recorder.faults().last().unwrap().0;
            assert!(first.0 > done && first.1.lag == 0, "{blocks} blocks");
            live.stop().await;
        });
    }
}

#[test]
fn a_view_without_blocks_has_every_tier_while_another_one_is_still_given_blocks() {
    simulate(|context| async move {
        let chain = Chain::new('a', 500);
        let source = ScriptedSource::new(&chain, [500, 480, 470, 450]);
        let gate = source.hold(Kind::Blocks, 20);
        let blocks = Live::new(&context, &source, Config::default());
        let tips = {
            let source = ScriptedSource::new(&chain, [500, 480, 470, 450]);
            let config = Config { mode: Mode::TipsOnly, ..Config::default() };
            let live = Live::new(&context.child("tips"), &source, config);
            live.settle().await;
            live.view.stands().tips
        };
        gate.entered().await;
        blocks.settle().await;
        assert_eq!(tips, chain.tips([500, 480, 470, 450]));
        let watermarks = blocks.view.stands();
        assert_eq!(watermarks.delivered, Some(chain.at(190)));
        assert_eq!(watermarks.tips.block(Tier::Finalized), None, "not before the last block");
        gate.open();
        blocks.settle().await;
        assert!(blocks.view.stands().tips.same_blocks(&tips));
        blocks.stop().await;
    });
}

/// A tip that keeps moving does not delay finality: a pass announces the finality of its own snapshot.
#[test]
fn finality_comes_although_the_proposed_tip_is_never_caught_up_with() {
    let chain = Chain::new('a', 200);
    let mut steps = Steps::on(Ladder::Rollup, Mode::GENESIS, &chain, [10, 0, 0, 5]);
    for tip in (10..200).step_by(5) {
        // The source moves on during the download of each pass.
        let next = chain.clone();
        steps.source.after(Kind::Blocks, 1, move |world| {
            world.stand(&next, [tip + 5, 0, 0, tip]);
        });
        let events = steps.pass().events;
        assert!(events.iter().any(|event| event.starts_with("finalized")), "{tip}: {events:?}");
    }
}
