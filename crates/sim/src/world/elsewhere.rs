//! A second follower of the same chain, and a consumer that goes from one log to the other.
//!
//! # Overview
//!
//! ```text
//!  Truth ──▶ RpcSource ──▶ Driver ──▶ Store ──┐ its own mode, retention and ladder, fewer tiers
//!                                             ├──▶ Carried ──▶ Delivery ──▶ Traveller
//!  the follower under test ─────────▶ Store ──┘ in turns
//! ```
//!
//! The second follower has an honest upstream and a machine without faults: what is examined is how a
//! position of one log is taken up by another one.

use super::{
    Node, PASSES, Personality, RpcSource, World,
    life::{Process, STOP, TICK},
    millis,
    mix::Abroad,
    traveller::{Carried, Luggage, Traveller},
};
use crate::watch::Observation;
use commonware_runtime::{Clock, Metrics, Spawner, Supervisor as _, deterministic};
use commonware_storage::Context;
use commonware_utils::{NZU64, NZUsize, sync::Mutex};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use std::sync::Arc;
use tidewatch_core::{ChainInfo, Fault, Monitor, Running, Tier, TipSet, Watermarks};
use tidewatch_node::{Config, Follower, Id, Member, supervisor};
use tidewatch_store::{Reader as LogReader, Store};
use tidewatch_stream::{
    Delivery, FLAPPING_WINDOW, Mode, delivery,
    driver::{self, SyncError},
};
use tidewatch_testkit::{chain::TestBlock, words::watermarks_words};

type There = LogReader<deterministic::Context, TestBlock>;

/// Shows the faults of the second follower where a world is traced.
struct Aloud;

impl Monitor for Aloud {
    fn fault(&self, fault: &Fault) {
        tracing::info!("elsewhere: {fault}");
    }
}

/// Which of the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Here,
    There,
}

/// The second follower, and where the traveller is.
pub(super) struct Elsewhere {
    abroad: Abroad,
    pub(super) follower: Follower<deterministic::Context>,
    store: There,
    luggage: Arc<Mutex<Luggage>>,
    rng: StdRng,
    at: Option<(Side, Id)>,
    trips: u64,
}

impl World {
    /// Starts the second follower, if this world has one.
    pub(super) async fn elsewhere(
        &mut self,
        context: &deterministic::Context,
        chain_info: ChainInfo,
        life: u64,
    ) -> Result<Option<Elsewhere>, Fault> {
        let Some(abroad) = self.mix.abroad.clone() else { return Ok(None) };
        let context = context.child("elsewhere");
        let seed = self.mix.seed ^ (life << 32);
        let honest = (Personality::Honest, 0.0);
        let clock = context.child("node");
        let node = Node::new(usize::MAX >> 1, honest, 0.0, seed, clock, self.truth.clone());
        node.lose(abroad.lacks.iter().copied());
        let (nodes, truth) = (vec![Arc::new(node)], self.truth.clone());
        let source = RpcSource::new(nodes, truth, abroad.ladder, 16, 8);
        let config = tidewatch_store::Config {
            partition: "elsewhere".into(),
            retention: abroad.retention,
            blocks_per_section: NZU64!(8),
            page_cache_pages: NZUsize!(16),
            ..tidewatch_store::Config::new(chain_info, ())
        };
        let (view, store) = Store::open(context.child("store"), config).await?;
        let config = Config {
            source: Arc::new(source),
            view,
            log: (),
            monitor: Aloud,
            driver: driver::Config {
                mode: abroad.mode,
                poll: abroad.poll,
                ..driver::Config::default()
            },
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        let (luggage, rng) = (self.luggage.clone(), StdRng::seed_from_u64(seed));
        Ok(Some(Elsewhere { abroad, follower, store, luggage, rng, at: None, trips: 0 }))
    }

    /// The traveller converges on both logs.
    pub(super) async fn traveller_follows(
        &self,
        context: &deterministic::Context,
        process: &mut Process,
    ) -> bool {
        for _ in 0..2 {
            process.travel(self, context).await;
            self.grow_past_the_traveller(context);
            if let Some(elsewhere) = &process.elsewhere {
                elsewhere.converge(self).await;
            }
            let end = context.current() + STOP;
            while let Some(stands) = process.traveller_is_behind(self).await {
                if context.current() > end || self.ended(process) {
                    let at = process.elsewhere.as_ref().and_then(|elsewhere| elsewhere.at);
                    let side = at.map(|(side, _)| side);
                    let detail = format!("the traveller is at {stands} of the log {side:?}");
                    self.watch.broken("liveness", detail);
                    return false;
                }
                context.sleep(TICK).await;
            }
        }
        self.watch.violation().is_none()
    }
}

impl World {
    /// Whoever comes from further on waits: nothing tells a chain that became shorter from a log that is
    /// behind, until the chain is as long again. On a certified chain genesis is final from the start, which a
    /// node says of no block before it finalized one.
    fn grow_past_the_traveller(&self, context: &deterministic::Context) {
        let stands = self.luggage.lock().stands().head().map_or(0, |head| head.height.get());
        let mut truth = self.truth.lock();
        let (tip, young) =
            (truth.now().chain.tip(), truth.now().tips.get(Tier::Finalized).is_none());
        let until_final =
            if self.mix.certified && young { self.mix.habits.unfinalized_max + 1 } else { 0 };
        let blocks = stands.saturating_sub(tip).max(until_final);
        if blocks > 0 {
            truth.grow(blocks, millis(context.current()));
        }
    }
}

impl Process {
    /// Now and then, the traveller goes to the other log.
    pub(super) async fn may_travel(&mut self, world: &World, context: &deterministic::Context) {
        let goes = match &mut self.elsewhere {
            Some(elsewhere) => elsewhere.at.is_none() || elsewhere.rng.random_bool(0.15),
            None => false,
        };
        if goes {
            self.travel(world, context).await;
        }
    }

