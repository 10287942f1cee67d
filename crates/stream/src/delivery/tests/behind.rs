//! Consumers that are behind what is kept, or ahead of it.

use super::{Log, Manner, Of, Running, batches_of, millis, secs, simulate};
use commonware_runtime::Clock as _;
use tidewatch_core::{Cursor, FaultKind, Positions as _, Tier, TipSet, Watermarks};

/// Standard output that was blocked, in small: the reader was given block 1, and 20 more came.
#[test]
fn a_consumer_that_stalls_longer_than_events_are_kept_is_given_every_block_since() {
    simulate(|context| async move {
        let mut log = Log::keeping(8);
        log.grow(1).await;
        let of = Of { manners: vec![Manner::Slow(secs(10))], ..Of::default() };
        let delivery = Running::new(&context, &log, of);
        context.sleep(secs(1)).await;
        log.grow(20).await;
        context.sleep(secs(10)).await;
        let events =
            ["blocks 1a-1a", "proposed 1a", "blocks 2a-21a", "proposed 21a"].map(String::from);
        assert_eq!(delivery.taken(), events);
        assert_eq!(delivery.faults.kinds(), []);
        log.grow(1).await;
        context.sleep(millis(5)).await;
        assert_eq!(delivery.taken()[4..], ["blocks 22a-22a", "proposed 22a"]);
        let cursor = log.memory.load("scripted").await.unwrap().unwrap();
        assert_eq!(cursor.handled(), 44);
        delivery.stop().await;
    });
}

/// It may have taken in more than its position says, so that the bridge says first what to drop.
#[test]
fn a_consumer_that_comes_back_late_is_given_every_block_since_its_position() {
    simulate(|context| async move {
        let mut log = Log::keeping(8);
        log.grow(1).await;
        let first = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        first.stop().await;
        log.grow(20).await;
        for (name, events) in [
            ("scripted", &["prune 1a: 0 dropped, 1a - - -", "blocks 2a-21a", "proposed 21a"][..]),
            ("never seen before", &["blocks 1a-21a", "proposed 21a"]),
        ] {
            let delivery = Running::new(&context, &log, Of { name, ..Of::default() });
            context.sleep(millis(5)).await;
            assert_eq!(delivery.taken(), events);
            delivery.stop().await;
        }
    });
}

#[test]
fn a_consumer_that_drops_an_acknowledgement_and_is_behind_goes_on_from_the_last_one_that_it_gave() {
    simulate(|context| async move {
        let mut log = Log::keeping(8);
        log.grow(3).await;
        let of = Of {
            manners: vec![Manner::Takes, Manner::Later, Manner::Later],
            config: batches_of(2),
            ..Of::default()
        };
        let delivery = Running::new(&context, &log, of);
        context.sleep(millis(5)).await;
        assert_eq!(delivery.handed(), (0..6).collect::<Vec<_>>());
        log.grow(20).await;
        context.sleep(millis(5)).await;
        assert_eq!(delivery.handed(), (0..6).collect::<Vec<_>>(), "what is out comes first");
        drop(delivery.acknowledgement(0));
        context.sleep(secs(1)).await;
        let bridge = ["prune 1a: 0 dropped, 1a - - -", "blocks 2a-23a", "proposed 23a"];
        assert_eq!(delivery.taken()[6..], bridge);
        delivery.stop().await;
    });
}

#[test]
fn a_consumer_behind_the_blocks_too_starts_again_and_misses_nothing_after() {
    simulate(|context| async move {
        let mut log = Log::trimming(8);
        log.grow(1).await;
        let of =
            Of { manners: vec![Manner::Slow(secs(10))], restarts: Some(vec![]), ..Of::default() };
        let delivery = Running::new(&context, &log, of);
        context.sleep(secs(1)).await;
        log.grow(20).await;
        log.finalize().await;
        context.sleep(secs(10)).await;
        assert_eq!(delivery.hands.lock().restarts, [35], "the oldest of 43 that keep 8");
        let expected: Vec<_> = (0..2).chain(36..43).collect();
        assert_eq!(delivery.handed(), expected, "the restart includes event 35");
        delivery.stop().await;
    });
}

/// A position that was taken over from an instance that was further on.
#[test]
fn a_consumer_that_is_ahead_of_the_log_waits_for_it() {
    simulate(|context| async move {
        let mut log = Log::new();
        log.grow(3).await;
        let at = log.chain.at(6);
        let tips = TipSet::unknown().with(Tier::Proposed, at);
        let watermarks = Watermarks { delivered: Some(at), tips };
        let below: Vec<_> = (1..6).map(|height| log.chain.at(height)).collect();
        let cursor = Cursor::new(&log.memory.chain_info().id, 5, &watermarks, &below);
        log.memory.store("scripted", &cursor).await.unwrap();
        let delivery = Running::new(&context, &log, Of::default());
        context.sleep(secs(60)).await;
        assert_eq!(delivery.taken(), [""; 0]);
        assert_eq!(delivery.faults.kinds(), [FaultKind::Behind], "it is told once");
        log.grow(5).await;
        context.sleep(secs(11)).await;
        let events = ["prune 6a: 0 dropped, 6a - - -", "blocks 7a-8a", "proposed 8a"];
        assert_eq!(delivery.taken(), events);
        delivery.stop().await;
    });
}

#[test]
fn a_restart_that_fails_is_tried_again() {
    simulate(|context| async move {
        let mut log = Log::trimming(8);
        log.grow(1).await;
        let first = Running::new(&context, &log, Of::default());
        context.sleep(millis(5)).await;
        first.stop().await;
        log.grow(20).await;
        log.finalize().await;
        let restarts = Some(vec![Manner::Fails(FaultKind::Consumer), Manner::Panics]);
        let delivery = Running::new(&context, &log, Of { restarts, ..Of::default() });
        context.sleep(secs(5)).await;
        assert_eq!(delivery.hands.lock().restarts, [35; 3]);
        assert_eq!(delivery.faults.kinds(), [FaultKind::Consumer; 2]);
        assert_eq!(delivery.handed(), (36..43).collect::<Vec<_>>());
        delivery.stop().await;
    });
}
