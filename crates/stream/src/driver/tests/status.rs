//! What a driver says about the tip, and when.

use super::{Running, millis, patient, secs, simulate};
use crate::{
    driver::Config,
    tests::{
        chain::Chain,
        source::{Answer, Kind, ScriptedSource},
    },
};
use commonware_runtime::{Clock as _, Metrics as _, Supervisor as _};
use std::time::{Duration, SystemTime};
use tidewatch_core::{Cause, Conflict, FaultKind, State};

/// When `state` was first said.
fn said(driver: &Running, state: State) -> Duration {
    let states = driver.monitor.states.lock();
    let (at, _) = states.iter().find(|(_, said)| *said == state).expect("was said");
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

#[test]
fn a_follower_catches_up_is_live_goes_stale_and_then_blind() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 200), [200, 0, 0, 0]);
        source.change(|world| world.snapshot.time_ms = Some(0));
        let gate = source.hold(Kind::Blocks, 5);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(1)).await;
        assert_eq!(driver.state(), Some(State::CatchingUp));
        assert_eq!(driver.monitor.last.lock().unwrap().lag, 160);
        gate.open();
        driver.sleep(secs(1)).await;
        assert_eq!(driver.state(), Some(State::Live));
        driver.sleep(secs(60)).await;
        assert_eq!(driver.state(), Some(State::Stale));
        source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        driver.sleep(secs(60)).await;
        use State::{Blind, CatchingUp, Lagging, Live, Stale};
        let states = driver.states();
        let states: Vec<_> = states.iter().filter(|state| **state != Lagging).collect();
        assert_eq!(states, [&Blind, &CatchingUp, &Live, &Stale, &Blind]);
        source.chaos(None);
        source.change(|world| world.snapshot.time_ms = Some(123_000));
        driver.sleep(secs(30)).await;
        assert_eq!(driver.state(), Some(State::Live), "and back");
        driver.stop().await;
    });
}

/// Time alone makes a follower blind: it does not take the end of the pass that waits.
#[test]
fn a_hung_source_is_called_blind_as_soon_as_contact_is_old() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(millis(1500)).await;
        source.answer(Kind::Snapshot, 1, Answer::Hang);
        driver.sleep(secs(20)).await;
        assert_eq!(driver.state(), Some(State::Blind));
        let states = driver.monitor.states.lock().clone();
        let (at, _) = states.last().unwrap();
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(at >= secs(16) && at < millis(16_300), "{at:?}");
        driver.stop().await;
    });
}

/// The same between passes, and for the age of the tip.
#[test]
fn a_long_poll_does_not_delay_the_verdict() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 5), [5, 0, 0, 0]);
        source.change(|world| world.snapshot.time_ms = Some(0));
        let config = Config { poll: secs(600), ..Config::default() };
        let config = Config {
            thresholds: crate::Thresholds { contact: secs(100), ..config.thresholds },
            ..config
        };
        let driver = Running::new(&context, &source, config);
        driver.sleep(secs(590)).await;
        assert_eq!(driver.passes(), 1);
        assert_eq!(driver.states().last(), Some(&State::Blind));
        let stale = said(&driver, State::Stale);
        assert!(stale >= secs(60) && stale < millis(60_100), "{stale:?}");
        driver.stop().await;
    });
}

#[test]
fn a_source_that_contradicts_finalized_is_conflicted_until_it_does_not() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [9, 0, 0, 5]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        assert_eq!(driver.state(), Some(State::Live));
        source.stand(&chain.fork(4, 'b', 12), [12, 0, 0, 5]);
        driver.sleep(secs(5)).await;
        assert_eq!(driver.state(), Some(State::Conflicted));
        assert!(driver.faults().len() >= 4, "said on every pass");
        source.answer(Kind::Snapshot, 1, Answer::Fault(FaultKind::Timeout));
        driver.sleep(secs(1)).await;
        assert_eq!(driver.state(), Some(State::Conflicted), "a fault does not clear it");
        source.stand(&chain, [9, 0, 0, 5]);
        driver.sleep(secs(3)).await;
        assert_eq!(driver.state(), Some(State::Live));
        driver.stop().await;
    });
}

#[test]
fn a_conflict_that_the_source_proved_is_kept_and_does_not_pass() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [9, 0, 0, 5]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        let conflict = Conflict { ours: chain.at(5), theirs: chain.fork(4, 'b', 9).at(5) };
        source.answer(Kind::Snapshot, 1, Answer::Conflict(conflict));
        driver.sleep(secs(10)).await;
        assert_eq!(driver.state(), Some(State::Conflicted), "although the source said it once");
        assert_eq!(driver.view.evidence(), [conflict]);
        driver.stop().await;
    });
}

