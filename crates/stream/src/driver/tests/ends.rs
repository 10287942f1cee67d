//! How a driver ends, and how it does not.

use super::{Running, millis, patient, secs, simulate};
use crate::{
    driver::{Config, Stopped, SyncError},
    tests::{
        chain::Chain,
        source::{Answer, Call, Kind, ScriptedSource},
    },
};
use commonware_runtime::{
    Clock as _, Spawner as _, Supervisor as _, telemetry::metrics::count_running_tasks,
};
use futures::FutureExt as _;
use tidewatch_core::{FaultKind, Severity};
use tidewatch_store::Memory;

fn at_45() -> ScriptedSource {
    ScriptedSource::new(&Chain::new('a', 45), [45, 0, 0, 0])
}

/// BS-4: the range that was fetched meanwhile is dropped.
#[test]
fn a_stop_in_the_middle_of_a_commit_completes_it_and_drops_the_rest() {
    simulate(|context| async move {
        let source = at_45();
        let view = crate::tests::Watched::new(
            Memory::new(Chain::new('a', 0).chain_info()),
            tidewatch_core::Ladder::Rollup,
        );
        let gate = view.hold(1);
        let mut driver = Running::on(&context, &source, view, patient());
        gate.entered().await;
        driver.mailbox.stop();
        driver.settle().await;
        assert!((&mut driver.handle).now_or_never().is_none(), "it waits for the commit");
        gate.open();
        driver.handle.await.unwrap().unwrap();
        assert_eq!(driver.view.words(), ["blocks 1a-10a"]);
        assert_eq!(
            source.calls(),
            [Call::ChainInfo, Call::Snapshot, Call::Blocks(1, 45), Call::Blocks(11, 45)]
        );
    });
}

#[test]
fn a_source_is_told_after_each_pass_whether_the_view_could_use_its_answers() {
    simulate(|context| async move {
        let source = at_45();
        source.answer(Kind::Snapshot, 1, Answer::Fault(FaultKind::Unreachable));
        let ladder = Chain::new('a', 45).tips([10, 0, 0, 20]);
        source.answer(Kind::Snapshot, 2, Answer::Tips(Box::new(ladder)));
        source.answer(Kind::Blocks, 1, Answer::Blocks(Vec::new()));
        let driver = Running::new(&context, &source, Config::default());
        while source.judged().len() < 3 {
            driver.sleep(secs(1)).await;
        }
        let kinds: Vec<_> =
            source.judged().iter().map(|verdict| verdict.clone().map_err(|it| it.kind)).collect();
        let (broken, missing) = (FaultKind::LadderBroken, FaultKind::Missing);
        assert_eq!(kinds[..3], [Err(broken), Err(missing), Ok(())]);
        driver.stop().await;
    });
}

/// RP-5
#[test]
fn a_stop_ends_a_wait_on_the_source_and_whoever_waits_is_told() {
    simulate(|context| async move {
        for kind in [Kind::Snapshot, Kind::Blocks] {
            let source = at_45();
            let gate = source.hold(kind, 1);
            let driver = Running::new(&context, &source, patient());
            gate.entered().await;
            let mut waiting = driver.mailbox.sync().boxed();
            assert!(waiting.as_mut().now_or_never().is_none());
            let start = context.current();
            driver.mailbox.stop();
            driver.handle.await.unwrap().unwrap();
            assert!(context.current().duration_since(start).unwrap() < millis(10));
            assert_eq!(waiting.await, Err(SyncError::Stopped(Stopped)));
            assert_eq!(source.count(Kind::Snapshot), 1);
        }
    });
}

#[test]
fn a_driver_that_is_told_to_stop_before_its_first_pass_asks_nothing_for_long() {
    simulate(|context| async move {
        let source = at_45();
        source.answer(Kind::Snapshot, 1, Answer::Hang);
        let driver = Running::new(&context, &source, patient());
        driver.mailbox.stop();
        driver.handle.await.unwrap().unwrap();
        assert_eq!(driver.view.words(), [""; 0]);
    });
}

#[test]
fn the_runtime_waits_for_the_commit_at_hand_when_it_stops() {
    simulate(|context| async move {
        let source = at_45();
        let view = crate::tests::Watched::new(
            Memory::new(Chain::new('a', 0).chain_info()),
            tidewatch_core::Ladder::Rollup,
        );
        let gate = view.hold(1);
        let driver = Running::on(&context, &source, view, patient());
        gate.entered().await;
        let mut stopping = context.child("stop").stop(0, None).boxed();
        assert!((&mut stopping).now_or_never().is_none());
        driver.settle().await;
        assert!((&mut stopping).now_or_never().is_none());
        gate.open();
        stopping.await.unwrap();
        assert_eq!(driver.view.words(), ["blocks 1a-10a"]);
        driver.handle.await.unwrap().unwrap();
    });
}

