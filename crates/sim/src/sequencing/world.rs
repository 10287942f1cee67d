//! A world: a sequencer, a network that misbehaves, callers, and crashes, drawn from one seed.
//!
//! # Phases
//!
//! 1. *Safety*: a number of lives of the process, each ended by a crash in the middle of a write or anywhere else. The
//!    network is silent, late, out of order, doubled, foreign, half open, and starts again without its memory. After
//!    every step every checker looks.
//! 2. *Liveness*: everything is healed. All that was accepted is applied or dropped with a reason, and published.
//! 3. *End*: a stop answers every caller, and ends within its grace.

use super::{
    Habits, Memory, Network,
    guarded::{Guard, Guarded, GuardedNetwork, Mutant},
    ledger::{Ledger, Moment, Objection, objection},
    spied::Board,
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{
    Clock as _, Handle, Spawner as _, Supervisor as _,
    deterministic::{self, PartialWriteMode},
};
use commonware_utils::{Probability, probability, sync::Mutex};
use futures::FutureExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Block as _, ChainId, Digest, Fault, Height, within};
use tidewatch_sequencer::{
    Applier as _, Block, Content, Coordinator, Pool as _, PreblockMonitor, Publisher as _, Sender,
    Transaction,
    coordinator::{Answer, Config, Mailbox, Ports},
    disk::{Chain, DiskPool, Genesis, Limits},
    monitor,
};
use tidewatch_testkit::host::{Host, Odds, Trouble, crash};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Late enough that the clock can be set back.
const BEGIN: Duration = Duration::from_secs(100_000);
/// Everything must be applied within this once everything is healed.
const HEALED: Duration = Duration::from_secs(120);

/// What came of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first objection.
    pub objection: Option<Objection>,
    /// The state of the runtime's auditor: equal seeds give equal states.
    pub audit: String,
    /// What happened.
    pub tally: Tally,
}

/// What happened in one or more worlds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lives that ended in a crash.
    pub crashes: u64,
    /// Blocks of the chain.
    pub blocks: u64,
    /// Transactions that were accepted.
    pub transactions: u64,
    /// Proposals, with each attempt.
    pub proposals: u64,
    /// Requests for a block that were answered.
    pub answers: u64,
    /// Steps after which every checker looked.
    pub steps: u64,
}

impl Tally {
    /// Adds what happened in another.
    pub const fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.blocks += other.blocks;
        self.transactions += other.transactions;
        self.proposals += other.proposals;
        self.answers += other.answers;
        self.steps += other.steps;
    }
}

type Context = deterministic::Context;

/// What outlives the process.
struct World {
    seed: u64,
    rng: StdRng,
    mutant: Option<Mutant>,
    config: Config,
    network: Option<Memory>,
    board: Board,
    ledger: Arc<Mutex<Ledger>>,
    tally: Tally,
}

/// Runs the world of `seed`, with one rule switched off or none.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let lives = rng.random_range(1..4);
    let mode = [PartialWriteMode::Prefix, PartialWriteMode::Subset][rng.random_range(0..2)];
    let kept: [Probability; 3] = [probability!(0.0), probability!(0.5), probability!(1.0)];
    let faults = crash::faults((mode, kept[rng.random_range(0..3)]));
    let interval = rng.random_bool(0.8).then(|| ms(rng.random_range(100..1_500)));
    let config = Config {
        interval,
        block_bytes: rng.random_range(60..2_000),
        patience: ms(rng.random_range(200..2_000)),
        deadline: ms(rng.random_range(100..500)),
        answer_max: ms(rng.random_range(1_000..8_000)),
        retry: ms(100),
        retry_max: ms(2_000),
        ..Config::on_demand()
    };
    let mut world = World {
        seed,
        rng,
        mutant,
        config,
        network: None,
        board: Board::default(),
        ledger: Arc::default(),
        tally: Tally::default(),
    };
    let runtime = deterministic::Config::new().with_seed(seed).with_timeout(None);
    let mut runner = deterministic::Runner::new(runtime);
    let mut objection = None;
    for nth in 0..=lives {
        let (last, faults) = (nth == lives, faults.clone());
        let (ended, checkpoint) = runner.start_and_recover(|context| async move {
            if nth == 0 {
                context.sleep(BEGIN).await;
            }
            *context.storage_fault_config().write() = faults;
            let ended = live(&mut world, &context, last).await;
            (world, ended, context.auditor().state())
        });
        let (back, ended, audit) = ended;
        world = back;
        if let Err(found) = ended {
            objection = Some(found);
        }
        if last || objection.is_some() {
            let ledger = world.ledger.lock();
            world.tally.blocks = ledger.chain.len() as u64;
            world.tally.transactions = ledger.accepted.len() as u64;
            return Outcome { seed, objection, audit, tally: world.tally };
        }
        runner = deterministic::Runner::from(checkpoint);
    }
    unreachable!("the last life ends the world")
}

