//! Worlds in which several publishers, one cluster and everything that can go wrong meet, each drawn from a seed.
//!
//! Three followers of one chain take in what it has, each at its own pace and in its own portions. Publishers crash and
//! come back, machines are replaced by empty ones, ways to the cluster are cut, slow and lossy, servers go away and forget
//! messages and leases, and their clock jumps by an hour, as those of the publishers do, whose tasks stand still
//! for longer than a lease. Meanwhile a consumer reads, over a way that is no better, and is killed and comes back with the
//! place that it kept.
//!
//! | rule | who objects |
//! |---|---|
//! | no message of an older leader is stored after one of a newer leader | the cluster |
//! | each event leads on from the one before: in order, no hole, none twice, finality never back, whatever was forgotten | the consumer |
//! | a consumer starts again at a record only where what it took last was forgotten, and nowhere where it is already | the consumer |
//! | once all is quiet, the stream ends where every follower stands | the end of the world |

mod cluster;
mod followers;
mod observer;

use crate::{
    Elector, Names, Publisher, PublisherId, Tail,
    elector::{self, Timing},
    publisher,
    tail::{self, From, Given},
};
use cluster::{Double, Link, Servers, Without};
use commonware_runtime::{
    Clock as _, Handle, Runner as _, Spawner as _, Supervisor as _, deterministic,
};
use commonware_utils::sync::Mutex;
use followers::{Machine, Truth};
use observer::Observer;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidewatch_core::Running;
use tidewatch_store::MemoryReader;
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    host::{Host, Odds},
};

const SECOND: Duration = Duration::from_secs(1);
const FOLLOWERS: usize = 3;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(150);
/// How long it may take after that until all agree.
const QUIET: Duration = Duration::from_secs(120);

/// A publisher that runs.
struct Pair([Running; 2]);

impl Pair {
    fn start(
        context: &Host<deterministic::Context>,
        cluster: &Double,
        log: MemoryReader<TestBlock>,
        chain: &Chain,
        (id, timing): (PublisherId, Timing),
    ) -> Self {
        let chain = chain.chain_info().id;
        let config = publisher::Config::new(chain, id.clone());
        let (publisher, standing) =
            Publisher::new(context.child("publisher"), cluster.clone(), log, Arc::new(()), config);
        let config = elector::Config { publisher: id, timing };
        let (elector, leadership) =
            Elector::new(context.child("elector"), cluster.clone(), config, standing);
        Self([Running::start(elector), Running::start(publisher.led(leadership))])
    }

    fn abort(self) {
        self.0.iter().for_each(Running::abort);
    }

    async fn stop(self) {
        for running in self.0.into_iter().rev() {
            running.stop();
            running.await.unwrap();
        }
    }
}

/// What came of a world.
#[derive(Debug, Default)]
struct Report {
    violations: Vec<String>,
    steps: BTreeMap<&'static str, u64>,
    stored: u64,
    refused: u64,
    leaders: usize,
}

type Shared<T> = Arc<Mutex<T>>;

/// Follows the chain at a pace of its own for ever.
fn follows(
    context: &deterministic::Context,
    seed: u64,
    truth: Shared<Truth>,
    mut machine: Machine,
) -> Handle<()> {
    context.child("follower").spawn(move |context| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let late = rng.random_bool(0.3);
        loop {
            let now = {
                let truth = truth.lock();
                (truth.chain.clone(), truth.finalized)
            };
            let first = if late { now.0.tip().saturating_sub(2).max(1) } else { 1 };
            machine.follow(now, rng.random_range(1..20), first).await;
            let pause = Duration::from_millis(rng.random_range(50..1_500));
            context.sleep(pause).await;
        }
    })
}

/// Consumes what there is from the place that was kept on, for ever.
fn consumes(
    context: &deterministic::Context,
    reads: &Double,
    observer: &Shared<Observer>,
    truth: &Shared<Truth>,
) -> Handle<()> {
    let (reads, observer, truth) = (reads.clone(), observer.clone(), truth.clone());
    context.child("consumer").spawn(move |context| async move {
        let kept = observer.lock().place.clone();
        let from = kept.map_or(From::Oldest, |place| From::Place(Box::new(place)));
        let config = tail::Config::new(truth.lock().chain.chain_info().id);
        let mut tail = Tail::new(context, reads.clone(), Arc::new(()), config, from);
        loop {
            match tail.next().await {
                Ok(taken) => {
                    let mut observer = observer.lock();
                    let at = taken.place.sequence;
                    if let Some(place) = &observer.place
                        && taken.given == Given::Restart
                        && reads.servers(|servers| {
                            servers.leads(at) && servers.keeps(place.sequence, place.id.as_str())
                        })
                    {
                        let why =
                            format!("the record at {at} begins elsewhere, and {place:?} is kept");
                        observer.violations.push(why);
                    }
                    observer.take(&taken, &truth.lock().parents);
                }
                Err(fault) => {
                    observer.lock().violations.push(fault.to_string());
                    return;
                }
            }
        }
    })
}