/// RP-6, RP-13: nobody decides whether a loop goes on but the severity of the fault.
#[test]
fn trouble_of_this_machine_ends_a_driver_with_its_fault_and_nothing_else_does() {
    simulate(|context| async move {
        for kind in FaultKind::ALL.iter().copied() {
            let source = at_45();
            let view = crate::tests::Watched::new(
                Memory::new(Chain::new('a', 0).chain_info()),
                tidewatch_core::Ladder::Rollup,
            );
            view.fail(1, kind, 0);
            let gate = source.hold(Kind::Snapshot, 1);
            let mut driver = Running::on(&context, &source, view, Config::default());
            gate.entered().await;
            let waiting = driver.mailbox.sync();
            futures::pin_mut!(waiting);
            assert!(waiting.as_mut().now_or_never().is_none());
            gate.open();
            driver.sleep(secs(100)).await;
            assert_eq!(driver.faults(), [kind], "told once");
            let fatal =
                matches!(kind.severity(), Severity::Corrupt | Severity::Config | Severity::Bug);
            if fatal {
                let fault = (&mut driver.handle).await.unwrap().unwrap_err();
                assert_eq!((fault.kind, driver.passes()), (kind, 1));
                assert_eq!(waiting.await, Err(SyncError::Stopped(Stopped)));
            } else {
                assert_eq!(driver.view.words().last().unwrap(), "proposed 45a", "{kind:?}");
                assert!(waiting.await.is_ok());
                driver.mailbox.stop();
                driver.handle.await.unwrap().unwrap();
            }
        }
    });
}

/// A source whose own actor has gone says `Stopped`. That must not end the driver in silence.
#[test]
fn a_source_that_says_stopped_has_not_stopped_the_driver() {
    simulate(|context| async move {
        let source = at_45();
        source.answer(Kind::Snapshot, 1, Answer::Fault(FaultKind::Stopped));
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        assert_eq!(driver.faults(), [FaultKind::Stopped]);
        assert_eq!(driver.view.words().last().unwrap(), "proposed 45a");
        driver.stop().await;
    });
}

#[test]
fn a_hung_source_is_given_up_after_the_deadline_and_asked_again() {
    simulate(|context| async move {
        let source = at_45();
        source.answer(Kind::Snapshot, 1, Answer::Hang);
        source.answer(Kind::Blocks, 2, Answer::Hang);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(59)).await;
        assert_eq!(driver.faults(), []);
        driver.sleep(secs(3)).await;
        assert_eq!(driver.faults(), [FaultKind::Timeout]);
        assert_eq!(driver.view.words(), ["blocks 1a-10a"], "hung again, in the middle");
        driver.sleep(secs(65)).await;
        assert_eq!(driver.faults(), [FaultKind::Timeout; 2]);
        assert_eq!(driver.view.words().last().unwrap(), "proposed 45a");
        driver.stop().await;
    });
}

#[test]
fn nothing_of_a_driver_runs_on_after_it() {
    simulate(|context| async move {
        for fatal in [false, true] {
            let source = at_45();
            let driver = Running::new(&context, &source, Config::default());
            driver.settle().await;
            assert!(count_running_tasks(&context, "driver") > 0);
            if fatal {
                driver.view.fail(1, FaultKind::Disk, 0);
                source.stand(&Chain::new('a', 46), [46, 0, 0, 0]);
                assert_eq!(driver.handle.await.unwrap().unwrap_err().kind, FaultKind::Disk);
            } else {
                driver.stop().await;
            }
            context.sleep(millis(10)).await;
            assert_eq!(count_running_tasks(&context, "driver"), 0);
        }
    });
}

/// All progress is in the view: another driver goes on where this one was stopped.
#[test]
fn a_driver_goes_on_where_another_one_left() {
    simulate(|context| async move {
        let source = at_45();
        source.answer(Kind::Blocks, 3, Answer::Hang);
        let first = Running::new(&context, &source, patient());
        first.settle().await;
        let view = first.view.clone();
        first.stop().await;
        assert_eq!(view.words(), ["blocks 1a-10a", "blocks 11a-20a"]);
        let second = Running::on(&context, &source, view, patient());
        second.mailbox.sync().await.unwrap();
        let events = ["blocks 21a-30a", "blocks 31a-40a", "blocks 41a-45a", "proposed 45a"];
        assert_eq!(second.view.words()[2..], events);
        second.stop().await;
    });
}
