//! One life of the process.

use super::{
    End, Node, Reader, RpcSource, Temper, World, certified::Upstream, elsewhere::Elsewhere, millis,
    traveller::TRAVELLER,
};
use crate::{
    flaw::{self, Flaw},
    truth::since_begin,
    watch::{Heard, Kept, Observation, Spied, Told},
};
use commonware_macros::select;
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;
use rand::RngExt as _;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tidewatch_core::{ChainInfo, EventLog as _, Fault, FaultKind, LogError, Record, Source};
use tidewatch_node::{Attachment, Config, Follower, Member, supervisor};
use tidewatch_store::{Reader as LogReader, Retention, Store};
use tidewatch_stream::{delivery, driver};
use tidewatch_testkit::{
    chain::TestBlock,
    host::{Host, Odds, Trouble},
};

pub(super) const NAMES: [&str; 3] = ["ada", "bob", "cleo"];

/// How long the world goes on between two looks at it.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How long a disk does not answer that hangs.
const HANG: Duration = Duration::from_secs(60);

/// How long everything may take to end.
pub(super) const STOP: Duration = Duration::from_secs(60);

/// The actor beside a certified source.
pub(super) const UPSTREAM: &str = "upstream";
/// The actor that keeps the epochs of a certified source.
const EPOCHS: &str = "epochs";

pub(super) type Db = LogReader<Host<deterministic::Context>, TestBlock>;

/// What users run, on a machine that fails, with a recorder at every port.
pub(super) type Composed = Follower<Host<deterministic::Context>, flaw::Log<Heard<flaw::Log<Db>>>>;

/// What runs in a life.
pub(super) struct Process {
    pub(super) follower: Composed,
    pub(super) store: Db,
    /// Beside the source of a certified chain.
    pub(super) upstream: Option<Upstream>,
    pub(super) nodes: Vec<Arc<Node<deterministic::Context>>>,
    pub(super) trouble: Trouble,
    pub(super) calm: Arc<AtomicBool>,
    /// The second follower.
    pub(super) elsewhere: Option<Elsewhere>,
}

impl World {
    /// Starts the process and lets it live until it crashes, or, in its last life, to its end.
    pub(super) async fn live(mut self, context: deterministic::Context, life: u32) -> (End, Self) {
        let began = context.current();
        let last = life >= self.mix.lives;
        let (host, trouble) = Host::new(context.child("host"), self.rng.random());
        self.upset(&trouble, last);
        if self.flaw == Some(Flaw::LostSync) {
            trouble.forget_syncs();
        }
        let crash = trouble.clone();
        let end = select! {
            () = crash.crashed() => End::Crashed,
            end = self.lived(&context, host, trouble, (life, last)) => end,
        };
        self.tally.simulated += context.current().duration_since(began).unwrap_or_default();
        (end, self)
    }

    /// What goes wrong with the machine in this life.
    fn upset(&mut self, trouble: &Trouble, last: bool) {
        let machine = self.mix.machine;
        trouble.starve(machine.starve);
        trouble.slow_disk(machine.slow_disk);
        if self.rng.random_bool(machine.hang) {
            trouble.hang_disk_after(self.rng.random_range(0..300), HANG);
        }
        if !last && self.rng.random_bool(machine.crash_at_write) {
            trouble.crash_after(self.rng.random_range(0..3_000));
        }
        if !last && self.rng.random_bool(machine.fail_disk) {
            trouble.fail_disk_after(self.rng.random_range(0..3_000));
        }
    }

    async fn lived(
        &mut self,
        context: &deterministic::Context,
        host: Host<deterministic::Context>,
        trouble: Trouble,
        (life, last): (u32, bool),
    ) -> End {
        let mut process = match self.start(context, host, trouble).await {
            Ok(process) => process,
            // A disk that fails while the store opens: the process ends, and is started again.
            Err(fault) if fault.kind == FaultKind::Disk && !last => return End::Crashed,
            Err(fault) => {
                self.watch.broken("durability", format!("the store does not open: {fault}"));
                return End::Over;
            }
        };
        let chain_info = process.store.chain_info().clone();
        process.elsewhere = match self.elsewhere(context, chain_info, life.into()).await {
            Ok(elsewhere) => elsewhere,
            Err(fault) => {
                self.watch.broken("durability", format!("the other store does not open: {fault}"));
                return End::Over;
            }
        };
        if !self.safety(context, &mut process).await {
            return if last { End::Over } else { End::Crashed };
        }
        if !last || self.watch.violation().is_some() {
            return End::Crashed;
        }
        self.liveness(context, process).await;
        End::Over
    }