#[test]
fn a_known_gap_is_not_live_however_small() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [8, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        source.stand(&chain, [9, 0, 0, 0]);
        for nth in 1..=100 {
            source.answer(Kind::Blocks, nth, Answer::Blocks(Vec::new()));
        }
        driver.sleep(secs(5)).await;
        let last = driver.monitor.last.lock().unwrap();
        assert_eq!((last.state, last.lag), (State::Lagging, 1));
        driver.stop().await;
    });
}

/// A node that has just started names no tip: what was known before stands.
#[test]
fn a_source_that_names_no_tip_is_not_live_and_clears_no_conflict() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [9, 0, 0, 5]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        source.stand(&chain.fork(4, 'b', 12), [12, 0, 0, 5]);
        driver.sleep(secs(5)).await;
        assert_eq!(driver.state(), Some(State::Conflicted));
        source.change(|world| world.tips = tidewatch_core::TipSet::unknown());
        driver.sleep(secs(5)).await;
        assert_eq!(driver.state(), Some(State::Conflicted));
        driver.stop().await;

        let source = ScriptedSource::new(&chain, [0; 4]);
        let driver = Running::new(&context.child("restarted"), &source, Config::default());
        driver.sleep(secs(60)).await;
        let last = driver.monitor.last.lock().unwrap();
        assert_ne!(last.state, State::Live);
        assert_eq!(last.cause, Some(Cause::Fault(FaultKind::Unavailable)));
        driver.stop().await;
    });
}

#[test]
fn a_tip_from_the_future_is_not_fresh_and_the_status_says_so() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 9), [9, 0, 0, 5]);
        // Milliseconds where seconds were meant, for one.
        source.change(|world| world.snapshot.time_ms = Some(1_700_000_000_000_000));
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        let last = driver.monitor.last.lock().unwrap();
        assert_eq!((last.state, last.cause), (State::Stale, Some(Cause::TipAhead)));
        source.change(|world| world.snapshot.time_ms = Some(30_000));
        driver.sleep(secs(2)).await;
        assert_eq!(driver.state(), Some(State::Live), "what lies less ahead is a clock's business");
        driver.stop().await;
    });
}

/// A disk that does not answer: nothing is heard of the source meanwhile, and nobody says `Live`.
#[test]
fn a_commit_that_hangs_is_not_live_for_longer_than_contact_lasts() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [8, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        assert_eq!(driver.state(), Some(State::Live));
        let gate = driver.view.hold(1);
        source.stand(&chain, [9, 0, 0, 0]);
        driver.sleep(secs(18)).await;
        assert_eq!(driver.state(), Some(State::Blind));
        gate.open();
        driver.sleep(secs(2)).await;
        assert_eq!(driver.state(), Some(State::Live));
        driver.stop().await;
    });
}

/// What a probe of the process rests on: a source is no reason to restart it, a disk that hangs is.
#[test]
fn a_driver_that_waits_for_its_view_makes_no_progress_and_one_that_waits_for_a_source_does() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [8, 0, 0, 0]);
        let config = Config { poll: secs(600), deadline: secs(300), ..Config::default() };
        let driver = Running::new(&context, &source, config);
        let quiet = |driver: &Running| {
            let last = driver.monitor.progressed.lock().unwrap();
            driver.context.current().duration_since(last).unwrap()
        };
        driver.sleep(secs(400)).await;
        assert!(quiet(&driver) <= secs(5), "between passes: {:?}", quiet(&driver));
        source.answer(Kind::Snapshot, 1, Answer::Hang);
        driver.sleep(secs(400)).await;
        assert!(quiet(&driver) <= secs(5), "in a call: {:?}", quiet(&driver));
        driver.sleep(secs(600)).await;
        source.stand(&chain, [9, 0, 0, 0]);
        let gate = driver.view.hold(1);
        driver.sleep(secs(700)).await;
        assert!(quiet(&driver) > secs(60), "in a commit: {:?}", quiet(&driver));
        gate.open();
        driver.sleep(secs(6)).await;
        assert!(quiet(&driver) <= secs(5), "after it: {:?}", quiet(&driver));
        driver.stop().await;
    });
}

