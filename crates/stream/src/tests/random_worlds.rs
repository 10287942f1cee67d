//! Seeded worlds: a chain that grows and reorgs in the middle of everything, a source and a view
//! that fail at random, and a driver that follows. Every committed event is checked by the view; when
//! the faults stop, the view must stand where the source does within three passes.

use super::{
    chain::Chain,
    follower::{SKIP, from},
    source::{Call, ScriptedSource, World},
    view::Watched,
    words::{tips_words, watermarks_words},
};
use crate::{Driver, Mode, driver};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Block as _, Event, FaultKind, Height, Ladder, Tier, TipSet};

const SEEDS: u64 = 400;
const STEPS: usize = 60;
const START: u64 = 20;

/// What moves the world.
struct Mover {
    rng: StdRng,
    /// Tiers that this chain has.
    has: [bool; 4],
    finalized: u64,
    forks: u8,
    stale: TipSet,
}

impl Mover {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let has = std::array::from_fn(|_| rng.random_bool(0.8));
        Self { rng, has, finalized: 0, forks: 0, stale: TipSet::unknown() }
    }

    /// One step: the chain grows, or is replaced from somewhere above finalized; tiers move.
    fn step(&mut self, world: &mut World) {
        self.stale = world.tips;
        let tip = world.chain.tip();
        let reorged = tip > self.finalized && self.rng.random_bool(0.3);
        if reorged {
            let at = self.rng.random_range(self.finalized + 1..=tip);
            let end = (at - 1 + self.rng.random_range(0..12)).max(self.finalized);
            self.forks = (self.forks + 1) % 26;
            let fork = char::from(b'a' + self.forks);
            world.chain = world.chain.fork(at, fork, end);
        } else {
            let fork = char::from(b'a' + self.forks);
            let end = tip + self.rng.random_range(0..25);
            world.chain = world.chain.fork(tip + 1, fork, end);
        }
        self.move_tiers(world);
    }

    fn move_tiers(&mut self, world: &mut World) {
        let tip = world.chain.tip();
        let final_now = self.rng.random_bool(0.1);
        let mut between = |low: u64, high: u64| self.rng.random_range(low..=high);
        let finalized = if final_now { between(self.finalized, tip) } else { self.finalized };
        let (checkpointed, proven) = match world.ladder {
            Ladder::Rollup => {
                let checkpointed = between(finalized, tip);
                (checkpointed, between(finalized, checkpointed))
            }
            Ladder::Certified => {
                let checkpointed = between(0, finalized);
                (checkpointed, between(0, checkpointed))
            }
        };
        self.finalized = finalized;
        let heights = [tip, checkpointed, proven, finalized];
        let [_, has @ ..] = self.has;
        let mut tips = world.chain.tips_at(heights.map(Some));
        for (tier, has) in Tier::ALL[1..].iter().zip(has) {
            if !has {
                tips.set(*tier, None);
            }
        }
        world.tips = tips;
    }

    /// What happens when a call comes in.
    fn meet(&mut self, world: &mut World, call: &Call) -> Option<FaultKind> {
        if self.rng.random_bool(0.4) {
            self.step(world);
        }
        if *call == Call::Snapshot && self.rng.random_bool(0.1) {
            world.say = Some(self.stale);
        }
        let kinds = [FaultKind::Timeout, FaultKind::Unavailable, FaultKind::Missing];
        self.rng.random_bool(0.12).then(|| kinds[self.rng.random_range(0..kinds.len())])
    }
}

fn mode(seed: u64) -> Mode {
    match seed % 4 {
        0 => Mode::GENESIS,
        1 => Mode::TipsOnly,
        2 => from(START),
        _ => SKIP,
    }
}

fn source(seed: u64) -> ScriptedSource {
    let source = ScriptedSource::new(&Chain::new('a', 0), [0; 4]);
    let mut rng = StdRng::seed_from_u64(seed);
    source.change(|world| {
        world.ladder = if rng.random_bool(0.5) { Ladder::Rollup } else { Ladder::Certified };
        world.digests_max = [1, 2, 5, 64][rng.random_range(0..4)];
        world.blocks_max = rng.random_range(1..=12);
        world.careless = rng.random_bool(0.3);
    });
    let mut mover = Mover::new(seed);
    source.chaos(Some(Box::new(move |world, call| mover.meet(world, call))));
    source
}

