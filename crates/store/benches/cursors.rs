//! Whether readers hold up the writer: `cargo bench -p tidewatch-store --bench cursors`.
//!
//! A driver commits a block and its tiers every few milliseconds to a store on disk: first alone, then
//! beside 1,000 cursors, each resumed over and over by a task of its own. The cursors stand up to 54,000
//! events back, so that the page cache does not hold what they need; every fourth belongs to an
//! abandoned fork and is resumed through the common ancestor. *Tip latency* is the time from when the
//! driver has a block until the block is durable and readable.
//!
//! Both halves alternate. Prints percentiles of the tip latencies and of the resumptions, in
//! nanoseconds.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

mod common;

use common::{Chain, Reading, Writing, open, print};
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use commonware_utils::NZUsize;
use futures::future::join_all;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tidewatch_core::{
    BlockRef, Cursor, Digest, EventLog as _, History as _, LocalView as _, Tier, TipSet, Watermarks,
};

const CURSORS: u64 = 1_000;
/// Between two resumptions of one cursor. At 10,000 resumptions a second in total, the processor is idle
/// most of the time: what shows is waiting, not a busy machine.
const PAUSE: Duration = Duration::from_millis(100);
const BLOCK_TIME: Duration = Duration::from_millis(5);
const ROUNDS: usize = 5;
/// In each half of a round.
const COMMITS: usize = 100;
/// Blocks before the first round, three events each.
const HISTORY: u64 = 18_000;

/// Cursors at even distances in the history.
async fn cursors(log: &Reading, chain: &Chain) -> Vec<Cursor> {
    let mut cursors = Vec::new();
    for index in 0..CURSORS {
        let height = (index + 1) * HISTORY / CURSORS;
        let last = log.read(height * 3 - 1, NZUsize!(1)).await.unwrap().remove(0);
        let cursor = if index % 4 == 3 { forked(&last.cursor, chain) } else { last.cursor };
        cursors.push(cursor);
    }
    cursors
}

/// The position of a consumer that received another block than `cursor` did, on the same parent.
fn forked(cursor: &Cursor, chain: &Chain) -> Cursor {
    let height = cursor.head().unwrap().height;
    let block = BlockRef::new(height, Digest([0x5a; 32]));
    let finalized = chain.at(height.get() - 1);
    let tips = TipSet::unknown().with(Tier::Proposed, block).with(Tier::Finalized, finalized);
    let below: Vec<_> =
        Cursor::heights_below(height).map(|height| chain.at(height.get())).collect();
    let watermarks = Watermarks { delivered: Some(block), tips };
    Cursor::new(&chain.info().id, cursor.handled(), &watermarks, &below)
}

async fn resume(log: &Reading, cursor: &Cursor) {
    log.resume(cursor).await.unwrap();
}

/// Commits the next blocks and returns how long each commit took.
async fn drive(
    context: Context,
    mut store: Writing,
    mut chain: Chain,
) -> (Writing, Chain, Vec<Duration>) {
    let mut latencies = Vec::new();
    for _ in 0..COMMITS {
        context.sleep(BLOCK_TIME).await;
        let changes = chain.grow(1);
        let start = Instant::now();
        store.commit(changes).await.unwrap();
        latencies.push(start.elapsed());
    }
    (store, chain, latencies)
}

/// Resumes `cursor` until `stop` is set and returns how long each resumption took.
async fn reconnect(
    context: Context,
    log: Reading,
    cursor: Cursor,
    first: Duration,
    stop: Arc<AtomicBool>,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    context.sleep(first).await;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        resume(&log, &cursor).await;
        latencies.push(start.elapsed());
        context.sleep(PAUSE).await;
    }
    latencies
}

fn main() {
    common::run(|context| async move {
        let mut chain = Chain::new();
        let (mut store, log) = open(&context, &chain).await;
        for _ in 0..HISTORY / 100 {
            let changes = (0..100).flat_map(|_| chain.grow(1)).collect();
            store.commit(changes).await.unwrap();
        }
        let cursors = cursors(&log, &chain).await;
        let (mut alone, mut beside, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
        for half in 0..ROUNDS * 2 {
            let stop = Arc::<AtomicBool>::default();
            let mut tasks = Vec::new();
            if half % 2 == 1 {
                for (cursor, index) in cursors.iter().cloned().zip(0u32..) {
                    let first = PAUSE * index / CURSORS as u32; // Spread evenly.
                    let (log, stop) = (log.clone(), stop.clone());
                    let task = move |context| reconnect(context, log, cursor, first, stop);
                    tasks.push(context.child("cursor").spawn(task));
                }
                context.sleep(PAUSE * 2).await; // Until every task has begun.
            }
            let driver = context.child("driver").spawn(|context| drive(context, store, chain));
            let latencies;
            (store, chain, latencies) = driver.await.unwrap();
            if tasks.is_empty() { &mut alone } else { &mut beside }.extend(latencies);
            stop.store(true, Ordering::Relaxed);
            for latencies in join_all(tasks).await {
                resumed.extend(latencies.unwrap());
            }
        }
        for percent in [50, 99] {
            print(&format!("tip_alone/p{percent}"), &mut alone, percent);
            print(&format!("tip_beside_1000_cursors/p{percent}"), &mut beside, percent);
            print(&format!("resume/p{percent}"), &mut resumed, percent);
        }
    });
}
