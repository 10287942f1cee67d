//! What it costs a validator to have a follower, or a sentinel, inside: `cargo bench -p tidewatch-tests --bench embedded`;
//! one of them alone with `-- follower` or `-- sentinel`.
//!
//! Runs the devnet with epochs, in turns without anything and with a follower in validator 0, over its marshal,
//! with a durable store and a consumer whose position is durable; then likewise with a sentinel, which verifies every
//! vote that the validator takes, reads its marshal, and judges durably. All validators, the follower and the disk
//! are those of one process on one machine, so each of them takes from the others: a validator of a network
//! has its machine for itself. Both sides begin a new chain in each round, in alternating order.
//!
//! | measured | in words |
//! |---|---|
//! | finalized | time from one finalized height to the next, when the first validator has it |
//! | proposed | time from one block's timestamp to the next one's: the clock of the leaders, in milliseconds |
//!
//! A view that timed out is in both, as a long time. Once blocks are paced, as those of a network are, and
//! once they come as fast as the machine makes them. Prints percentiles of both sides over all rounds, their
//! ratio, and the lowest and highest ratio of a round.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

use commonware_codec::{Decode as _, Encode as _};
use commonware_runtime::{
    Runner as _, Supervisor as _,
    tokio::{Config as Runtime, Context, Runner},
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tidewatch_core::{
    Ack, AnyBlock, AnySource, BlockDecoder, Consumer, Fault, Height, Record, Running, Source as _,
    Tier, Timed as _,
};
use tidewatch_devnet::epochs::{Config as Network, Devnet};
use tidewatch_node::{Attachment, Config, Follower};
use tidewatch_sentinel::{Config as SentinelConfig, Event, Mailbox, Output, Parts, Sentinel};
use tidewatch_sources::alto::{AltoBlock, chain_id};
use tidewatch_store::{Config as StoreConfig, Reader, Store};

const PACED: Duration = Duration::from_millis(100);
const UNPACED: Duration = Duration::from_millis(10);
const EPOCH_LENGTH: u64 = 32;
const ROUNDS: usize = 4;
/// Heights before the measurement begins, and those of it: several epochs.
const WARM_UP: u64 = 16;
const HEIGHTS: u64 = 112;
/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);
const BLOCK_MAX: u32 = 1 << 20;

type Log = Reader<Context, AnyBlock>;

/// Keeps nothing, but its position durably.
struct Sink;

impl Consumer for Sink {
    fn name(&self) -> &str {
        "sink"
    }

    async fn handle(&mut self, _: &[Record]) -> Result<Ack, Fault> {
        Ok(Ack::Durable)
    }
}

/// Times between heights, of one round or of all.
#[derive(Clone, Default)]
struct Times {
    finalized: Vec<Duration>,
    proposed: Vec<Duration>,
}

impl Times {
    fn of(&self, name: &str) -> &[Duration] {
        if name == "finalized" { &self.finalized } else { &self.proposed }
    }

    fn add(&mut self, other: &Self) {
        self.finalized.extend(&other.finalized);
        self.proposed.extend(&other.proposed);
    }
}

/// Follows from inside of a validator.
async fn follow(context: &Context, source: AnySource) -> Follower<Context, Log> {
    let decoder = BlockDecoder::new::<AltoBlock>(AltoBlock::codec(BLOCK_MAX));
    let config = StoreConfig::new(source.chain_info().await.unwrap(), decoder);
    let (view, log) = Store::open(context.child("store"), config).await.unwrap();
    let config = Config {
        source: Arc::new(source),
        view,
        log,
        monitor: (),
        driver: Default::default(),
        supervisor: Default::default(),
    };
    let follower = Follower::start(context.child("follower"), config);
    follower.attach(Attachment::new(Sink));
    follower
}

/// What is inside of the validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    Follower,
    Sentinel,
}

/// Takes events and keeps none.
struct Deaf;

impl Output for Deaf {
    async fn give(&mut self, _: &Event) -> Result<(), Fault> {
        Ok(())
    }
}

/// Watches from inside of a validator.
async fn watch(
    context: &Context,
    devnet: &Devnet,
    block_time: Duration,
) -> (Mailbox, Running, Running) {
    let chain = chain_id(&devnet.public().encode(), devnet.mode());
    let mailbox = Arc::new(OnceLock::<Mailbox>::new());
    let heard = mailbox.clone();
    let hand_in = Box::new(move |observation| {
        if let Some(mailbox) = heard.get() {
            let _ = mailbox.observe(observation); // Never waits.
        }
    });
    let watched = devnet.watched(context.child("listener"), 0, chain.clone(), hand_in).unwrap();
    let slots = NonZeroUsize::new(EPOCH_LENGTH as usize).unwrap();
    let config = SentinelConfig {
        interval: block_time / 4,
        lag: 4,
        patience: 16,
        ahead: 256,
        ..SentinelConfig::new(chain, "sentinel", slots)
    };
    let parts = Parts {
        observer: watched.observer,
        canonical: watched.canonical,
        committees: watched.electorate,
        output: Deaf,
    };
    let (sentinel, judged) =
        Sentinel::open(context.child("sentinel"), parts, config).await.unwrap();
    let _ = mailbox.set(judged.clone());
    (judged, Running::start(sentinel), watched.listener)
}