/// Runs the world of `seed`.
fn run(seed: u64) -> Happened {
    let config = deterministic::Config::default()
        .with_seed(seed)
        .with_timeout(Some(Duration::from_secs(3600)));
    deterministic::Runner::new(config).start(|context| async move {
        let source = source(seed);
        let ladder = tidewatch_core::Source::ladder(&source);
        let view = Watched::new(Chain::new('a', 0).chain_info(), ladder);
        let mut rng = StdRng::seed_from_u64(seed ^ 0xfeed);
        view.chaos(Some(Box::new(move |changes| {
            rng.random_bool(0.1).then(|| (FaultKind::Consumer, rng.random_range(0..=changes)))
        })));
        let config = driver::Config { mode: mode(seed), ..driver::Config::default() };
        let watched = view.clone();
        let (driver, mailbox) = Driver::new(
            context.child("driver"),
            driver::Parts { source: Arc::new(source.clone()), view, monitor: () },
            config,
        );
        let handle = driver.start();
        let mut happened = Happened::default();
        for _ in 0..STEPS {
            context.sleep(Duration::from_millis(200)).await;
            happened.failed += usize::from(mailbox.sync().await.is_err());
        }
        watched.chaos(None);
        source.chaos(None);
        let mut passes = 0;
        while passes < 3 {
            // A source that went to and fro is followed when it has been on one side for a while.
            match mailbox.sync().await {
                Err(driver::SyncError::Pass(fault)) if fault.kind == FaultKind::Flapping => {}
                _ => passes += 1,
            }
        }
        assert_settled(seed, &source, &watched).await;
        mailbox.stop();
        handle.await.expect("joins").expect("no fault was fatal");
        happened.count(&watched.events());
        happened.audit = context.auditor().state();
        happened
    })
}

async fn assert_settled(seed: u64, source: &ScriptedSource, view: &Watched) {
    let (mut tips, mut chain) = (TipSet::unknown(), Chain::new('a', 0));
    source.change(|world| (tips, chain) = (world.tips, world.chain.clone()));
    let watermarks = view.stands();
    let about =
        format!("seed {seed}: {}, source {}", watermarks_words(&watermarks), tips_words(&tips));
    for tier in Tier::ALL {
        assert!(
            tips.block(tier).is_none_or(|tip| watermarks.tips.block(tier) == Some(tip)),
            "{about}"
        );
    }
    let proposed = tips.block(Tier::Proposed).expect("every chain has a tip");
    match mode(seed) {
        Mode::TipsOnly => assert_eq!(watermarks.delivered, None, "{about}"),
        // Nothing is delivered while the chain is below the start.
        Mode::Blocks { .. } if watermarks.delivered.is_none() => {
            assert!(proposed.height < Height::new(START), "{about}");
        }
        Mode::Blocks { .. } => assert_eq!(watermarks.delivered, Some(proposed), "{about}"),
    }
    for height in 0..=chain.tip() {
        let ours = view.block(height).map(|block| block.reference());
        assert!(ours.is_none_or(|ours| chain.has(ours)), "{about}: {ours:?} is not its block");
    }
}

/// What happened in a world.
#[derive(Default)]
struct Happened {
    audit: String,
    events: usize,
    prunes: usize,
    deepest: u64,
    regressions: usize,
    failed: usize,
}

impl Happened {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.prunes += other.prunes;
        self.deepest = self.deepest.max(other.deepest);
        self.regressions += other.regressions;
        self.failed += other.failed;
    }

    fn count(&mut self, events: &[Event]) {
        self.events = events.len();
        for event in events {
            match event {
                Event::Pruned { depth, .. } => {
                    self.prunes += 1;
                    self.deepest = self.deepest.max(*depth);
                }
                Event::Regressed { .. } => self.regressions += 1,
                Event::Blocks { .. } | Event::Advanced { .. } => {}
            }
        }
    }
}

#[test]
fn every_world_keeps_the_invariants_and_settles_within_three_passes() {
    let mut all = Happened::default();
    for seed in 0..SEEDS {
        all.add(&run(seed));
    }
    // The worlds are as wild as they are meant to be.
    let Happened { events, prunes, deepest, regressions, failed, .. } = all;
    assert!(events > 40_000 && prunes > 2_000 && deepest > 100, "{events} {prunes} {deepest}");
    assert!(regressions > 1_000 && failed > 5_000, "{regressions} {failed}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..8 {
        assert_eq!(run(seed).audit, run(seed).audit, "seed {seed}");
    }
    assert_ne!(run(0).audit, run(4).audit, "the audit sees what happens");
}