    /// The traveller leaves the log where it is, and goes on at the other one.
    async fn travel(&mut self, world: &World, context: &deterministic::Context) {
        let Some(elsewhere) = &mut self.elsewhere else { return };
        let side = match elsewhere.at.take() {
            None if elsewhere.rng.random_bool(0.5) => Side::Here,
            None => Side::There,
            Some((side, id)) => {
                let left = match side {
                    Side::Here => self.follower.detach(id).await,
                    Side::There => elsewhere.follower.detach(id).await,
                };
                if left.is_err() {
                    return; // It has ended, which the report says.
                }
                if side == Side::Here { Side::There } else { Side::Here }
            }
        };
        let member = match side {
            Side::Here => elsewhere.deliver(world, context, &self.store, world.mix.mode),
            Side::There => {
                let (store, mode) = (elsewhere.store.clone(), elsewhere.abroad.mode);
                elsewhere.deliver(world, context, &store, mode)
            }
        };
        let id = match side {
            Side::Here => self.follower.supervise(member),
            Side::There => elsewhere.follower.supervise(member),
        };
        elsewhere.at = Some((side, id));
    }

    /// Where the traveller stands, if its log has not converged on the chain, or it has not on that log.
    async fn traveller_is_behind(&self, world: &World) -> Option<String> {
        let elsewhere = self.elsewhere.as_ref()?;
        let (side, _) = elsewhere.at?;
        let stands = elsewhere.luggage.lock().stands();
        let (log, mode, lacks) = match side {
            Side::Here => (self.store.watermarks(), world.mix.mode, world.lost.as_slice()),
            Side::There => {
                let Abroad { mode, lacks, .. } = &elsewhere.abroad;
                (elsewhere.store.watermarks(), *mode, lacks.as_slice())
            }
        };
        let log = log.unwrap_or_else(|_| Watermarks::none());
        let now = world.truth.lock().now().tips;
        let converged = has_converged(&log, &now, mode, lacks);
        let there = stands.same_blocks(&log);
        (!(converged && there))
            .then(|| format!("{}, not {}", watermarks_words(&stands), watermarks_words(&log)))
    }
}

/// Whether `log` has all of `now` but the tiers that its upstream lacks.
fn has_converged(log: &Watermarks, now: &TipSet, mode: Mode, lacks: &[Tier]) -> bool {
    let known = |tier: &Tier| now.block(*tier).filter(|_| !lacks.contains(tier));
    let announced = Tier::ALL
        .iter()
        .all(|tier| known(tier).is_none_or(|block| log.tips.block(*tier) == Some(block)));
    let delivered = match mode {
        Mode::TipsOnly => true,
        Mode::Blocks { .. } => {
            log.delivered.is_none_or(|head| Some(head) == now.block(Tier::Proposed))
        }
    };
    announced && delivered
}

impl Elsewhere {
    /// A delivery from `log` to the traveller.
    fn deliver<E>(
        &mut self,
        world: &World,
        context: &deterministic::Context,
        log: &LogReader<E, TestBlock>,
        mode: Mode,
    ) -> Member
    where
        E: Context + Clock + Metrics + Spawner + Rng,
    {
        self.trips += 1;
        let (watch, luggage) = (world.watch.clone(), self.luggage.clone());
        let consumer = Traveller::new(luggage.clone(), mode, self.rng.random(), watch.clone());
        let parts = delivery::Parts {
            log: Carried::new(log.clone(), mode, luggage, watch, world.flaw),
            consumer,
            monitor: (),
        };
        let config =
            delivery::Config { batch_max: self.abroad.batch_max, ..delivery::Config::default() };
        let context = context.child("traveller").with_attribute("trip", self.trips);
        let (actor, _) = Delivery::new(context, parts, config);
        Member::optional(Running::start(actor))
    }

    /// Whether its log has what its upstream knows of the chain.
    fn stands(&self, world: &World) -> bool {
        let now = world.truth.lock().now().tips;
        let log = self.store.watermarks().unwrap_or_else(|_| Watermarks::none());
        has_converged(&log, &now, self.abroad.mode, &self.abroad.lacks)
    }

    /// As many passes as it takes. A chain that went to and fro is believed after a while.
    async fn converge(&self, world: &World) {
        for _ in 0..PASSES as u64 + 2 * FLAPPING_WINDOW {
            let passed = self.follower.sync().await;
            if self.stands(world) || matches!(passed, Err(SyncError::Stopped(_))) {
                return;
            }
        }
    }

    /// What ended of the second follower.
    pub(super) fn ended(&self) -> Option<Observation> {
        let report = self.follower.report().current();
        let ended = report.cause.or_else(|| report.rested.into_iter().next())?;
        Some(Observation::Ended { actor: "elsewhere", result: ended.result })
    }
}