/// One side of one round.
async fn round(context: Context, block_time: Duration, inside: Inside) -> Times {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let network = Network {
        directory: Some(directory.path().to_owned()),
        epoch_length: EPOCH_LENGTH,
        block_time,
        ..Network::default()
    };
    let devnet = Devnet::start(context.child("devnet"), network).await.unwrap();
    devnet.reach(Height::new(1), LIMIT).await.unwrap();
    let chain = chain_id(&devnet.public().encode(), devnet.mode());
    let source = devnet.inside(0, chain).unwrap();
    let follower = match inside {
        Inside::Follower => Some(follow(&context, source.clone()).await),
        _ => None,
    };
    let sentinel = match inside {
        Inside::Sentinel => Some(watch(&context, &devnet, block_time).await),
        _ => None,
    };

    devnet.reach(Height::new(WARM_UP), LIMIT).await.unwrap();
    let mut times = Times::default();
    let (first, end) = (devnet.tip(), Height::new(WARM_UP + HEIGHTS));
    let (mut tip, mut at) = (first, Instant::now());
    let mut warm = false;
    while tip < end {
        devnet.reach(tip.next(), LIMIT).await.unwrap();
        let (height, now) = (devnet.tip(), Instant::now());
        let heights = u32::try_from(height.get() - tip.get()).unwrap();
        // The first one is measured from the middle.
        if warm {
            times.finalized.extend((0..heights).map(|_| (now - at) / heights));
        }
        (tip, at, warm) = (height, now, true);
    }
    if let Some(follower) = follower {
        follower.heads().reached(Tier::Finalized, end).await.unwrap();
        follower.stop(LIMIT).await.unwrap();
    }
    if let Some((judged, sentinel, listener)) = sentinel {
        // It did its work: most of what was measured was judged.
        let processed = judged.status().await.unwrap().processed.unwrap();
        assert!(processed.get() > HEIGHTS / 2, "judged up to {processed}");
        judged.stop();
        sentinel.await.unwrap();
        listener.stop();
        listener.await.unwrap();
    }

    // This validator may be a little behind the first one.
    let mut tip = source.snapshot().await.unwrap().tips.block(Tier::Finalized).unwrap();
    while tip.height < end {
        devnet.reach(devnet.tip().next(), LIMIT).await.unwrap();
        tip = source.snapshot().await.unwrap().tips.block(Tier::Finalized).unwrap();
    }
    let mut stamps = Vec::new();
    while first.get() + stamps.len() as u64 <= end.get() {
        let from = Height::new(first.get() + stamps.len() as u64);
        for block in source.blocks(tip, from).await.unwrap() {
            let block = AltoBlock::decode_cfg(block.bytes().clone(), &AltoBlock::codec(BLOCK_MAX));
            stamps.push(Duration::from_millis(block.unwrap().time_ms().unwrap()));
        }
    }
    stamps.truncate((end.get() - first.get()) as usize + 1);
    times.proposed.extend(stamps.windows(2).map(|pair| pair[1] - pair[0]));
    devnet.stop().await;
    times
}

/// Each side in a runtime of its own, as in a process of its own.
fn side(block_time: Duration, inside: Inside) -> Times {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = Runtime::new().with_worker_threads(2).with_storage_directory(directory.path());
    Runner::new(config).start(|context| round(context, block_time, inside))
}

fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

fn measure(block_time: Duration, inside: Inside) {
    let mut rounds = Vec::new();
    let mut all = [Times::default(), Times::default()];
    for round in 0..ROUNDS {
        let mut both = [Times::default(), Times::default()];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for with in order {
            both[with] = side(block_time, [Inside::Nothing, inside][with]);
            all[with].add(&both[with]);
        }
        rounds.push(both);
    }
    println!(
        "{inside:?}: a block at most every {block_time:?}, {ROUNDS} rounds of {HEIGHTS} heights"
    );
    println!("{:<16} {:>12} {:>12} {:>7}   rounds", "", "without", "with", "ratio");
    for name in ["finalized", "proposed"] {
        for percent in [50, 99] {
            let at =
                |both: &[Times; 2]| both.each_ref().map(|side| percentile(side.of(name), percent));
            let [without, with] = at(&all);
            let ratios = rounds.iter().map(at).map(|[without, with]| with / without);
            let mut ratios: Vec<_> = ratios.collect();
            ratios.sort_by(f64::total_cmp);
            println!(
                "{:<16} {without:>9.1} ms {with:>9.1} ms {:>7.2}   {:.2} to {:.2}",
                format!("{name} p{percent}"),
                with / without,
                ratios[0],
                ratios[ROUNDS - 1],
            );
        }
    }
}

fn main() {
    let asked: Vec<_> = std::env::args().skip(1).collect();
    for (name, inside) in [("follower", Inside::Follower), ("sentinel", Inside::Sentinel)] {
        let other = ["follower", "sentinel"].iter().any(|other| asked.iter().any(|of| of == other));
        if !other || asked.iter().any(|of| of == name) {
            measure(PACED, inside);
            measure(UNPACED, inside);
        }
    }
}