    async fn start(
        &mut self,
        context: &deterministic::Context,
        host: Host<deterministic::Context>,
        trouble: Trouble,
    ) -> Result<Process, Fault> {
        let mix = self.mix.clone();
        let chain_info = self.truth.lock().now().chain.chain_info();
        let restless = mix.hostility * 0.3;
        let nodes: Vec<_> = (0..mix.nodes.len())
            .map(|nth| {
                let clock = context.child("node").with_attribute("nth", nth);
                let (who, seed) = (mix.nodes[nth], self.rng.random());
                let node = Node::new(nth, who, restless, seed, clock, self.truth.clone());
                node.lose(self.lost);
                Arc::new(node)
            })
            .collect();
        if mix.certified {
            let certified = self.certified(&host, &nodes, self.told(context)).await;
            let (source, upstream, running) = certified?;
            let started = self.compose(context, host, trouble, source, chain_info, nodes).await;
            return started.map(|process| {
                for actor in running {
                    process.follower.supervise(Member::critical(actor));
                }
                Process { upstream: Some(upstream), ..process }
            });
        }
        let (ladder, truth) = (mix.ladder, self.truth.clone());
        let source = RpcSource::new(nodes.clone(), truth, ladder, mix.digests_max, mix.blocks_max);
        self.compose(context, host, trouble, Arc::new(source), chain_info, nodes).await
    }

    /// Writes down what the follower says of itself.
    fn told(&self, context: &deterministic::Context) -> Told {
        let clock = context.child("monitor");
        Told::new(self.watch.clone(), move || since_begin(clock.current()))
    }