fn world(seed: u64, without: Without) -> Report {
    let runner =
        deterministic::Config::new().with_seed(seed).with_timeout(Some(Duration::from_secs(3_600)));
    deterministic::Runner::new(runner).start(|context| async move {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5EED);
        let replicated = rng.random_bool(0.5);
        let timing = Timing::of(if replicated { 3 } else { 1 });
        let servers = Servers::new(seed, replicated, without, timing.ttl);
        let cluster = Double::new(context.child("cluster"), servers);
        let truth = Arc::new(Mutex::new(Truth::new(seed)));
        let genesis = truth.lock().chain.clone();

        let moving = truth.clone();
        let mut pace = StdRng::seed_from_u64(seed + 1);
        let moves = context.child("chain").spawn(move |context| async move {
            loop {
                context.sleep(Duration::from_millis(pace.random_range(200..2_500))).await;
                moving.lock().step();
            }
        });
        let observer = Arc::new(Mutex::new(Observer::default()));
        let reads = cluster.beside();
        let mut consumer = Some(consumes(&context, &reads, &observer, &truth));

        let mut logs = Vec::new();
        let mut links = Vec::new();
        let mut hosts = Vec::new();
        let mut pairs: Vec<Option<Pair>> = Vec::new();
        let mut ids = 0_u64;
        let mut id = || {
            ids += 1;
            PublisherId::read(format!("p{ids}"))
        };
        for number in 0..FOLLOWERS {
            let machine = Machine::new(&genesis);
            let (log, link) = (machine.reader.clone(), cluster.beside());
            let task = follows(&context, rng.random::<u64>() >> number, truth.clone(), machine);
            let (host, trouble) = Host::new(context.child("host"), seed + number as u64);
            pairs.push(Some(Pair::start(&host, &link, log.clone(), &genesis, (id(), timing))));
            hosts.push((host, trouble));
            logs.push((log, task));
            links.push(link);
        }
        links.push(reads.clone());

        let end = context.current() + TROUBLE;
        let mut away = None;
        while context.current() < end {
            context.sleep(Duration::from_millis(rng.random_range(200..4_000))).await;
            let (who, way) = (rng.random_range(0..FOLLOWERS), rng.random_range(0..=FOLLOWERS));
            match rng.random_range(0..20) {
                0..=2 => {
                    if let Some(pair) = pairs[who].take() {
                        pair.abort();
                    }
                }
                3 => {
                    if let Some(pair) = pairs[who].take() {
                        pair.stop().await;
                    }
                }
                4..=6 if pairs[who].is_none() => {
                    let log = logs[who].0.clone();
                    let identity = (id(), timing);
                    pairs[who] =
                        Some(Pair::start(&hosts[who].0, &links[who], log, &genesis, identity));
                }
                7 => {
                    // Another machine in its place, with nothing.
                    if let Some(pair) = pairs[who].take() {
                        pair.abort();
                    }
                    let machine = Machine::new(&genesis);
                    let log = machine.reader.clone();
                    let seed = rng.random();
                    let task = follows(&context, seed, truth.clone(), machine);
                    std::mem::replace(&mut logs[who], (log, task)).1.abort();
                }
                8 => links[way].link(|link| link.cut = !link.cut),
                9 => links[way].link(|link| link.slow = rng.random_range(0..5_000)),
                10 => links[way].link(|link| link.lost = rng.random_range(0..40)),
                11 => links.iter().for_each(|link| link.link(|link| *link = Link::default())),
                12 => {
                    cluster.servers(|servers| servers.up = false);
                    away = Some(rng.random_range(1..8));
                }
                13 => {
                    let (messages, lease) = (rng.random_range(1..6), rng.random_bool(0.5));
                    cluster.servers(|servers| {
                        servers.forget(messages);
                        if lease {
                            servers.forget_lease(messages);
                        }
                    });
                }
                14 => {
                    let hour = 3_600_000;
                    let skew = [-hour, 0, hour][rng.random_range(0..3)];
                    cluster.servers(|servers| servers.skew = skew);
                }
                15 => hosts[who].1.jump([-3_600_000, 3_600_000][rng.random_range(0..2)]),
                16 => hosts[who].1.starve(Odds { rate: 0.05, longest: 2 * timing.ttl }),
                17 => hosts.iter().for_each(|(_, trouble)| trouble.end()),
                18 => {
                    // The consumer is killed, or comes back.
                    match consumer.take() {
                        Some(running) => running.abort(),
                        None => consumer = Some(consumes(&context, &reads, &observer, &truth)),
                    }
                }
                _ => {}
            }
            if let Some(left) = away {
                away = if left > 1 { Some(left - 1) } else { None };
                let up = away.is_none();
                cluster.servers(|servers| servers.up = up);
            }
        }

        // All is well again, but for the clock that was set.
        moves.abort();
        {
            // Who began late learns of a final block too.
            let mut truth = truth.lock();
            truth.step();
            truth.finalized = truth.chain.tip();
        }
        cluster.servers(|servers| servers.up = true);
        hosts.iter().for_each(|(_, trouble)| trouble.end());
        links.iter().for_each(|link| link.link(|link| *link = Link::default()));
        let running = consumer.take();
        let running = running.unwrap_or_else(|| consumes(&context, &reads, &observer, &truth));
        for who in 0..FOLLOWERS {
            if pairs[who].is_none() {
                let log = logs[who].0.clone();
                pairs[who] =
                    Some(Pair::start(&hosts[who].0, &links[who], log, &genesis, (id(), timing)));
            }
        }
        let agree = || {
            let stands = observer.lock().position();
            let same = |log: &MemoryReader<TestBlock>| {
                let (ours, theirs) = (log.watermarks().unwrap(), stands.unwrap_or_default());
                ours.same_blocks(&theirs)
            };
            let tip = truth.lock().chain.tip();
            let whole = stands
                .and_then(|stands| stands.delivered)
                .is_some_and(|delivered| delivered.height.get() == tip);
            whole && logs.iter().all(|(log, _)| same(log))
        };
        let mut waited = Duration::ZERO;
        while !agree() && waited < QUIET {
            context.sleep(SECOND).await;
            waited += SECOND;
        }
        // And it stays so.
        context.sleep(5 * SECOND).await;
        let mut report = Report::default();
        if !agree() {
            let stands: Vec<_> = logs.iter().map(|(log, _)| log.watermarks().unwrap()).collect();
            let position = observer.lock().position();
            report.violations.push(format!("{waited:?}: {position:?} beside {stands:?}"));
        }
        for pair in pairs.into_iter().flatten() {
            pair.stop().await;
        }
        running.abort();
        logs.into_iter().for_each(|(_, task)| task.abort());
        let mut observer = observer.lock();
        report.violations.append(&mut observer.violations);
        report.steps = std::mem::take(&mut observer.steps);
        cluster.servers(|servers| {
            report.violations.append(&mut servers.violations);
            (report.stored, report.refused) = servers.counts;
            let lead = Names::of(&genesis.chain_info().id).lead();
            report.leaders = servers.stream.iter().filter(|one| one.subject == lead).count();
        });
        report
    })
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let from = std::env::var("NATS_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("NATS_SEEDS").ok().and_then(|count| count.parse().ok());
    match from {
        Some(from) => from..from + count.unwrap_or(1),
        None => 0..count.unwrap_or(default),
    }
}

#[test]
fn several_publishers_write_one_history_whatever_happens() {
    let (mut steps, mut totals) = (BTreeMap::<_, u64>::new(), (0, 0, 0));
    for seed in seeds(40) {
        let report = world(seed, Without::Nothing);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        for (step, count) in report.steps {
            *steps.entry(step).or_default() += count;
        }
        totals.0 += report.stored;
        totals.1 += report.refused;
        totals.2 += report.leaders;
    }
    println!("{totals:?} stored, refused, leaders; the reader: {steps:?}");
    for step in ["begin", "event", "back", "restart"] {
        assert!(steps.contains_key(step), "no world had a {step}: {steps:?}");
    }
}

#[test]
fn without_the_fence_the_checkers_object() {
    let objected = seeds(40).filter(|seed| !world(*seed, Without::Fence).violations.is_empty());
    assert!(objected.count() > 5);
}

#[test]
fn a_world_is_the_same_again() {
    let run = |seed| format!("{:?}", world(seed, Without::Nothing));
    assert_eq!(run(3), run(3));
}
