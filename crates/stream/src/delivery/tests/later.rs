//! Acknowledgements that come later, and in any order.

use super::{Log, Manner, Of, Running, batches_of, millis, secs, simulate};
use crate::delivery::{Config, Stopped};
use commonware_runtime::{Clock as _, deterministic};
use commonware_utils::{NZUsize, acknowledgement::Acknowledgement as _};
use futures::FutureExt as _;
use tidewatch_core::{Cursor, FaultKind, Positions as _, Tier, TipSet, Watermarks};

/// A consumer that acknowledges everything later, in batches of two.
fn pipelined(in_flight_max: usize) -> Of {
    let in_flight_max = in_flight_max.try_into().unwrap();
    let config = Config { in_flight_max, ..batches_of(2) };
    Of { otherwise: Manner::Later, config, ..Of::default() }
}

async fn position(log: &Log) -> u64 {
    let cursor = log.memory.load("scripted").await.unwrap();
    cursor.map_or(0, |cursor| cursor.handled())
}

async fn settle(context: &deterministic::Context) {
    context.sleep(millis(5)).await;
}

#[test]
fn the_position_moves_over_the_contiguous_prefix_in_whatever_order_batches_are_acknowledged() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(4).await;
        let delivery = Running::new(&context, &log, pipelined(16));
        settle(&context).await;
        assert_eq!(delivery.batches(), [[0, 1], [2, 3], [4, 5], [6, 7]]);
        let [first, second, third, fourth] = [(); 4].map(|()| delivery.acknowledgement(0));
        for (acknowledgement, expected) in [(third, 0), (first, 2), (fourth, 2), (second, 8)] {
            acknowledgement.acknowledge();
            settle(&context).await;
            assert_eq!(position(&log).await, expected);
        }
        delivery.stop().await;
    });
}

#[test]
fn no_more_than_the_limit_is_out_at_once() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(6).await;
        let delivery = Running::new(&context, &log, pipelined(3));
        context.sleep(secs(60)).await;
        assert_eq!(delivery.batches().len(), 3);
        // One behind the front makes no room: the front is what the others wait for.
        delivery.acknowledgement(1).acknowledge();
        settle(&context).await;
        assert_eq!(delivery.batches().len(), 3);
        delivery.acknowledgement(0).acknowledge();
        settle(&context).await;
        assert_eq!((delivery.batches().len(), position(&log).await), (5, 4));
        delivery.stop().await;
    });
}

#[test]
fn after_a_dropped_acknowledgement_everything_from_the_first_that_is_missing_comes_again() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(4).await;
        let delivery = Running::new(&context, &log, pipelined(16));
        settle(&context).await;
        let [first, second, third, fourth] = [(); 4].map(|()| delivery.acknowledgement(0));
        first.acknowledge();
        fourth.acknowledge();
        drop(third);
        settle(&context).await;
        assert_eq!(delivery.faults.kinds(), [FaultKind::Consumer]);
        assert_eq!((delivery.batches().len(), position(&log).await), (4, 2), "after a back-off");
        context.sleep(secs(1)).await;
        assert_eq!(delivery.batches()[4..], [[2, 3], [4, 5], [6, 7]]);
        // What was out before says nothing any more.
        second.acknowledge();
        settle(&context).await;
        assert_eq!(position(&log).await, 2);
        for _ in 0..3 {
            delivery.acknowledgement(0).acknowledge();
        }
        settle(&context).await;
        assert_eq!(position(&log).await, 8);
        delivery.stop().await;
    });
}

#[test]
fn an_acknowledgement_that_is_dropped_while_the_consumer_is_busy_voids_what_it_is_busy_with() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let manners = vec![Manner::Later, Manner::Slow(secs(10))];
        let of = Of { manners, otherwise: Manner::Takes, ..pipelined(16) };
        let delivery = Running::new(&context, &log, of);
        context.sleep(secs(1)).await;
        drop(delivery.acknowledgement(0));
        context.sleep(secs(20)).await;
        assert_eq!(delivery.batches(), [[0, 1], [2, 3], [0, 1], [2, 3], [4, 5]]);
        assert_eq!(position(&log).await, 6);
        delivery.stop().await;
    });
}

#[test]
fn acknowledgements_that_are_always_dropped_come_further_and_further_apart() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(1).await;
        let delivery = Running::new(&context, &log, pipelined(16));
        for _ in 0..600 {
            context.sleep(millis(100)).await;
            delivery.hands.lock().acknowledgements.clear();
        }
        let times: Vec<_> = delivery.hands.lock().batches.iter().map(|(at, _)| *at).collect();
        assert!((8..=20).contains(&times.len()), "{times:?}");
        delivery.stop().await;
    });
}

#[test]
fn a_durable_acknowledgement_waits_for_the_batches_before_it() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let manners = vec![Manner::Later, Manner::Accepts, Manner::Takes];
        let delivery = Running::new(&context, &log, Of { manners, ..pipelined(16) });
        settle(&context).await;
        assert_eq!((delivery.batches().len(), position(&log).await), (3, 0));
        delivery.acknowledgement(0).acknowledge();
        settle(&context).await;
        assert_eq!(position(&log).await, 6);
        delivery.stop().await;
    });
}

