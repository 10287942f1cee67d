//! B41. A bounded broadcast skipped events that a slow subscriber had not read yet, without any
//! notification.
//!
//! Here a consumer reads the log at its own pace, and a slow one misses nothing that is retained. One
//! that falls behind the retained history is restarted from an event that carries the full state before
//! it: the events that it received and the state that it adopted add up to the history without a gap.

use crate::support::{Recorder, Sink, announced, hand_over, history, millis, secs, simulate};
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use std::sync::Arc;
use tidewatch_core::{
    Ack, Change, Consumer, Event, Fault, LocalView as _, Record, Tier, Watermarks,
};
use tidewatch_store::{Memory, MemoryWriter};
use tidewatch_stream::{
    Delivery,
    delivery::{Config, Parts},
};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    invariants,
};

/// Writes a hundred events a second.
fn produce(context: &deterministic::Context, mut view: MemoryWriter<TestBlock>, chain: Chain) {
    context.child("producer").spawn(move |context| async move {
        for height in 1..=chain.tip() {
            let moved = announced(Tier::Proposed, chain.at(height));
            let blocks = Change::Blocks(chain.range(height, height));
            view.commit(vec![blocks, moved]).await.unwrap();
            context.sleep(millis(20)).await;
        }
    });
}

fn one_by_one() -> Config {
    Config { batch_max: NZUsize!(1), ..Config::default() }
}

#[test]
fn one_event_a_second_of_a_hundred_are_all_read_in_the_end() {
    simulate(|context| async move {
        let chain = Chain::new('a', 500);
        let (view, log) = Memory::new(chain.chain_info());
        produce(&context, view, chain);
        let recorder = Recorder::new(&context);
        let sink = Sink::new("slow").slow(&context, secs(1));
        let (taken, stopper, handle) =
            hand_over(&context, log.clone(), sink, recorder.clone(), one_by_one());
        context.sleep(secs(10)).await;
        assert!(taken.records().len() <= 10, "it is slow");
        assert!(history(&log).await.len() >= 900, "and holds up nobody");
        context.sleep(secs(1_000)).await;
        assert_eq!(taken.records(), history(&log).await);
        assert!(recorder.kinds().is_empty());
        stopper.stop();
        handle.await.unwrap().unwrap();
    });
}

/// Takes one event, or one bridge, a second.
struct Slow {
    clock: deterministic::Context,
    /// Its watermarks, and the sequence of the next event that it expects.
    stands: Arc<Mutex<(Watermarks, u64)>>,
    /// The event that was next, and the one after the bridge that came instead.
    bridges: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Consumer for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.clock.sleep(secs(1)).await;
        let mut stands = self.stands.lock();
        let next = records.last().map_or(stands.1, |last| last.cursor.handled());
        if records[0].sequence() != stands.1 {
            self.bridges.lock().push((stands.1, next));
        }
        for record in records {
            if let (Event::Blocks { from, .. }, None) = (record.event, stands.0.delivered) {
                assert_eq!(from.height.get(), 1, "a block is missing, and nobody said so");
            }
            invariants::dense(&stands.0, &record.event).expect("no block is missing in silence");
            stands.0 = invariants::leads(&stands.0, record).expect("the replay law");
        }
        stands.1 = next;
        Ok(Ack::Durable)
    }
}

#[test]
fn one_that_falls_behind_what_is_kept_is_given_every_block_all_the_same() {
    simulate(|context| async move {
        let chain = Chain::new('a', 500);
        let (view, log) = Memory::with_retention(chain.chain_info(), NZU64!(64));
        produce(&context, view, chain.clone());
        let (stands, bridges) = (Arc::default(), Arc::default());
        let slow = Slow {
            clock: context.child("slow"),
            stands: Arc::clone(&stands),
            bridges: Arc::clone(&bridges),
        };
        let parts = Parts { log: log.clone(), consumer: slow, monitor: () };
        let (delivery, mailbox) = Delivery::new(context.child("delivery"), parts, one_by_one());
        let handle = delivery.start();
        context.sleep(secs(1_000)).await;
        let bridges = bridges.lock().clone();
        assert!(bridges.len() >= 5, "it fell behind, again and again: {bridges:?}");
        assert!(bridges.iter().all(|(expected, next)| next > expected), "{bridges:?}");
        let (watermarks, next) = *stands.lock();
        assert_eq!(next, 1_000);
        assert!(watermarks.tips.same_blocks(&log.watermarks().unwrap().tips));
        assert_eq!(watermarks.delivered, Some(chain.at(500)));
        mailbox.stop();
        handle.await.unwrap().unwrap();
    });
}
