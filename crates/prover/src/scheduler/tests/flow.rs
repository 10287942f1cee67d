//! What flows through: room for blocks, and what is cleaned up beside what is read.

use super::*;
use crate::plan::Lag;
use commonware_utils::NZU64;
use tidewatch_core::BlockRef;

/// PS-52.
#[test]
fn production_is_slowed_from_one_lag_until_another_and_never_stopped() {
    let slow = Lag::Slow { from: NZU64!(8), until: 3, wait: secs(60) };
    for (lag, expected) in [
        (slow, [true, true, false, false, false, true, true]),
        (Lag::Alert, [true; 7]),
        // The wrong way round: no more than one threshold.
        (
            Lag::Slow { from: NZU64!(8), until: 20, wait: secs(60) },
            [true, true, false, false, true, true, true],
        ),
    ] {
        let mut room = true;
        for (behind, expected) in [0, 7, 8, 20, 4, 3, 7].into_iter().zip(expected) {
            room = lag.room(room, behind);
            assert_eq!(room, expected, "{lag:?} at {behind}");
        }
    }
}

/// PS-52: the actor, with a producer that waits for room before each block.
#[test]
fn a_producer_that_waits_for_room_is_as_fast_as_provers_and_goes_on_where_they_do_not() {
    simulate(|context| async move {
        let prover = Scripted::honest(&context, 1, 10);
        let lag = Lag::Slow { from: NZU64!(8), until: 3, wait: secs(60) };
        let config = Config { plan: plan::Config { lag, ..config().plan }, ..config() };
        let running = Running::start(&context, &[&prover], config).await;
        let mut waited = 0;
        for height in 1..=60 {
            let began = context.current();
            assert!(running.mailbox.room(&context).await);
            waited += context.current().duration_since(began).unwrap().as_secs();
            running.add(height..=height).await;
            running.sleep(1).await;
            assert!(running.status().await.lag() <= 8);
        }
        assert!(waited > 400, "{waited} s in all");
        // A prover that is gone slows it, and no more.
        prover.health(Health::Silent);
        running.sleep(1).await;
        for height in 61..=80 {
            let began = context.current();
            running.mailbox.room(&context).await;
            let waited = context.current().duration_since(began).unwrap();
            assert!(waited <= secs(61), "{waited:?}");
            running.add(height..=height).await;
        }
        assert!(!running.mailbox.room(&context).await);
        assert!(running.status().await.lag() > 16);
        let mailbox = running.mailbox.clone();
        running.stop().await;
        mailbox.room(&context).await;
    });
}

/// With the default policy, production never waits.
#[test]
fn nobody_waits_for_room_where_lag_is_an_alert() {
    simulate(|context| async move {
        let running = Running::start(&context, &[], config()).await;
        for height in 1..=500 {
            let began = context.current();
            assert!(running.mailbox.room(&context).await);
            assert_eq!(context.current(), began);
            running.add(height..=height).await;
        }
        running.stop().await;
    });
}

/// PS-56: directories of old proofs are removed while the newest are read, and while inputs are.
#[test]
fn what_is_cleaned_up_is_not_what_is_read() {
    simulate(|context| async move {
        let shard = 1 << 16;
        let start: BlockRef = key(3 * shard - 20, 0).block;
        let prover = Scripted::honest(&context, 4, 2);
        let mut config = config();
        config.disk.keep = std::num::NonZeroU64::new(1);
        let parts = Parts {
            program: Arc::new(Toy),
            provers: vec![Arc::new(prover.clone()) as Arc<dyn Prover>],
            subject: disk::Subject { start, ..subject() },
        };
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduler, mailbox) = opened.unwrap();
        let handle = scheduler.start();
        let blocks = (1..=40).map(|n| block(start.height.get() + n, 0, 0));
        mailbox.add(blocks.collect()).await.unwrap();
        let mut proven = mailbox.proven();
        loop {
            let tip = proven.current().tip;
            // A replica reads the proof of the tip, and of one that is kept below it.
            for below in [0, 1, 5] {
                let height = (tip.height.get() - below).max(start.height.get());
                if height > start.height.get() {
                    let kept = mailbox.proof(key(height, 0).block).await.unwrap();
                    assert_eq!(kept, Some(good_proof(height)));
                }
            }
            if tip == key(start.height.get() + 40, 0).block {
                break;
            }
            proven.changed().await.unwrap();
        }
        let jobs = mailbox.status().await.unwrap();
        assert_eq!((jobs.lag(), jobs.count(Stage::Poisoned)), (0, 0), "every input was there");
        mailbox.stop();
        handle.await.unwrap().unwrap();
    });
}