/// A process.
struct Life {
    context: Context,
    trouble: Trouble,
    network: Network<Context>,
    pool: Arc<DiskPool<Host<Context>>>,
    applier: Arc<Guarded<Chain<Host<Context>>>>,
    mailbox: Mailbox,
    guard: Guard,
    actors: Vec<Handle<Result<(), Fault>>>,
    callers: Vec<Handle<Answer>>,
    board: Board,
    ledger: Arc<Mutex<Ledger>>,
}

impl Life {
    async fn start(world: &mut World, context: &Context) -> Result<Self, Objection> {
        let network = match world.network.take() {
            None => Network::new(context.child("network"), world.seed),
            Some(memory) => Network::remembering(context.child("network"), memory),
        };
        world.network = Some(network.memory());
        let (host, trouble) = Host::new(context.child("host"), world.seed);
        let id = chain_id();
        let genesis = Genesis { chain: id.clone(), digest: Digest([7; 32]), time_ms: 1_000 };
        let opened = async {
            let pool = DiskPool::open(host.child("pool"), "sim", id, Limits::default()).await?;
            Ok::<_, Fault>((pool, Chain::open(host.child("chain"), "sim", genesis).await?))
        };
        let (pool, chain) = match opened.await {
            Ok((pool, chain)) => (Arc::new(pool), Arc::new(chain)),
            Err(fault) => return objection("durable", format!("it does not open: {fault}")),
        };
        let guard = Guard::new(world.mutant);
        let applier = Arc::new(guard.over(chain));
        world.ledger.lock().durable(applier.head().block)?;
        let ordering = GuardedNetwork {
            network: network.clone(),
            applier: applier.clone(),
            guard: guard.clone(),
        };
        let ordering = Arc::new(ordering);
        let ports = Ports {
            pool: Arc::new(guard.over(pool.clone())),
            applier: applier.clone(),
            publisher: Arc::new(world.board.clone()),
            ordering: ordering.clone(),
        };
        let config = world.config.clone();
        let (coordinator, mailbox) = Coordinator::new(host.child("sequencer"), ports, config);
        let settings = monitor::Config {
            deadline: ms(300),
            silence: ms(2_500),
            retry: ms(100),
            retry_max: ms(1_000),
        };
        let at = host.child("monitor");
        let monitor = PreblockMonitor::new(at, ordering, mailbox.clone(), settings);
        let actors = vec![coordinator.start(), monitor.start()];
        let (context, ledger) = (context.child("life"), world.ledger.clone());
        let (callers, board) = (Vec::new(), world.board.clone());
        Ok(Self {
            context,
            trouble,
            network,
            pool,
            applier,
            mailbox,
            guard,
            actors,
            callers,
            board,
            ledger,
        })
    }

    /// Everything that must hold now.
    async fn look(&self) -> Result<(), Objection> {
        // One moment: nothing is awaited in between.
        let (moment, published) = {
            let mut ledger = self.ledger.lock();
            let status = self.mailbox.status().current();
            let told = ledger.told.filter(|told| told.height >= status.head.height);
            ledger.told = told.or(Some(status.head).filter(|head| head.height > Height::zero()));
            let places = ledger.accepted.keys().map(|id| (*id, self.pool.place(id))).collect();
            let moment = Moment {
                head: self.applier.head().block,
                settled: self.pool.settled(),
                stage: status.stage,
                outstanding: self.pool.outstanding(),
                places,
            };
            (moment, self.board.blocks())
        };
        let submissions = self.network.submissions();
        let from = self.ledger.lock().chain.len() as u64 + 1;
        for number in from..=moment.head.height.get() {
            let block = self.applier.block(Height::new(number)).await;
            match block {
                Ok(block) => self.ledger.lock().block(block, &submissions)?,
                Err(fault) => return objection("durable", format!("block {number}: {fault}")),
            }
        }
        let mut ledger = self.ledger.lock();
        if let Some(out_of_order) = self.guard.objections().first() {
            return objection("order", out_of_order.clone());
        }
        if !ledger.chain.starts_with(&published) {
            return objection("published", "what was published is not the chain");
        }
        Ledger::contents(&submissions)?;
        ledger.check(&moment)
    }

