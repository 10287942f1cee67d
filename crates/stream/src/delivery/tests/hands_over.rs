//! What is handed over, in what order, how often.

use super::{Log, Manner, Of, Running, batches_of, millis, secs, simulate};
use commonware_runtime::Clock as _;
use std::time::Duration;
use tidewatch_core::{
    Change, Cursor, FaultKind, LocalView as _, Positions as _, Tier, TipSet, Watermarks,
};

#[test]
fn a_prompt_consumer_is_given_every_event_once_in_order_as_it_comes() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(2).await;
        let delivery = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        let events = ["blocks 1a-1a", "proposed 1a", "blocks 2a-2a", "proposed 2a"];
        assert_eq!(delivery.taken(), events);
        log.grow(3).await;
        context.sleep(millis(5)).await;
        assert_eq!(delivery.handed(), (0..10).collect::<Vec<_>>());
        let cursor = log.memory.load("scripted").await.unwrap().unwrap();
        assert_eq!(cursor.handled(), 10);
        delivery.stop().await;
    });
}

#[test]
fn a_history_is_handed_over_in_batches_of_bounded_size() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(5).await;
        let of = Of { config: batches_of(4), ..Of::default() };
        let delivery = Running::new(&context, &log, of);
        context.sleep(millis(5)).await;
        assert_eq!(delivery.batches(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        delivery.stop().await;
    });
}

#[test]
fn a_slow_consumer_delays_nobody() {
    simulate(|context| async move {
        let mut log = Log::new();
        let slow = Of {
            name: "slow",
            otherwise: Manner::Slow(secs(10)),
            config: batches_of(2),
            ..Of::default()
        };
        let slow = Running::new(&context, &log, slow);
        let fast = Running::new(&context, &log, Of { name: "fast", ..Of::default() });
        for blocks in 1..=10 {
            log.grow(1).await;
            context.sleep(millis(5)).await;
            assert_eq!(fast.taken().len(), 2 * blocks);
        }
        assert_eq!(slow.taken().len(), 0);
        context.sleep(secs(101)).await;
        assert_eq!(slow.taken(), fast.taken());
        for name in ["slow", "fast"] {
            let cursor = log.memory.load(name).await.unwrap().unwrap();
            assert_eq!(cursor.handled(), 20, "{name}");
        }
        slow.stop().await;
        fast.stop().await;
    });
}

#[test]
fn a_consumer_that_fails_is_given_the_same_events_again_further_and_further_apart() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let fails = vec![Manner::Fails(FaultKind::Consumer); 8];
        let delivery = Running::new(&context, &log, Of { manners: fails, ..Of::default() });
        context.sleep(secs(60)).await;
        assert_eq!(delivery.batches(), vec![vec![0, 1]; 9]);
        assert_eq!(delivery.faults.kinds(), [FaultKind::Consumer; 8]);
        assert_eq!(delivery.taken(), ["blocks 1a-1a", "proposed 1a"]);
        let times: Vec<_> = delivery.hands.lock().batches.iter().map(|(at, _)| *at).collect();
        for (n, pair) in times.windows(2).enumerate() {
            let wait = pair[1].duration_since(pair[0]).unwrap();
            let step = millis(100 << n).min(secs(10));
            let slack = Duration::from_millis(5);
            assert!(wait >= step / 2 && wait <= step + slack, "failure {n}: {wait:?}");
        }
        delivery.stop().await;
    });
}

#[test]
fn a_consumer_that_fails_now_and_then_waits_the_shortest_time_each_time() {
    simulate(|context| async move {
        let mut log = Log::new();
        let now_and_then = [Manner::Fails(FaultKind::Consumer), Manner::Takes];
        let manners = vec![now_and_then; 20].concat();
        let delivery = Running::new(&context, &log, Of { manners, ..Of::default() });
        for taken in 1..=20 {
            log.grow(1).await;
            context.sleep(millis(150)).await;
            assert_eq!(delivery.taken().len(), 2 * taken);
        }
        delivery.stop().await;
    });
}