#[test]
fn acknowledgements_are_taken_while_the_consumer_is_busy() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(2).await;
        let manners = vec![Manner::Later, Manner::Slow(secs(60))];
        let delivery = Running::new(&context, &log, Of { manners, ..pipelined(16) });
        context.sleep(secs(1)).await;
        delivery.acknowledgement(0).acknowledge();
        settle(&context).await;
        assert_eq!(position(&log).await, 2);
        delivery.stop().await;
    });
}

#[test]
fn a_stop_keeps_what_is_acknowledged_and_does_not_wait_for_the_rest() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let delivery = Running::new(&context, &log, pipelined(16));
        settle(&context).await;
        delivery.acknowledgement(0).acknowledge();
        let begin = context.current();
        let hands = delivery.hands.clone();
        delivery.stop().await;
        assert!(context.current().duration_since(begin).unwrap() < millis(10));
        assert_eq!(position(&log).await, 2);
        drop(hands);
        let next = Running::new(&context, &log, Of::default());
        settle(&context).await;
        assert_eq!(next.handed(), [2, 3, 4, 5]);
        next.stop().await;
    });
}

#[test]
fn a_consumer_that_starts_again_is_not_held_to_what_was_out() {
    simulate(|context| async move {
        let mut log = Log::trimming(8);
        log.grow(1).await;
        let of = Of { restarts: Some(vec![]), ..pipelined(1) };
        let delivery = Running::new(&context, &log, of);
        context.sleep(secs(1)).await;
        log.grow(20).await;
        log.finalize().await;
        // The front is acknowledged when what comes after it is gone.
        let old = delivery.acknowledgement(0);
        old.acknowledge();
        context.sleep(secs(1)).await;
        assert_eq!(delivery.hands.lock().restarts, [35]);
        assert_eq!(delivery.batches().last().unwrap(), &[36, 37]);
        delivery.acknowledgement(0).acknowledge();
        settle(&context).await;
        assert_eq!(position(&log).await, 38);
        delivery.stop().await;
    });
}

/// The events of a bridge are in no log: nothing after it is handed over before it is acknowledged.
#[test]
fn a_bridge_is_acknowledged_before_anything_after_it_and_comes_again_if_it_is_not() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let fork = log.chain.fork(3, 'x', 3);
        let tips = TipSet::unknown().with(Tier::Proposed, fork.at(3));
        let watermarks = Watermarks { delivered: Some(fork.at(3)), tips };
        let below = [fork.at(2), fork.at(1)];
        let cursor = Cursor::new(&log.memory.chain_info().id, 6, &watermarks, &below);
        log.memory.store("scripted", &cursor).await.unwrap();
        let delivery = Running::new(&context, &log, pipelined(16));
        settle(&context).await;
        log.grow(1).await;
        let bridge = ["prune 2a: 1 dropped, 2a - - -", "blocks 3a-3a", "proposed 3a"];
        context.sleep(secs(1)).await;
        assert_eq!(delivery.taken(), bridge);
        drop(delivery.acknowledgement(0));
        context.sleep(secs(1)).await;
        assert_eq!(delivery.taken(), [bridge, bridge].concat());
        delivery.acknowledgement(0).acknowledge();
        context.sleep(secs(1)).await;
        assert_eq!(delivery.taken()[6..], ["blocks 4a-4a", "proposed 4a"]);
        delivery.stop().await;
    });
}

#[test]
fn who_waits_for_a_durable_position_is_answered_when_it_is_reached_or_the_delivery_ends() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(2).await;
        let delivery = Running::new(&context, &log, pipelined(16));
        let mailbox = delivery.mailbox.clone();
        let (mut two, mut four) = (mailbox.durable(2).boxed(), mailbox.durable(4).boxed());
        let mut never = mailbox.durable(5).boxed();
        settle(&context).await;
        assert!((&mut two).now_or_never().is_none() && (&mut four).now_or_never().is_none());
        delivery.acknowledgement(0).acknowledge();
        settle(&context).await;
        assert_eq!((&mut two).now_or_never(), Some(Ok(2)));
        assert!((&mut four).now_or_never().is_none());
        delivery.acknowledgement(0).acknowledge();
        settle(&context).await;
        assert_eq!((&mut four).now_or_never(), Some(Ok(4)));
        assert_eq!(mailbox.durable(1).await, Ok(4));
        assert!((&mut never).now_or_never().is_none());
        delivery.stop().await;
        assert_eq!(never.await, Err(Stopped));
        assert_eq!(mailbox.durable(1).await, Err(Stopped));
        // A new delivery begins with what the old one left.
        let of = Of {
            config: Config { mailbox_size: NZUsize!(1), ..Config::default() },
            ..Of::default()
        };
        let next = Running::new(&context, &log, of);
        for _ in 0..5 {
            let _ = next.mailbox.durable(99).boxed().now_or_never();
        }
        assert_eq!(next.mailbox.durable(3).await, Ok(4));
        next.stop().await;
    });
}