#[test]
fn the_last_word_of_a_driver_that_ended_is_not_live() {
    simulate(|context| async move {
        let source = ScriptedSource::new(&Chain::new('a', 9), [9, 0, 0, 0]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        assert_eq!(driver.state(), Some(State::Live));
        let (monitor, heads) = (driver.monitor.clone(), driver.mailbox.heads());
        driver.stop().await;
        let last = monitor.last.lock().unwrap();
        assert_eq!((last.state, last.cause), (State::Blind, Some(Cause::Ended)));
        assert_eq!(heads.current().status, last);
    });
}

#[test]
fn a_pass_that_withheld_a_tier_is_not_live_and_says_why() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [9, 0, 0, 0]);
        let other = chain.fork(4, 'b', 9);
        let tips = chain.tips([9, 0, 0, 0]).with(tidewatch_core::Tier::Proven, other.checkpoint(6));
        source.change(|world| world.tips = tips);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(secs(2)).await;
        let last = driver.monitor.last.lock().unwrap();
        assert_eq!((last.state, last.cause), (State::Lagging, Some(Cause::Fault(FaultKind::Torn))));
        driver.stop().await;
    });
}

#[test]
fn a_prune_of_a_view_without_blocks_is_counted() {
    simulate(|context| async move {
        let chain = Chain::new('a', 45);
        let source = ScriptedSource::new(&chain, [45, 0, 0, 30]);
        let config = Config { mode: crate::Mode::TipsOnly, ..Config::default() };
        let driver = Running::new(&context, &source, config);
        driver.sleep(millis(500)).await;
        source.stand(&chain.fork(43, 'b', 46), [46, 0, 0, 30]);
        driver.sleep(secs(2)).await;
        let text = context.encode();
        assert!(text.contains("driver_prunes_total 1"), "{text}");
        driver.stop().await;
    });
}

/// A gauge of an age that a stalled driver sets would stay as it was.
#[test]
fn the_moments_of_contact_and_of_moves_are_shown_and_a_restart_makes_none_newer() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let source = ScriptedSource::new(&chain, [8, 0, 0, 5]);
        source.change(|world| world.snapshot.time_ms = Some(77_000));
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(millis(10_500)).await;
        source.stand(&chain, [9, 0, 0, 5]);
        driver.sleep(secs(10)).await;
        source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        driver.sleep(secs(100)).await;
        let shown = |name: &str, value: u64| {
            let metrics = context.encode();
            let name = format!("driver_{name}");
            let line = metrics.lines().find(|line| line.starts_with(&name)).map(str::to_owned);
            assert_eq!(line, Some(format!("{name} {value}")), "{metrics}");
        };
        shown("tip_timestamp_seconds{kind=\"proposed\"}", 11);
        shown("tip_timestamp_seconds{kind=\"finalized\"}", 0);
        shown("source_tip_timestamp_seconds", 77);
        shown("contact_timestamp_seconds", 20);
        let view = driver.view.clone();
        driver.stop().await;
        let again = Running::run(&context, context.child("again"), &source, view, patient());
        again.sleep(secs(1)).await;
        assert!(!context.encode().contains("again_tip_timestamp_seconds"));
        again.stop().await;
    });
}

#[test]
fn what_a_pass_costs_and_how_it_ended_is_counted() {
    simulate(|context| async move {
        let chain = Chain::new('a', 45);
        let source = ScriptedSource::new(&chain, [45, 0, 0, 30]);
        let driver = Running::new(&context, &source, Config::default());
        driver.sleep(millis(500)).await;
        source.stand(&chain.fork(43, 'b', 44), [44, 0, 0, 30]);
        driver.sleep(secs(2)).await;
        source.answer(Kind::Snapshot, 1, Answer::Fault(FaultKind::Timeout));
        driver.sleep(secs(1)).await;
        let text = context.encode();
        for line in [
            "driver_passes_total{kind=\"complete\"} 2",
            "driver_passes_total{kind=\"failed\"} 1",
            "driver_source_calls_total{kind=\"reorg\"} 2",
            "driver_source_calls_total{kind=\"download\"} 6",
            "driver_faults_total{kind=\"timeout\"} 1",
            "driver_tip_height{kind=\"proposed\"} 44",
            "driver_tip_height{kind=\"finalized\"} 30",
            "driver_delivered_height 44",
            "driver_prunes_total 1",
            "driver_prune_depth_blocks_sum 3.0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        driver.stop().await;
    });
}
