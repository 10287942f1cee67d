//! When passes run.

use super::{Running, millis, patient, secs, simulate};
use crate::{
    driver::{Config, Stopped, SyncError},
    tests::{
        chain::Chain,
        source::{Answer, Bell, Call, Kind, ScriptedSource},
    },
};
use commonware_runtime::Clock as _;
use futures::{FutureExt as _, future::join_all};
use tidewatch_core::FaultKind;

/// ED-1, RP-2: somebody asks while the driver sleeps, and it does not wait for the poll.
#[test]
fn the_first_pass_runs_at_once_and_a_request_wakes_the_driver() {
    simulate(|context| async move {
        let chain = Chain::new('a', 5);
        let source = ScriptedSource::new(&chain, [1, 0, 0, 0]);
        let driver = Running::new(&context, &source, patient());
        driver.settle().await;
        assert_eq!(driver.passes(), 1);
        source.stand(&chain, [5, 0, 0, 0]);
        driver.sleep(secs(60)).await;
        assert_eq!(driver.passes(), 1, "nothing has told it");
        driver.mailbox.sync().await.unwrap();
        assert_eq!(driver.view.words()[2..], ["blocks 2a-5a", "proposed 5a"]);
        assert_eq!(driver.passes(), 2);
        driver.stop().await;
    });
}

/// ED-3: a doorbell carries nothing that could be wrong.
#[test]
fn a_doorbell_wakes_a_pass_that_asks_for_itself() {
    simulate(|context| async move {
        let chain = Chain::new('a', 6);
        let source = ScriptedSource::new(&chain, [3, 0, 0, 0]);
        let driver = Running::new(&context, &source, patient());
        driver.settle().await;
        for heights in [[5, 0, 0, 0], [6, 0, 0, 0]] {
            driver.sleep(secs(1)).await;
            source.stand(&chain, heights);
            match heights[0] {
                5 => source.ring(),
                _ => assert!(driver.mailbox.ring().accepted()),
            }
            driver.settle().await;
        }
        assert_eq!(
            driver.view.words()[2..],
            ["blocks 4a-5a", "proposed 5a", "blocks 6a-6a", "proposed 6a"]
        );
        driver.stop().await;
    });
}

/// ED-4, RP-3
#[test]
fn however_many_ring_during_a_pass_one_more_pass_follows() {
    simulate(|context| async move {
        let chain = Chain::new('a', 5);
        let source = ScriptedSource::new(&chain, [5, 0, 0, 0]);
        let gate = source.hold(Kind::Blocks, 1);
        let driver = Running::new(&context, &source, patient());
        gate.entered().await;
        for _ in 0..1000 {
            driver.mailbox.ring();
            source.ring();
        }
        driver.sleep(secs(1)).await;
        assert_eq!(driver.passes(), 1, "no pass runs beside another");
        gate.open();
        driver.sleep(secs(10)).await;
        assert_eq!(driver.passes(), 2);
        driver.stop().await;
    });
}

/// ED-6, RP-8: there is no way to start a driver twice, so polls come one at a time.
#[test]
fn a_pass_runs_every_poll_interval_whatever_is_pushed() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 3), [3, 0, 0, 0]);
        let config = Config { poll: millis(100), ..Config::default() };
        let driver = Running::new(&context, &source, config);
        driver.sleep(millis(1050)).await;
        assert!((10..=11).contains(&driver.passes()), "{} passes", driver.passes());
        driver.stop().await;
    });
}

#[test]
fn passes_keep_their_pace_however_often_the_doorbell_rings() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 3), [3, 0, 0, 0]);
        let config = Config { pace: millis(100), ..patient() };
        let driver = Running::new(&context, &source, config);
        for _ in 0..1000 {
            driver.sleep(millis(1)).await;
            source.ring();
            driver.mailbox.ring();
        }
        assert!((9..=11).contains(&driver.passes()), "{} passes", driver.passes());
        driver.stop().await;
    });
}

#[test]
fn a_doorbell_that_never_stops_ringing_keeps_nobody_from_running() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 3), [3, 0, 0, 0]);
        source.change(|world| world.bell = Bell::Flaps);
        let driver = Running::new(&context, &source, Config { pace: millis(100), ..patient() });
        driver.sleep(secs(1)).await;
        assert!((9..=11).contains(&driver.passes()), "{} passes", driver.passes());
        driver.stop().await;
    });
}

#[test]
fn a_request_does_not_wait_for_the_pace() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 3), [3, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config { pace: secs(60), ..patient() });
        driver.settle().await;
        let start = context.current();
        for passes in 2..=5 {
            driver.mailbox.sync().await.unwrap();
            assert_eq!(driver.passes(), passes);
        }
        assert!(context.current().duration_since(start).unwrap() < secs(1));
        driver.stop().await;
    });
}

