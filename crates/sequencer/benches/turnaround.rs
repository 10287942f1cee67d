//! What a sequencer itself costs: `cargo bench -p tidewatch-sequencer --bench turnaround`.
//!
//! A network that needs no time, the pool and the chain on a real disk. Measured is from when a preblock is handed over
//! until the next proposal is on the wire: judged, applied durably, settled, built, reserved durably. Then how many
//! proposals and transactions go through the whole path in a second.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures real time")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on must end")]

use bytes::Bytes;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tidewatch_core::{
    ChainId, Digest, Fault, FaultKind, Height,
    watch::{Receiver, Sender as Watch, watch},
};
use tidewatch_sequencer::{
    Coordinator, Item, NotSubmitted, Opened, Ordering, Preblock, PreblockMonitor, Preblocks,
    Proposal, Sender, Transaction,
    coordinator::{Config, Ports},
    disk::{Chain, DiskPool, Genesis, Limits, Published},
    monitor,
};

const BLOCKS: u64 = 500;
const BYTES: usize = 256;

#[derive(Default)]
struct Known {
    preblocks: BTreeMap<u64, Preblock>,
    /// When the newest preblock was handed over.
    handed: Option<Instant>,
    turnarounds: Vec<Duration>,
}

/// Fixes everything at once.
#[derive(Clone)]
struct Instantly {
    known: Arc<Mutex<Known>>,
    bell: Arc<Watch<u64>>,
    bells: Receiver<u64>,
}

impl Ordering for Instantly {
    fn name(&self) -> &str {
        "instantly"
    }

    fn submit(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), NotSubmitted>> {
        let now = Instant::now();
        {
            let mut known = self.known.lock();
            if let Some(handed) = known.handed.take() {
                known.turnarounds.push(now - handed);
            }
            let Proposal { identity, content } = proposal;
            let clear = |it: &Transaction| Opened::Clear(it.payload.clone());
            let opened = content.transactions.iter().map(clear).collect();
            let preblock = Preblock { identity, content, opened, evidence: Bytes::new() };
            known.preblocks.insert(identity.number.get(), preblock);
        }
        self.bell.change(|rung| {
            *rung += 1;
            true
        });
        futures::future::ready(Ok(())).boxed()
    }

    fn preblocks(&self, from: Height) -> BoxFuture<'_, Result<Box<dyn Preblocks>, Fault>> {
        let stream = Stream { network: self.clone(), at: from.get() };
        futures::future::ready(Ok(Box::new(stream) as Box<dyn Preblocks>)).boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<Option<Height>, Fault>> {
        let newest = self.known.lock().preblocks.keys().next_back().copied();
        futures::future::ready(Ok(newest.map(Height::new))).boxed()
    }

    fn verify(&self, _: &Preblock) -> Result<(), String> {
        Ok(())
    }
}

struct Stream {
    network: Instantly,
    at: u64,
}

impl Preblocks for Stream {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, Fault>> {
        async move {
            loop {
                {
                    let mut known = self.network.known.lock();
                    if let Some(preblock) = known.preblocks.get(&self.at).cloned() {
                        known.handed = Some(Instant::now());
                        self.at += 1;
                        return Ok(Item::Preblock(Box::new(preblock)));
                    }
                }
                let over = |_| FaultKind::Unreachable.fault("instantly", "over");
                self.network.bells.changed().await.map_err(over)?;
            }
        }
        .boxed()
    }
}

/// One run with so many transactions in a block: their turnarounds, and how long it took.
fn run(transactions: usize) -> (Vec<Duration>, Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let config = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(config).start(|context| async move {
        let id = ChainId::new("bench").expect("a chain id");
        let genesis = Genesis { chain: id.clone(), digest: Digest([7; 32]), time_ms: 0 };
        let limits = Limits { transactions: usize::MAX, bytes: usize::MAX, ..Limits::default() };
        let pool = DiskPool::open(context.child("pool"), "bench", id, limits).await;
        let pool = Arc::new(pool.expect("a pool"));
        let chain = Chain::open(context.child("chain"), "bench", genesis).await.expect("a chain");
        let published = Published::open(context.child("published"), "bench").await;
        let (bell, bells) = watch(0);
        let network = Instantly { known: Arc::default(), bell: Arc::new(bell), bells };
        let ordering = Arc::new(network.clone());
        let payload = Bytes::from(vec![1; BYTES]);
        let transaction = |nonce| {
            let sender = Sender([(nonce % 200) as u8 + 1; 32]);
            Transaction { sender, nonce: nonce / 200, payload: payload.clone() }
        };
        let all = (0..BLOCKS * transactions as u64).map(transaction).collect::<Vec<_>>();
        let block_bytes = all.first().map_or(1, Transaction::bytes) * transactions + transactions;
        for batch in all.chunks(10_000) {
            let accepted = pool.insert(batch.to_vec()).await.expect("a disk");
            assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
        }
        let ports = Ports {
            pool,
            applier: Arc::new(chain),
            publisher: Arc::new(published.expect("a record")),
            ordering: ordering.clone(),
        };
        let config = Config { block_bytes, ..Config::every(Duration::from_secs(600)) };
        let began = Instant::now();
        let (coordinator, mailbox) = Coordinator::new(context.child("sequencer"), ports, config);
        let at = context.child("monitor");
        let monitor =
            PreblockMonitor::new(at, ordering, mailbox.clone(), monitor::Config::default());
        let actors = [coordinator.start(), monitor.start()];
        let done = mailbox.status().until(|status| status.head.height.get() >= BLOCKS).await;
        assert!(done.is_ok(), "it goes on");
        let took = began.elapsed();
        mailbox.stop();
        for actor in actors {
            actor.await.expect("an end").expect("no fault");
        }
        let turnarounds = std::mem::take(&mut network.known.lock().turnarounds);
        (turnarounds, took)
    })
}

fn main() {
    for transactions in [1, 20, 200] {
        let (mut turnarounds, took) = run(transactions);
        turnarounds.sort_unstable();
        let at = |percent: usize| turnarounds[(turnarounds.len() - 1) * percent / 100];
        let (p50, p99) = (at(50), at(99));
        let rate = BLOCKS as f64 / took.as_secs_f64();
        println!(
            "{transactions} transactions of {BYTES} bytes a block: {p50:.1?} from a preblock to the next proposal \
             at p50, {p99:.1?} at p99; {rate:.0} proposals, {:.0} transactions a second",
            rate * transactions as f64
        );
    }
}
