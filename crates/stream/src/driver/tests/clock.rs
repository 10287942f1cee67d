//! What becomes of waits when the wall clock is set back: nothing that is due may be late by it.

use super::{Running, millis, secs, simulate};
use crate::{
    driver::Config,
    tests::{
        chain::Chain,
        source::{Answer, Kind, ScriptedSource},
        view::Watched,
    },
};
use commonware_runtime::{Supervisor as _, deterministic};
use tidewatch_core::{FaultKind, Ladder, State};
use tidewatch_sim::host::{Host, Trouble};

/// By how much it is set back, in milliseconds.
const BACK: i64 = -3_600_000;

fn start(context: &deterministic::Context, config: Config) -> (Running, Trouble) {
    let chain = Chain::new('a', 3);
    let source = ScriptedSource::new(&chain, [3, 0, 0, 0]);
    let view = Watched::new(chain.chain_info(), Ladder::Rollup);
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
