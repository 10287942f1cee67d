//! B75. A dropped handle took the server down with it; and a probe that did not recognise progress
//! killed a catch-up of half an hour.
//!
//! Here a driver does not depend on its mailboxes, and a catch-up is visible: the state is `CatchingUp`
//! as long as ranges arrive, and the lag shrinks with every range. The two probes themselves belong to
//! the component that serves them.

use crate::support::{Live, secs, simulate};
use commonware_runtime::Clock as _;
use futures::FutureExt as _;
use tidewatch_core::State;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::Chain,
    source::{Kind, ScriptedSource},
};

#[test]
fn half_an_hour_of_catching_up_is_alive_and_not_ready_with_progress() {
    simulate(|context| async move {
        let chain = Chain::new('a', 1_800);
        let source = ScriptedSource::new(&chain, [1_800, 0, 0, 1_700]);
        let gates: Vec<_> = (1..=180).map(|nth| source.hold(Kind::Blocks, nth)).collect();
        let mut live = Live::new(&context, &source, Config::default());
        let mut lag = 1_801;
        for gate in &gates {
            gate.entered().await;
            live.sleep(secs(10)).await;
            assert!((&mut live.handle).now_or_never().is_none(), "it is alive");
            let status = live.recorder.status().unwrap();
            assert_ne!(status.state, State::Live);
            assert!(status.lag < lag, "{status:?} after {lag}");
            lag = status.lag;
            gate.open();
        }
        live.sleep(secs(2)).await;
        assert_eq!(live.recorder.state(), Some(State::Live));
        live.stop().await;
    });
}

#[test]
fn a_source_that_answers_range_after_range_is_not_called_out_of_contact() {
    simulate(|context| async move {
        let chain = Chain::new('a', 400);
        let source = ScriptedSource::new(&chain, [400, 0, 0, 0]);
        let gates: Vec<_> = (1..=40).map(|nth| source.hold(Kind::Blocks, nth)).collect();
        let live = Live::new(&context, &source, Config::default());
        for gate in &gates[..30] {
            gate.entered().await;
            live.sleep(secs(1)).await;
            assert_eq!(
                live.recorder.state(),
                Some(State::CatchingUp),
                "{:?}",
                live.recorder.status()
            );
            gate.open();
        }
        gates.iter().for_each(|gate| gate.open());
        live.settle().await;
        live.stop().await;
    });
}

#[test]
fn a_driver_of_which_nobody_holds_a_mailbox_goes_on() {
    simulate(|context| async move {
        let chain = Chain::new('a', 50);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let Live { view, mailbox, mut handle, recorder, context, .. } =
            Live::new(&context, &source, Config::default());
        drop(mailbox);
        for height in 11..=50 {
            source.stand(&chain, [height, 0, 0, 0]);
            context.sleep(secs(2)).await;
            assert_eq!(view.stands().delivered, Some(chain.at(height)));
        }
        assert!((&mut handle).now_or_never().is_none());
        assert_eq!(recorder.state(), Some(State::Live));
        handle.abort();
    });
}
