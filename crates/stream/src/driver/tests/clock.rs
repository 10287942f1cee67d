//! What becomes of waits when the wall clock is set back: nothing that is due may be late by it.

use super::{Running, millis, secs, simulate};
use crate::{
    Thresholds,
    driver::Config,
    tests::{
        Watched,
        chain::Chain,
        source::{Answer, Kind, ScriptedSource},
    },
};
use commonware_runtime::{Supervisor as _, deterministic};
use tidewatch_core::{Cause, FaultKind, Ladder, State};
use tidewatch_store::Memory;
use tidewatch_testkit::host::{Host, Trouble};

/// By how much it is set back, in milliseconds.
const BACK: i64 = -3_600_000;

fn start(context: &deterministic::Context, config: Config) -> (Running, Trouble) {
    let chain = Chain::new('a', 3);
    let source = ScriptedSource::new(&chain, [3, 0, 0, 0]);
    let view = Watched::new(Memory::new(chain.chain_info()), Ladder::Rollup);
    let (host, trouble) = Host::new(context.child("host"), 0);
    (Running::run(context, host, &source, view, config), trouble)
}

#[test]
fn the_deadline_of_a_call_does_not_move() {
    simulate(|context| async move {
        let config = Config { deadline: secs(5), ..Config::default() };
        let (running, trouble) = start(&context, config);
        running.source.answer(Kind::Snapshot, 1, Answer::Hang);
        running.sleep(secs(1)).await;
        trouble.jump(BACK);
        running.sleep(millis(4_100)).await;
        assert_eq!(running.faults(), [FaultKind::Timeout]);
        running.stop().await;
    });
}

#[test]
fn the_next_pass_is_not_put_off() {
    simulate(|context| async move {
        let config = Config { poll: secs(2), ..Config::default() };
        let (running, trouble) = start(&context, config);
        running.sleep(secs(1)).await;
        assert_eq!(running.passes(), 1);
        trouble.jump(BACK);
        running.sleep(millis(1_100)).await;
        assert_eq!(running.passes(), 2);
        running.stop().await;
    });
}

/// A stuck source under a clock that was set back: its last tip is never again as old as it is.
#[test]
fn a_tip_from_before_the_clock_was_set_back_is_not_fresh_and_the_clock_is_named() {
    simulate(|context| async move {
        let (running, trouble) = start(&context, Config::default());
        running.source.change(|world| world.snapshot.time_ms = Some(2_000));
        running.sleep(secs(2)).await;
        assert_eq!(running.state(), Some(State::Live));
        trouble.jump(3_600_000);
        running.source.change(|world| world.snapshot.time_ms = Some(3_602_000));
        running.sleep(secs(2)).await;
        assert_eq!(running.state(), Some(State::Live));
        trouble.jump(BACK);
        running.sleep(secs(2)).await;
        let last = running.monitor.last.lock().unwrap();
        assert_eq!((last.state, last.cause), (State::Stale, Some(Cause::ClockSetBack)));
        running.stop().await;
    });
}

/// After a suspend no timer has gone on, and the clock has.
#[test]
fn a_threshold_that_passed_while_the_machine_was_suspended_turns_the_status_at_once() {
    simulate(|context| async move {
        let config = Config { poll: secs(600), deadline: secs(600), ..Config::default() };
        let contact = Thresholds { contact: secs(300), ..config.thresholds };
        let (running, trouble) = start(&context, Config { thresholds: contact, ..config });
        running.sleep(secs(1)).await;
        assert_eq!(running.state(), Some(State::Live));
        trouble.jump(3_600_000);
        running.sleep(secs(6)).await;
        assert_eq!(running.state(), Some(State::Blind));
        running.stop().await;
    });
}

#[test]
fn a_lost_contact_is_said_within_twice_its_time() {
    simulate(|context| async move {
        let config = Config { poll: secs(2), deadline: secs(600), ..Config::default() };
        let contact = config.thresholds.contact;
        let (running, trouble) = start(&context, config);
        running.settle().await;
        assert_eq!(running.state(), Some(State::Live));
        running.source.answer(Kind::Snapshot, 1, Answer::Hang);
        running.sleep(secs(1)).await;
        trouble.jump(BACK);
        running.sleep(2 * contact).await;
        assert_eq!(running.state(), Some(State::Blind));
        running.stop().await;
    });
}

/// In the very first pass, before which there was no contact that could grow old.
#[test]
fn a_contact_of_the_first_pass_grows_old_while_its_commit_hangs_and_the_clock_is_set_back() {
    simulate(|context| async move {
        let config = Config { poll: secs(600), ..Config::default() };
        let (running, trouble) = start(&context, config);
        let gate = running.view.hold(1);
        running.sleep(secs(30)).await;
        assert_eq!(running.state(), Some(State::Blind));
        trouble.jump(BACK);
        gate.open();
        running.sleep(secs(1)).await;
        assert_eq!(running.state(), Some(State::Blind));
        running.stop().await;
    });
}

/// A disk that did not answer while the clock was set back: nothing was heard of the source meanwhile.
#[test]
fn a_contact_that_is_lost_is_not_found_again_by_a_clock_that_is_set_back() {
    simulate(|context| async move {
        let config = Config { poll: secs(600), ..Config::default() };
        let (running, trouble) = start(&context, config);
        running.sleep(secs(1)).await;
        assert_eq!(running.state(), Some(State::Live));
        let gate = running.view.hold(1);
        running.source.stand(&Chain::new('a', 4), [4, 0, 0, 0]);
        running.source.ring();
        running.sleep(secs(18)).await;
        assert_eq!(running.state(), Some(State::Blind));
        trouble.jump(BACK);
        gate.open();
        running.sleep(secs(1)).await;
        assert_eq!(running.state(), Some(State::Blind));
        running.stop().await;
    });
}
