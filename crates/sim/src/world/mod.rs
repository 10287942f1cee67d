//! A world: a chain, upstreams, a machine, a follower and its consumers, drawn from one seed.
//!
//! # Overview
//!
//! ```text
//!  Truth ──▶ Node, Node, Node ──▶ RpcSource | CertifiedSource ──▶ Driver ──▶ Store ──▶ Delivery ──▶ Reader
//!  moves     personalities        Spied                           production Kept on   production  tempers
//!                                                                            a Host
//! ```
//!
//! In some worlds a second follower of the same chain runs beside it, and a consumer goes from the log of one to
//! that of the other.
//!
//! [`Mix::of`] draws the parameters of a world from its seed, and [`run`] runs it: a number of lives of
//! the process, each ended by a crash at an arbitrary point, and a last one in which all faults end after
//! a while. Every port in between is watched (see [`watch`](crate::watch)).
//!
//! # Phases
//!
//! 1. *Safety*: upstreams misbehave, the machine fails, the chain moves. No checker may report a
//!    violation.
//! 2. *Liveness*: faults stop, at least one upstream is healed, the others are healed or dead, and the
//!    chain stops moving. Within [`PASSES`] passes the view and every consumer must converge on the
//!    chain; if not, the report lists what each actor is waiting for.
//! 3. *Wakes*: a doorbell wakes a pass at once; without a doorbell, the poll interval does.
//! 4. *Cost*: in the healed world, the calls and certificates of a quiet pass, a new block, a range of
//!    blocks and a reorg are counted and compared with the budget.
//! 5. *Contradiction*, on some certified chains: the validators finalize a second block where an epoch ended. The
//!    follower says so, and stays where it is.
//! 6. *End*: every actor is stopped; no task and no connection may be left.

mod certified;
mod committees;
mod consumer;
mod elsewhere;
mod ending;
mod endpoint;
mod life;
mod liveness;
mod mix;
mod node;
mod plot;
mod rpc;
mod traveller;

pub use consumer::{Book, Books, Reader, Temper};
pub use endpoint::{Endpoint, Network, Pushes, Traffic, Validators};
pub use mix::{Abroad, Machine, Mix};
pub use node::{Health, Node, Personality};
pub use plot::{Plot, Scene, Withholds};
pub use rpc::RpcSource;

use crate::{
    flaw::Flaw,
    truth::{BEGIN, Truth},
    watch::{Observation, Rules, Violation, Watch},
};
use commonware_runtime::deterministic;
use commonware_utils::{Probability, sync::Mutex};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidewatch_core::Tier;

/// Passes after which a healed world must have converged.
pub const PASSES: usize = 5;

/// Stack of the thread of a world.
const STACK: usize = 16 << 20;

/// Outcome of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Seed of the world.
    pub seed: u64,
    /// The first violation.
    pub violation: Option<Violation>,
    /// State of the runtime's auditor: equal seeds give equal states.
    pub audit: String,
    /// Statistics of the world.
    pub tally: Tally,
}

/// Statistics of one or more worlds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Simulated time.
    pub simulated: Duration,
    /// Blocks created.
    pub blocks: u64,
    /// Depth of the deepest reorg.
    pub deepest: u64,
    /// Lives ended by a crash.
    pub crashes: u64,
    /// Events appended to the history.
    pub events: u64,
    /// Observations checked.
    pub observations: u64,
    /// Calls to the source.
    pub calls: u64,
}

impl Tally {
    /// Adds the statistics of `other`.
    pub fn add(&mut self, other: &Self) {
        self.simulated += other.simulated;
        self.blocks += other.blocks;
        self.deepest = self.deepest.max(other.deepest);
        self.crashes += other.crashes;
        self.events += other.events;
        self.observations += other.observations;
        self.calls += other.calls;
    }
}

/// State that outlives a process: the world, and the observations.
struct World {
    mix: Mix,
    /// What is wrong with a part of the follower.
    flaw: Option<Flaw>,
    truth: Arc<Mutex<Truth>>,
    validators: Arc<Validators>,
    scene: Scene,
    watch: Watch,
    books: Vec<Arc<Mutex<Books>>>,
    /// What the consumer has with it that goes from log to log.
    luggage: Arc<Mutex<traveller::Luggage>>,
    rng: StdRng,
    /// A tier that no upstream knows any more.
    lost: Option<Tier>,
    tally: Tally,
}