    /// Transactions come, of a few senders, on a task of their own.
    fn insert(&self, rng: &mut StdRng) {
        let (pool, ledger) = (self.pool.clone(), self.ledger.clone());
        let sender = Sender([rng.random_range(1..5); 32]);
        let (count, seed) = (rng.random_range(1..6), rng.random::<u64>());
        self.context.child("insert").spawn(move |_| async move {
            let mut rng = StdRng::seed_from_u64(seed);
            let nonce = pool.nonce(&sender);
            let transactions: Vec<_> = (nonce..nonce + count)
                .map(|nonce| {
                    // Some do not open, and some make the chain refuse their block.
                    let first = ["!", "?", "", "", "", "", "", "", "", ""][rng.random_range(0..10)];
                    let payload = Bytes::from(format!("{first}{nonce} {}", rng.random::<u32>()));
                    Transaction { sender, nonce, payload }
                })
                .collect();
            let Ok(answers) = pool.insert(transactions.clone()).await else { return };
            let mut ledger = ledger.lock();
            for (transaction, answer) in transactions.into_iter().zip(answers) {
                if let Ok(id) = answer {
                    ledger.accepted.insert(id, transaction);
                }
            }
        });
    }

    fn asks(&mut self, force: bool) {
        let mailbox = self.mailbox.clone();
        let caller = self.context.child("caller");
        self.callers.push(caller.spawn(move |_| async move { mailbox.produce(force).await }));
    }

    /// Another sequencer has a block fixed over the head, if the network has none there.
    async fn rival(&self, rng: &mut StdRng) {
        let head = self.applier.head();
        rival(&self.network, &self.ledger, &self.pool, head, rng).await;
    }
}

fn chain_id() -> ChainId {
    #[expect(clippy::expect_used, reason = "the name is printable")]
    ChainId::new("sim:sequencer").expect("printable")
}

async fn rival(
    network: &Network<Context>,
    ledger: &Mutex<Ledger>,
    pool: &DiskPool<Host<Context>>,
    head: tidewatch_sequencer::Standing,
    rng: &mut StdRng,
) -> Option<tidewatch_sequencer::Standing> {
    if network.decided(head.block.height.get() + 1).is_some() {
        return None;
    }
    // A process that crashed in the middle of a write gives nothing out any more, and is not waited for.
    let shared = pool.select(500).now_or_never().and_then(Result::ok).unwrap_or_default();
    let mut ledger = ledger.lock();
    let (sender, nonce) = (Sender(rng.random()), 0);
    let payload = Bytes::from(format!("rival {}", rng.random::<u32>()));
    let mut transactions = vec![Transaction { sender, nonce, payload }];
    if rng.random_bool(0.3) && ledger.chain.len() as u64 == head.block.height.get() {
        // Some are sent to both.
        let mut shared: Vec<_> = shared.into_iter().take(2).collect();
        shared.dedup_by_key(|transaction| transaction.sender);
        shared.retain(|it| it.nonce == ledger.nonce(it.sender));
        shared.truncate(1);
        transactions.extend(shared);
    }
    let content = Content { time_ms: head.time_ms + 1, transactions };
    ledger.rivals.insert(content.digest(head.block.height.next(), head.block.digest));
    let block = Block::of(&network.rival(head.block, content));
    let (block, time_ms) = (block.reference(), block.content.time_ms);
    Some(tidewatch_sequencer::Standing { block, time_ms })
}

/// One life of the process; the last one is healed in the end.
async fn live(world: &mut World, context: &Context, last: bool) -> Result<(), Objection> {
    let mut life = Life::start(world, context).await?;
    let habits = draw(&mut world.rng);
    life.network.habits(habits);
    let steps = world.rng.random_range(20..80);
    let end = world.rng.random_bool(0.7).then(|| world.rng.random_range(0..400));
    if let Some(changes) = end.filter(|_| !last) {
        life.trouble.crash_after(changes);
    }
    if world.rng.random_bool(0.3) {
        life.trouble.slow_disk(Odds { rate: 0.2, longest: ms(60) });
    }
    for _ in 0..steps {
        step(&mut life, world).await;
        world.tally.steps += 1;
        let trouble = life.trouble.clone();
        let crashed = select! {
            () = trouble.crashed() => true,
            looked = life.look() => {
                looked?;
                false
            },
        };
        if crashed {
            break;
        }
    }
    world.tally.proposals = life.network.submissions().len() as u64;
    if !last {
        world.tally.crashes += 1;
        away(&life, world).await;
        return Ok(());
    }
    heal(&mut life, world).await?;
    world.tally.proposals = life.network.submissions().len() as u64;
    stop(life, world).await
}

