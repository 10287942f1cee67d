//! What publishing and reading cost, over real servers: run by name, with `--ignored --nocapture`, one at a time.

use crate::{
    rig::{alone, opened, service, three},
    server::{NEWEST, Server},
};
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use commonware_utils::sync::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidewatch_core::{Change, LocalView as _, Running};
use tidewatch_nats::{
    Service, Tail,
    client::JetStream,
    service,
    tail::{self, From, Given},
};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter};
use tidewatch_testkit::chain::{Chain, TestBlock};

const LIMIT: Duration = Duration::from_secs(300);
/// Events of a burst.
const BURST: u64 = 2_000;
/// Events that come at a pace.
const PACED: u64 = 2_000;
const PACE: Duration = Duration::from_millis(10);

/// A log that grows by one event at a time: a block, and no tier.
struct Log {
    writer: MemoryWriter<TestBlock>,
    reader: MemoryReader<TestBlock>,
    chain: Chain,
    height: u64,
}

impl Log {
    fn new() -> Self {
        let chain = Chain::new('a', BURST + 2 * PACED);
        let (writer, reader) = Memory::new(chain.chain_info());
        Self { writer, reader, chain, height: 0 }
    }

    async fn grow(&mut self) {
        self.height += 1;
        let changes = vec![Change::Blocks(self.chain.range(self.height, self.height))];
        self.writer.commit(changes).await.unwrap();
    }
}

fn publish(context: &Context, config: &service::Config, log: &Log) -> Running {
    let (config, log) = (config.clone(), log.reader.clone());
    Running::start(Service::new(context.child("nats"), config, None, log, Arc::new(())))
}

/// Of each block when it was read.
type Seen = Arc<Mutex<Vec<Option<Instant>>>>;

fn read(context: &Context, cluster: JetStream, config: &service::Config) -> Seen {
    let seen = Seen::default();
    let (times, config) = (seen.clone(), tail::Config::new(config.chain.clone()));
    context.child("reader").spawn(move |context| async move {
        let mut tail = Tail::new(context, cluster, Arc::new(()), config, From::Oldest);
        loop {
            let taken = tail.next().await.unwrap();
            let now = Instant::now();
            let delivered = taken.place.cursor.delivered().map_or(0, |block| block.height.get());
            let mut times = times.lock();
            let length = times.len().max(delivered as usize + 1);
            times.resize(length, None);
            if let Given::Event { .. } = taken.given {
                times[delivered as usize].get_or_insert(now);
            }
        }
    });
    seen
}

async fn until(context: &Context, seen: &Seen, height: u64) -> Instant {
    loop {
        if let Some(Some(time)) = seen.lock().get(height as usize) {
            return *time;
        }
        context.sleep(Duration::from_millis(1)).await;
    }
}

fn quantile(sorted: &[Duration], of: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * of) as usize]
}

async fn measured(context: Context, mut servers: Vec<Server>, copies: u32) {
    let config = service(&servers, Chain::new('a', 3).chain_info().id, copies);
    let cluster = opened(&context, &config).await;
    let mut log = Log::new();
    let seen = read(&context, cluster.clone(), &config);
    for _ in 0..BURST {
        log.grow().await;
    }
    let first = publish(&context, &config, &log);
    let began = until(&context, &seen, 1).await;
    let took = until(&context, &seen, BURST).await - began;
    let rate = BURST as f64 / took.as_secs_f64();
    println!("R{copies}: {rate:.0} events a second, each acknowledged before the next and read");

    let mut waits = Vec::new();
    for _ in 0..PACED {
        context.sleep(PACE).await;
        let at = Instant::now();
        log.grow().await;
        waits.push((at, log.height));
    }
    until(&context, &seen, log.height).await;
    let mut waits: Vec<_> = {
        let seen = seen.lock();
        waits.iter().map(|(at, height)| seen[*height as usize].unwrap() - *at).collect()
    };
    waits.sort_unstable();
    println!(
        "R{copies}: from the log's commit to the reader at 100 a second: p50 {:.2?}, p99 {:.2?}",
        quantile(&waits, 0.5),
        quantile(&waits, 0.99),
    );

    // The leader of the publishers ends without a word, and another one takes over.
    let second = publish(&context, &config, &log);
    context.sleep(Duration::from_secs(2)).await;
    first.abort();
    let killed = Instant::now();
    // Its tasks end a moment later: what comes before that it may publish yet.
    context.sleep(Duration::from_millis(200)).await;
    log.grow().await;
    let gap = until(&context, &seen, log.height).await - killed;
    println!("R{copies}: without a publisher for {gap:.1?} after the leader was killed");

    // And the server that leads the stream: nobody says which, so each in turn.
    let mut gaps = Vec::new();
    for server in &mut servers {
        server.kill();
        let killed = Instant::now();
        context.sleep(Duration::from_millis(500)).await;
        if copies == 1 {
            server.restart();
        }
        log.grow().await;
        gaps.push(until(&context, &seen, log.height).await - killed);
        server.restart();
        context.sleep(Duration::from_secs(5)).await;
    }
    println!("R{copies}: servers killed one after the other, events again after {gaps:.1?}");
    second.stop();
    second.await.unwrap();
}

#[test]
#[ignore = "figures: run by name on a quiet machine"]
fn figures_of_one_server() {
    alone(LIMIT, NEWEST, |context, servers| measured(context, servers, 1));
}

#[test]
#[ignore = "figures: run by name on a quiet machine"]
fn figures_of_a_cluster_of_three() {
    three(LIMIT, |context, servers| measured(context, servers, 3));
}
