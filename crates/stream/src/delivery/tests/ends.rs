//! How a delivery ends, and how it does not.

use super::{Log, Manner, Of, Running, millis, secs, simulate};
use crate::tests::source::Gate;
use commonware_runtime::{
    Clock as _, Spawner as _, Supervisor as _, telemetry::metrics::count_running_tasks,
};
use futures::FutureExt as _;
use tidewatch_core::{FaultKind, Positions as _};

#[test]
fn a_delivery_with_nothing_to_do_stops_at_once_and_leaves_nothing_behind() {
    simulate(|context| async move {
        let log = Log::new();
        let delivery = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        assert!(count_running_tasks(&context, "delivery") > 0);
        let stopper = delivery.stopper.clone();
        delivery.stop().await;
        stopper.stop();
        context.sleep(millis(5)).await;
        assert_eq!(count_running_tasks(&context, "delivery"), 0);
    });
}

#[test]
fn a_stop_waits_for_the_events_at_hand_and_keeps_their_acknowledgement() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let gate = Gate::new();
        let manners = vec![Manner::Held(gate.clone())];
        let mut delivery = Running::new(&context, &log, Of { manners, ..Of::default() });
        gate.entered().await;
        delivery.stopper.stop();
        context.sleep(secs(1)).await;
        assert!((&mut delivery.handle).now_or_never().is_none());
        gate.open();
        delivery.handle.await.unwrap().unwrap();
        let cursor = log.memory.load("scripted").await.unwrap().unwrap();
        assert_eq!(cursor.handled(), 2);
    });
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_consumer_that_hangs() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let gate = Gate::new();
        let manners = vec![Manner::Held(gate.clone())];
        let delivery = Running::new(&context, &log, Of { manners, ..Of::default() });
        gate.entered().await;
        delivery.stopper.stop();
        let start = context.current();
        delivery.handle.await.unwrap().unwrap();
        let waited = context.current().duration_since(start).unwrap();
        assert!(waited >= secs(10) && waited < secs(11), "{waited:?}");
        assert_eq!(log.memory.load("scripted").await.unwrap(), None);
    });
}

#[test]
fn a_stop_ends_a_back_off() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let otherwise = Manner::Fails(FaultKind::Consumer);
        let delivery = Running::new(&context, &log, Of { otherwise, ..Of::default() });
        context.sleep(secs(60)).await;
        let start = context.current();
        delivery.stop().await;
        assert!(context.current().duration_since(start).unwrap() < millis(10));
    });
}

#[test]
fn the_runtime_waits_for_the_events_at_hand_when_it_stops() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let gate = Gate::new();
        let manners = vec![Manner::Held(gate.clone())];
        let delivery = Running::new(&context, &log, Of { manners, ..Of::default() });
        gate.entered().await;
        let mut stopping = context.child("stop").stop(0, None).boxed();
        assert!((&mut stopping).now_or_never().is_none());
        context.sleep(secs(1)).await;
        assert!((&mut stopping).now_or_never().is_none());
        gate.open();
        stopping.await.unwrap();
        assert_eq!(delivery.taken().len(), 2);
        delivery.handle.await.unwrap().unwrap();
    });
}

#[test]
fn a_fault_that_cannot_be_tried_again_ends_only_this_delivery() {
    simulate(|context| async move {
        for kind in [FaultKind::Disk, FaultKind::InvalidConfig, FaultKind::Bug] {
            let mut log = Log::new();
            log.grow(1).await;
            let manners = vec![Manner::Fails(kind)];
            let one = Running::new(&context, &log, Of { manners, ..Of::default() });
            let other = Running::new(&context, &log, Of { name: "other", ..Of::default() });
            context.sleep(secs(1)).await;
            assert_eq!(one.handle.await.unwrap().unwrap_err().kind, kind);
            assert_eq!(other.taken().len(), 2);
            other.stop().await;
        }
    });
}

#[test]
fn a_consumer_that_cannot_start_again_ends_its_delivery_with_too_old() {
    simulate(|context| async move {
        let mut log = Log::trimming(8);
        log.grow(1).await;
        let first = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        first.stop().await;
        log.grow(20).await;
        log.finalize().await;
        let delivery = Running::new(&context, &log, Of::default());
        assert_eq!(delivery.handle.await.unwrap().unwrap_err().kind, FaultKind::TooOld);
    });
}
