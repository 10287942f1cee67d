//! B26. An upstream of another network differed at block 0 already; the search for an ancestor went
//! below it, and a height of minus one spread through the code.
//!
//! Here a different genesis is `WrongChain`, which names both sides. No event follows and the driver
//! ends; so does a start on a directory that belongs to another chain.

use crate::support::{ALL, Live, SKIP, Steps, crash, from, open, restart, secs, simulate};
use tidewatch_core::{Fault, FaultKind, Ladder, Tier};
use tidewatch_stream::{Mode, driver};
use tidewatch_testkit::{
    chain::Chain,
    source::{Kind, ScriptedSource},
};

fn assert_names_both(fault: &Fault, ours: &Chain, theirs: &Chain) {
    assert_eq!(fault.kind, FaultKind::WrongChain);
    for side in [ours, theirs] {
        let digest = side.at(0).digest.to_string();
        assert!(fault.to_string().contains(&digest), "{digest} is not in: {fault}");
    }
}

#[test]
fn a_fresh_view_takes_nothing_in_from_another_network() {
    let ours = Chain::new('a', 5);
    let theirs = Chain::of_network('h', 'a', 5);
    let mut steps = Steps::new(&ours, [5, 0, 0, 0]);
    steps.source.stand(&theirs, [5, 0, 0, 0]);
    let pass = steps.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::WrongChain), 0));
}

/// Views of every length, other networks of every length, and every limit of digests per request.
#[test]
fn no_view_is_pruned_onto_another_network() {
    for mode in [ALL, SKIP, from(2), Mode::TipsOnly] {
        for tip in 1..=9 {
            for theirs in 0..=9 {
                for digests_max in [1, 2, 64] {
                    let ours = Chain::new('a', tip);
                    let other = Chain::of_network('h', 'b', theirs);
                    let mut steps = Steps::on(Ladder::Rollup, mode, &ours, [tip, 0, 0, 0]);
                    steps.settle();
                    let (before, events) = (steps.stands(), steps.view.words());
                    steps.source.change(|world| {
                        world.digests_max = digests_max;
                        world.chain = other.clone();
                        world.tips = other.tips_at([Some(theirs), None, None, None]);
                    });
                    let pass = steps.pass();
                    assert_eq!(
                        pass.fault(),
                        Some(FaultKind::WrongChain),
                        "{mode:?} {tip} {theirs}"
                    );
                    assert_eq!((steps.stands(), steps.view.words()), (before, events));
                    assert_names_both(&pass.result.unwrap_err(), &ours, &other);
                }
            }
        }
    }
}

#[test]
fn the_driver_ends_with_the_reason() {
    simulate(|context| async move {
        let ours = Chain::new('a', 5);
        let theirs = Chain::of_network('h', 'b', 7);
        let source = ScriptedSource::new(&ours, [5, 0, 0, 0]);
        let live = Live::new(&context, &source, driver::Config::default());
        live.sleep(secs(2)).await;
        source.stand(&theirs, [7, 0, 0, 0]);
        let fault = live.handle.await.unwrap().unwrap_err();
        assert_names_both(&fault, &ours, &theirs);
        let asked = source.count(Kind::Snapshot);
        commonware_runtime::Clock::sleep(&context, secs(60)).await;
        assert_eq!(source.count(Kind::Snapshot), asked, "and asks nothing any more");
        assert_eq!(live.view.stands().tips.block(Tier::Proposed), Some(ours.at(5)));
    });
}

#[test]
fn a_directory_of_another_network_is_refused_at_the_start() {
    let ours = Chain::new('a', 5);
    let theirs = Chain::of_network('h', 'a', 5);
    let chain_info = ours.chain_info();
    let (_, checkpoint) = crash(|context| async move {
        open(&context, &chain_info).await.unwrap();
    });
    let chain_info = theirs.chain_info();
    let fault =
        restart(
            checkpoint,
            |context| async move { open(&context, &chain_info).await.unwrap_err() },
        );
    assert_names_both(&fault, &ours, &theirs);
}
