//! B89. Backfill for others, and syncs of a slow disk, were served inside of the loop that also
//! announced the tip: everything waited for them.
//!
//! Here consumers read concurrently with the writer, and reads of one consumer do not wait for those of
//! another. On a disk with up to 100 ms per mutation, a consumer at the tip receives an event as fast
//! beside fifty readers of the whole history as it does alone.

use crate::support::{Recorder, Sink, grow, hand_over, millis, secs};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Ack, Event};
use tidewatch_store::{Config, Store};
use tidewatch_stream::{Driver, delivery, driver};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    host::{Host, Odds},
    source::ScriptedSource,
};

/// Blocks of history, one event each, and blocks that arrive while the history is read.
const HISTORY: u64 = 1_000;
const LIVE: u64 = 60;

/// The latency of the slowest of a hundred events.
fn p99(latencies: &[Duration]) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * 99 / 100]
}

/// Delivery latency of each new block at a consumer at the tip, beside `readers` of the history.
fn latencies(readers: usize, ack: fn() -> Ack) -> Vec<Duration> {
    let config = deterministic::Config::new().with_timeout(Some(secs(7_200)));
    deterministic::Runner::new(config).start(|context| async move {
        let (host, trouble) = Host::new(context.child("host"), 89);
        let chain = Chain::new('a', HISTORY + LIVE);
        let config = Config::new(chain.chain_info(), ());
        let (mut view, store) =
            Store::open::<_, TestBlock>(host.child("store"), config).await.unwrap();
        grow(&mut view, &chain, 1..=HISTORY).await;

        let source = ScriptedSource::new(&chain, [HISTORY, 0, 0, 0]);
        let (driver, _mailbox) = Driver::new(
            context.child("driver"),
            driver::Parts {
                source: Arc::new(source.clone()),
                view,
                monitor: Recorder::new(&context),
            },
            driver::Config::default(),
        );
        let _driver = driver.start();
        let born: Arc<Mutex<BTreeMap<u64, SystemTime>>> = Arc::default();
        let seen: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let (births, lags, clock) = (born.clone(), seen.clone(), context.child("sink"));
        let live = Sink::with("live", move |records| {
            for record in records {
                let Event::Blocks { to, .. } = record.event else { continue };
                let born = births.lock().get(&to.height.get()).copied();
                lags.lock().extend(born.map(|born| clock.current().duration_since(born).unwrap()));
            }
            Ok(ack())
        });
        let config = delivery::Config::default();
        let _live = hand_over(&context, store.clone(), live, (), config);
        context.sleep(secs(5)).await;

        trouble.slow_disk(Odds { rate: 1.0, longest: millis(100) });
        let batches = delivery::Config { batch_max: NZUsize!(10), ..delivery::Config::default() };
        let others: Vec<_> = (0..readers)
            .map(|nth| {
                let sink = Sink::with(&format!("reader-{nth}"), move |_| Ok(ack()));
                hand_over(&context, store.clone(), sink, (), batches.clone())
            })
            .collect();
        for height in HISTORY + 1..=HISTORY + LIVE {
            born.lock().insert(height, context.current());
            source.stand(&chain, [height, 0, 0, 0]);
            source.ring();
            context.sleep(secs(5)).await;
        }
        context.sleep(secs(60)).await;
        assert!(others.iter().all(|(taken, ..)| !taken.records().is_empty()));
        let seen = seen.lock().clone();
        assert_eq!(seen.len() as u64, LIVE);
        seen
    })
}

#[test]
fn fifty_readers_of_the_history_do_not_delay_the_tip() {
    let (alone, crowded) = (latencies(0, || Ack::Accepted), latencies(50, || Ack::Accepted));
    let (normal, now) = (p99(&alone), p99(&crowded));
    assert!(normal > millis(50), "{normal:?}: the disk is slow");
    assert!(now <= normal * 2, "{now:?} beside fifty readers, {normal:?} alone");
}

#[test]
fn fifty_readers_that_acknowledge_each_batch_do_not_delay_the_tip() {
    let (alone, crowded) = (latencies(0, || Ack::Durable), latencies(50, || Ack::Durable));
    let (normal, now) = (p99(&alone), p99(&crowded));
    assert!(now <= normal * 2, "{now:?} beside fifty readers, {normal:?} alone");
}