/// What another sequencer did while this one was away.
async fn away(life: &Life, world: &mut World) {
    life.network.hold(false);
    if world.rng.random_bool(0.5) {
        return;
    }
    let head = life.applier.inner.head();
    // What is on its way is fixed first, as it would be.
    if life.network.decided(head.block.height.get() + 1).is_some() {
        return;
    }
    life.actors.iter().for_each(Handle::abort);
    rival(&life.network, &life.ledger, &life.pool, head, &mut world.rng).await;
}

fn draw(rng: &mut StdRng) -> Habits {
    let mut odds = |most: u32| if rng.random_bool(0.4) { rng.random_range(0..most) } else { 0 };
    Habits {
        loses: odds(40),
        forgets: odds(30),
        refuses: odds(30),
        lies: odds(10),
        // A fifth of the key holders is gone, or all of them.
        silent: odds(100),
        delay: ms(u64::from(odds(4_000)) + 20),
        doubles: odds(50),
        foreign: odds(50),
        swaps: odds(50),
        ends: odds(40),
        half_open: odds(30),
        unreachable: odds(40),
    }
}

async fn step(life: &mut Life, world: &mut World) {
    let rng = &mut world.rng;
    match rng.random_range(0..100) {
        0..35 => life.insert(rng),
        35..45 => life.asks(rng.random_bool(0.7)),
        45..50 => life.network.habits(draw(rng)),
        50..54 => life.network.restart(rng.random_bool(0.6)),
        54..57 => life.network.half_open(rng.random_bool(0.5)),
        57..60 => life.network.unreachable(rng.random_bool(0.5)),
        60..62 => life.trouble.jump(rng.random_range(-30_000..30_000)),
        62..65 => life.board.fails(rng.random_range(0..5)),
        65..67 => life.pool.lock(rng.random_bool(0.5)),
        67..70 => life.network.newest_fails(rng.random_bool(0.5)),
        70..73 => life.rival(rng).await,
        _ => {
            let asleep = ms(rng.random_range(1..800));
            life.context.sleep(asleep).await;
        }
    }
    // Everything that was begun gets a moment.
    life.context.sleep(ms(world.rng.random_range(1..20))).await;
}

/// Everybody is well from now on: what was accepted is applied, or dropped with a reason, and published.
async fn heal(life: &mut Life, world: &mut World) -> Result<(), Objection> {
    life.trouble.end();
    life.network.habits(Habits::GOOD);
    life.network.half_open(false);
    life.network.unreachable(false);
    life.network.newest_fails(false);
    // Streams that were silent from their beginning end.
    life.network.close();
    life.pool.lock(false);
    life.board.fails(0);
    let began = life.context.current();
    loop {
        if world.config.interval.is_none() {
            life.asks(true);
        }
        life.context.sleep(ms(500)).await;
        life.look().await?;
        let status = life.mailbox.status().current();
        let idle = life.pool.waiting().current() == 0;
        let published = life.board.published() == life.applier.head().block.height;
        let ledger = life.ledger.lock();
        let open = ledger.open();
        if idle && published && open.is_empty() && !ledger.chain.is_empty() {
            return Ok(());
        }
        let waited = life.context.current().duration_since(began).unwrap_or_default();
        if waited > HEALED {
            let (open, top) = (open.len(), life.network.top());
            let detail = format!("{open} transactions wait in {status:?}, the network is at {top}");
            return objection("liveness", detail);
        }
    }
}

/// Invariant 7: every caller has exactly one answer once it has stopped, within the grace.
async fn stop(life: Life, world: &mut World) -> Result<(), Objection> {
    life.mailbox.stop();
    let Life { context, actors, callers, .. } = life;
    for actor in actors {
        match within(&context, ms(2_000), actor).await {
            Some(Ok(Ok(()))) => {}
            Some(ended) => return objection("stop", format!("{ended:?}")),
            None => return objection("stop", "it does not end"),
        }
    }
    for caller in callers {
        match within(&context, ms(10), caller).await {
            Some(Ok(_)) => world.tally.answers += 1,
            _ => return objection("answers", "a caller has no answer"),
        }
    }
    Ok(())
}