#[test]
fn a_request_is_served_by_a_pass_that_began_after_it_and_shares_it_with_others() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [5, 0, 0, 0]);
        let gate = source.hold(Kind::Blocks, 1);
        let driver = Running::new(&context, &source, patient());
        gate.entered().await;
        source.stand(&chain, [9, 0, 0, 0]);
        let mut requests = join_all((0..200).map(|_| driver.mailbox.sync())).boxed();
        assert!(requests.as_mut().now_or_never().is_none(), "the requests are on their way");
        gate.open();
        for result in requests.await {
            result.unwrap();
        }
        assert_eq!(driver.view.words().last().unwrap(), "proposed 9a", "not the pass at hand");
        assert_eq!(driver.passes(), 2, "one pass serves them all");
        driver.stop().await;
    });
}

#[test]
fn a_request_that_was_given_up_costs_no_pass() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        let gate = source.hold(Kind::Blocks, 1);
        let driver = Running::new(&context, &source, patient());
        gate.entered().await;
        for _ in 0..100 {
            assert!(driver.mailbox.sync().now_or_never().is_none());
        }
        gate.open();
        driver.sleep(secs(10)).await;
        assert_eq!(driver.passes(), 1);
        driver.stop().await;
    });
}

/// RP-11
#[test]
fn a_request_is_told_the_fault_that_ended_its_pass() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        let driver = Running::new(&context, &source, patient());
        driver.settle().await;
        source.answer(Kind::Snapshot, 1, Answer::Fault(FaultKind::Unreachable));
        let error = driver.mailbox.sync().await.unwrap_err();
        assert!(matches!(error, SyncError::Pass(fault) if fault.kind == FaultKind::Unreachable));
        assert_eq!(driver.faults(), [FaultKind::Unreachable]);
        driver.stop().await;
    });
}

/// RP-12: passes go on after a fault, further and further apart.
#[test]
fn an_unreachable_source_is_asked_less_and_less() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        source.chaos(Some(Box::new(|_, call| {
            (*call != Call::ChainInfo).then_some(FaultKind::Unreachable)
        })));
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(60)).await;
        let first = driver.passes();
        assert!((5..=15).contains(&first), "{first} passes in the first minute");
        driver.sleep(secs(600)).await;
        let later = driver.passes() - first;
        assert!((20..=42).contains(&later), "{later} passes in ten minutes at 30 s");
        assert_eq!(driver.faults().len(), driver.passes(), "every one is reported");
        source.chaos(None);
        driver.sleep(secs(31)).await;
        assert_eq!(driver.view.words(), ["blocks 1a-5a", "proposed 5a"]);
        let healed = driver.passes();
        driver.sleep(secs(10)).await;
        assert!(driver.passes() - healed >= 9, "it polls as before");
        source.answer(Kind::Snapshot, 1, Answer::Fault(FaultKind::Unreachable));
        let again = driver.passes();
        driver.sleep(secs(10)).await;
        assert!(driver.passes() - again >= 8, "one more fault is a first one again");
        driver.stop().await;
    });
}

#[test]
fn a_source_that_is_only_behind_is_asked_again_soon() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        source.chaos(Some(Box::new(|_, call| {
            (*call != Call::ChainInfo).then_some(FaultKind::Missing)
        })));
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(100)).await;
        assert!((95..=101).contains(&driver.passes()), "{} passes", driver.passes());
        driver.stop().await;
    });
}

#[test]
fn a_flapping_doorbell_does_not_undo_the_back_off() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        source.change(|world| world.bell = Bell::Flaps);
        source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(100)).await;
        assert!(driver.passes() <= 110, "{} passes, at most one a poll", driver.passes());
        source.chaos(None);
        driver.sleep(secs(2)).await;
        assert_eq!(driver.view.words().len(), 2, "but it shortens it to a poll");
        driver.stop().await;
    });
}

/// ED-7, RP-9
#[test]
fn a_driver_that_was_stopped_asks_nothing_any_more_and_serves_nobody() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        driver.settle().await;
        let mailbox = driver.mailbox.clone();
        mailbox.stop();
        mailbox.stop();
        driver.stop().await;
        let asked = source.calls().len();
        source.ring();
        mailbox.ring();
        mailbox.stop();
        context.sleep(secs(10)).await;
        assert_eq!(source.calls().len(), asked);
        assert_eq!(mailbox.sync().await, Err(SyncError::Stopped(Stopped)));
    });
}

#[test]
fn a_driver_whose_mailboxes_are_gone_goes_on() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [5, 0, 0, 0]);
        let Running { view, mailbox, handle, .. } =
            Running::new(&context, &source, Config::default());
        drop(mailbox);
        context.sleep(secs(5)).await;
        source.stand(&chain, [9, 0, 0, 0]);
        source.ring();
        context.sleep(millis(20)).await;
        assert_eq!(view.words().last().unwrap(), "proposed 9a");
        handle.abort();
    });
}