/// How a life ended.
enum End {
    /// The process crashed.
    Crashed,
    /// The world ended.
    Over,
}

/// Runs the world of `seed`. With `traced`, every observation is logged.
pub fn run(seed: u64, traced: bool) -> Outcome {
    run_mix(Mix::of(seed), traced)
}

/// Runs the world of `mix`, which may differ from that of its seed.
pub fn run_mix(mix: Mix, traced: bool) -> Outcome {
    run_with(mix, None, traced)
}

/// Runs the world of `seed` with a part of the follower that is wrong.
pub fn run_flawed(seed: u64, flaw: Flaw) -> Outcome {
    run_with(Mix::of(seed), Some(flaw), false)
}

/// Runs a world on a thread of its own: a build that is not optimised polls a commit through the recorders with more
/// stack than the threads of tests have.
fn run_with(mix: Mix, flaw: Option<Flaw>, traced: bool) -> Outcome {
    let run = || run_here(mix, flaw, traced);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        #[expect(clippy::expect_used, reason = "without a thread there is no simulation")]
        let outcome = thread.expect("a thread can be started").join();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_here(mix: Mix, flaw: Option<Flaw>, traced: bool) -> Outcome {
    let seed = mix.seed;
    if traced {
        tracing::info!("{mix:#?}");
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let truth = Truth::new(StdRng::from_rng(&mut rng), mix.ladder, mix.has, mix.young, mix.habits);
    let truth = Arc::new(Mutex::new(truth));
    let watch = Watch::new(rules(&mix), truth.clone(), traced);
    let books = mix.consumers.iter().map(|_| Arc::default()).collect();
    let config = deterministic::Config::new()
        .with_rng(Box::new(StdRng::from_rng(&mut rng)) as deterministic::BoxDynRng)
        .with_start_time(UNIX_EPOCH + BEGIN)
        .with_storage_fault_config(left_by_a_crash(&mix));
    let validators = Arc::new(Validators::new(mix.habits.epoch));
    let tally = Tally::default();
    let (lost, luggage, scene) = (None, Arc::default(), Scene::new(mix.plot));
    let mut world =
        World { mix, flaw, truth, validators, scene, watch, books, luggage, rng, lost, tally };
    let mut runner = deterministic::Runner::new(config);
    let mut life = 0;
    loop {
        life += 1;
        let ((end, lived), checkpoint) =
            runner.start_and_recover(|context| world.live(context, life));
        world = lived;
        let auditor = checkpoint.auditor();
        match end {
            End::Crashed if world.watch.violation().is_none() => {
                world.watch.see(Observation::Crashed);
                world.tally.crashes += 1;
                runner = deterministic::Runner::from(checkpoint);
            }
            _ => return world.outcome(auditor.state()),
        }
    }
}

impl World {
    fn outcome(mut self, audit: String) -> Outcome {
        let truth = self.truth.lock();
        (self.tally.blocks, self.tally.deepest) = (truth.blocks(), truth.deepest());
        drop(truth);
        let asked = self.watch.asked();
        self.tally.calls = asked.snapshots + asked.digests + asked.ranges;
        (self.tally.observations, self.tally.events) = self.watch.counts();
        Outcome { seed: self.mix.seed, violation: self.watch.violation(), audit, tally: self.tally }
    }
}

fn rules(mix: &Mix) -> Rules {
    Rules {
        ladder: mix.ladder,
        blocks: mix.mode != tidewatch_stream::Mode::TipsOnly,
        certified: mix.certified,
        digests_max: mix.digests_max as u64,
        deadline: mix.deadline,
        wait: mix.poll.max(mix.backoff_max),
        thresholds: mix.thresholds,
        steady: mix.machine.jump.rate == 0.0,
    }
}

fn left_by_a_crash(mix: &Mix) -> deterministic::FaultConfig {
    let (kept, in_pieces) = mix.machine.kept;
    let mode = if in_pieces {
        deterministic::PartialWriteMode::Subset
    } else {
        deterministic::PartialWriteMode::Prefix
    };
    let rate = Probability::new((kept * 100.0) as u64, 100);
    rate.map_or_else(deterministic::FaultConfig::default, |rate| {
        tidewatch_testkit::host::crash::faults((mode, rate))
    })
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