    async fn compose<S: Source<Block = TestBlock>>(
        &mut self,
        context: &deterministic::Context,
        host: Host<deterministic::Context>,
        trouble: Trouble,
        source: Arc<S>,
        chain_info: ChainInfo,
        nodes: Vec<Arc<Node<deterministic::Context>>>,
    ) -> Result<Process, Fault> {
        let config = tidewatch_store::Config {
            retention: Retention::events(
                NonZeroU64::new(self.mix.retention).unwrap_or(NonZeroU64::MIN),
            ),
            page_cache_pages: NZUsize!(16),
            ..tidewatch_store::Config::new(chain_info, ())
        };
        let (view, store) = Store::open(host.child("store"), config).await?;
        let (watermarks, records) = (store.watermarks()?, everything(&store).await?);
        let next = records.last().map_or(0, |last| last.cursor.handled());
        self.watch.see(Observation::Clock(since_begin(context.current())));
        self.watch.see(Observation::Opened { watermarks, records });

        let (above, below) = (self.flaw.and_then(Flaw::above), self.flaw.and_then(Flaw::below));
        let chain = store.chain_info().id.clone();
        let flawed = |flaw| flaw::Log::new(store.clone(), chain.clone(), flaw);
        let positions = below.filter(|flaw| *flaw == Flaw::PositionInMemory);
        let log = Heard::new(flawed(positions), self.watch.clone());
        let spied = Arc::new(Spied::new(source, context.child("spy"), self.watch.clone()));
        let kept = flaw::View::new(view, below);
        let kept = Kept::new(kept, flawed(below), self.watch.clone(), next);
        let config = Config {
            source: Arc::new(flaw::Source::new(
                spied,
                host.child("flaw"),
                context.child("flaw"),
                above,
            )),
            view: flaw::View::new(kept, above),
            log: flaw::Log::new(log, chain, above),
            monitor: flaw::Voice(self.told(context), above),
            driver: driver::Config {
                mode: self.mix.mode,
                poll: self.mix.poll,
                backoff_max: self.mix.backoff_max,
                deadline: self.mix.deadline,
                thresholds: self.mix.thresholds,
                ..driver::Config::default()
            },
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(host.child("follower"), config);
        let calm = Arc::new(AtomicBool::new(false));
        for (nth, temper) in self.mix.consumers.clone().into_iter().enumerate() {
            self.attach(context, &follower, (nth, temper), &calm);
        }
        Ok(Process { follower, store, upstream: None, nodes, trouble, calm, elsewhere: None })
    }

    fn attach(
        &mut self,
        context: &deterministic::Context,
        follower: &Composed,
        (nth, temper): (usize, Temper),
        calm: &Arc<AtomicBool>,
    ) {
        let name = NAMES[nth];
        let clock = context.child("consumer").with_attribute("nth", nth);
        let books = self.books[nth].clone();
        let reader = Reader::new(
            (name, temper),
            books,
            calm.clone(),
            self.rng.random(),
            clock,
            self.watch.clone(),
        );
        let config = delivery::Config {
            batch_max: NonZeroUsize::new(self.mix.batch_max).unwrap_or(NonZeroUsize::MIN),
            ..delivery::Config::default()
        };
        let reader = flaw::Taker(reader, self.flaw);
        follower.attach(Attachment { config, ..Attachment::new(reader) });
    }

    /// Everything goes wrong that the mix holds. False where the process ended.
    async fn safety(&mut self, context: &deterministic::Context, process: &mut Process) -> bool {
        let life = self.mix.life.mul_f64(self.rng.random_range(0.1..1.0));
        let end = context.current() + life;
        while context.current() < end {
            context.sleep(TICK.mul_f64(self.rng.random_range(0.1..2.0))).await;
            self.look(context, process);
            if self.watch.violation().is_some() || self.ended(process) {
                return false;
            }
            self.stir(context, process);
            process.may_travel(self, context).await;
        }
        true
    }

    /// What can be seen at any time.
    pub(super) fn look(&self, context: &deterministic::Context, process: &Process) {
        self.watch.see(Observation::Clock(since_begin(context.current())));
        if let Some(upstream) = &process.upstream {
            self.watch.see(Observation::Certificates(upstream.certificates()));
        }
    }

    /// One thing happens in the world.
    fn stir(&mut self, context: &deterministic::Context, process: &Process) {
        let Odds { rate, longest } = self.mix.machine.jump;
        if rate > 0.0 && self.rng.random_bool(rate) {
            let far = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
            process.trouble.jump(self.rng.random_range(-far..=far));
        }
        if self.rng.random_bool(0.5) {
            let (how, rings) = {
                let mut truth = self.truth.lock();
                let how = truth.step(millis(context.current()));
                (how, self.mix.rings > 0.0 && self.rng.random_bool(self.mix.rings))
            };
            self.watch.see(Observation::Moved(how));
            if rings {
                self.truth.lock().ring();
            }
        }
        if self.rng.random_bool(0.05) {
            process.follower.mailbox().ring();
        }
        if self.mix.loses != self.lost && self.rng.random_bool(0.05) {
            self.lost = self.mix.loses;
            process.nodes.iter().for_each(|node| node.lose(self.lost));
        }
    }

    /// Whether an actor has ended. A disk that fails ends them; the process is started again.
    pub(super) fn ended(&self, process: &Process) -> bool {
        if let Some(ended) = process.elsewhere.as_ref().and_then(Elsewhere::ended) {
            self.watch.see(ended);
            return true;
        }
        let report = process.follower.report().current();
        let Some(ended) = report.cause.or_else(|| report.rested.into_iter().next()) else {
            return false;
        };
        let mut names = NAMES.into_iter().chain([TRAVELLER]);
        let reader = names.find(|name| ended.actor == format!("consumer {name}"));
        let beside = [UPSTREAM, EPOCHS].into_iter().find(|actor| ended.actor == *actor);
        let actor = reader.or(beside).unwrap_or("driver");
        self.watch.see(Observation::Ended { actor, result: ended.result });
        true
    }
}

/// Every event that can be read.
async fn everything(store: &Db) -> Result<Vec<Record>, Fault> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = 0;
    loop {
        match store.read(next, NZUsize!(1_024)).await {
            Ok(more) if more.is_empty() => return Ok(records),
            Ok(more) => {
                next = more.last().map_or(next, |last| last.cursor.handled());
                records.extend(more);
            }
            Err(LogError::TooOld { oldest, .. }) => next = oldest,
            Err(LogError::Fault(fault)) => return Err(fault),
        }
    }
}