#[test]
fn a_consumer_that_panics_is_told_by_name_and_message_and_takes_nobody_with_it() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let manners = vec![Manner::Panics, Manner::PanicsAtOnce, Manner::Panics];
        let delivery = Running::new(&context, &log, Of { manners, ..Of::default() });
        context.sleep(secs(5)).await;
        assert_eq!(delivery.batches(), vec![vec![0, 1]; 4]);
        let told = FaultKind::Consumer.fault("scripted", "it panicked: as told");
        assert_eq!(delivery.faults.all(), [told.clone(), told.clone(), told]);
        assert_eq!(delivery.taken().len(), 2);
        delivery.stop().await;
    });
}

#[test]
fn what_was_only_accepted_comes_again_after_a_restart_and_what_is_durable_does_not() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let manners = vec![Manner::Takes, Manner::Accepts, Manner::Accepts];
        let of = Of { manners, config: batches_of(2), ..Of::default() };
        let first = Running::new(&context, &log, of);
        context.sleep(millis(5)).await;
        assert_eq!(first.handed(), [0, 1, 2, 3, 4, 5]);
        first.stop().await;
        let second = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        assert_eq!(second.handed(), [2, 3, 4, 5]);
        second.stop().await;
        log.grow(1).await;
        let third = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        assert_eq!(third.handed(), [6, 7]);
        third.stop().await;
    });
}

#[test]
fn a_durable_acknowledgement_covers_everything_accepted_before_it() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let manners = vec![Manner::Accepts, Manner::Accepts, Manner::Takes];
        let of = Of { manners, config: batches_of(2), ..Of::default() };
        let delivery = Running::new(&context, &log, of);
        context.sleep(millis(5)).await;
        let cursor = log.memory.load("scripted").await.unwrap().unwrap();
        assert_eq!(cursor.handled(), 6);
        delivery.stop().await;
    });
}

/// A position that no event of this history leads on from: what the consumer holds for final is on
/// another fork.
#[test]
fn a_consumer_whose_position_has_no_continuation_here_starts_again() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let tip = log.chain.at(3).into();
        let moved = Change::Advanced { tier: Tier::Finalized, tip, proof: None };
        log.view.commit(vec![moved]).await.unwrap();
        let fork = log.chain.fork(2, 'x', 3);
        let tips =
            TipSet::unknown().with(Tier::Proposed, fork.at(3)).with(Tier::Finalized, fork.at(2));
        let watermarks = Watermarks { delivered: Some(fork.at(3)), tips };
        let cursor = Cursor::new(&log.memory.chain_info().id, 5, &watermarks, &[fork.at(2)]);
        log.memory.store("scripted", &cursor).await.unwrap();
        let of = Of { restarts: Some(vec![]), ..Of::default() };
        let delivery = Running::new(&context, &log, of);
        context.sleep(millis(5)).await;
        assert_eq!(delivery.hands.lock().restarts, [0]);
        assert_eq!(delivery.handed(), [1, 2, 3, 4, 5, 6]);
        delivery.stop().await;
    });
}

/// A position on a fork that is gone: what leads from there to here is handed over first.
#[test]
fn a_consumer_on_a_fork_that_is_gone_is_given_a_bridge() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let fork = log.chain.fork(3, 'x', 3);
        let tips = TipSet::unknown().with(Tier::Proposed, fork.at(3));
        let watermarks = Watermarks { delivered: Some(fork.at(3)), tips };
        let below = [fork.at(2), fork.at(1)];
        let cursor = Cursor::new(&log.memory.chain_info().id, 6, &watermarks, &below);
        log.memory.store("scripted", &cursor).await.unwrap();
        let delivery = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        log.grow(1).await;
        context.sleep(millis(5)).await;
        let events = [
            "prune 2a: 1 dropped, 2a - - -",
            "blocks 3a-3a",
            "proposed 3a",
            "blocks 4a-4a",
            "proposed 4a",
        ];
        assert_eq!(delivery.taken(), events);
        delivery.stop().await;
    });
}
