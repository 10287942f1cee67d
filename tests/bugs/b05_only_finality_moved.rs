//! B05. A response without a new block was dropped as empty, although finality had moved in it.
//!
//! Here a pass compares every tier's block with the announced one. A snapshot in which only finality
//! moved yields one event, at the cost of the one call that returned it.

use crate::support::{Live, Sink, Steps, hand_over, secs, simulate};
use tidewatch_stream::{delivery, driver};
use tidewatch_testkit::{
    chain::Chain,
    source::{Call, ScriptedSource},
};

#[test]
fn a_snapshot_in_which_only_finality_moved_is_one_event() {
    let chain = Chain::new('a', 100);
    let mut steps = Steps::synced(&chain, [100, 0, 0, 90]);
    steps.source.stand(&chain, [100, 0, 0, 95]);
    let pass = steps.pass();
    assert_eq!(pass.events, ["finalized 95a/95"]);
    assert_eq!(pass.calls, [Call::Snapshot]);
    assert_eq!(steps.settle(), [""; 0]);
}

#[test]
fn it_reaches_the_consumer_once() {
    simulate(|context| async move {
        let chain = Chain::new('a', 100);
        let source = ScriptedSource::new(&chain, [100, 0, 0, 90]);
        let live = Live::new(&context, &source, driver::Config::default());
        let (taken, stopper, delivery) = hand_over(
            &context,
            live.view.log().clone(),
            Sink::new("bridge"),
            (),
            delivery::Config::default(),
        );
        live.sleep(secs(2)).await;
        let before = taken.words().len();
        source.stand(&chain, [100, 0, 0, 95]);
        source.ring();
        live.sleep(secs(10)).await;
        assert_eq!(taken.words()[before..], ["finalized 95a/95"]);
        stopper.stop();
        delivery.await.unwrap().unwrap();
        live.stop().await;
    });
}
