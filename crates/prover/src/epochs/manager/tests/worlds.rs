//! Random worlds, one for each seed: a chain that grows and is reorged, provers with personalities, a publisher with
//! moods, and kills. What lands is checked by the chain itself: it verifies, follows the proven tip, and is on the
//! chain; in the end every epoch that is complete has landed.
//!
//! `PROVER_SEEDS=2000 cargo test -p tidewatch-prover --lib worlds` runs so many.

use super::*;
use crate::{Failure, scheduler::tests::scripted::Health};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// A prover of some kind.
fn persona(context: &deterministic::Context, rng: &mut StdRng) -> Scripted {
    let (slots, kind) = (rng.random_range(1..5), rng.random_range(0..7));
    let mut dice = StdRng::seed_from_u64(rng.random());
    let prover = Scripted::new(context, "one", slots, move |key, _| {
        let after = Duration::from_millis(dice.random_range(100..20_000));
        let lie = dice.random_bool(0.3);
        match kind {
            0 if lie => Fate::Sits,
            1 if lie => Fate::Returns(after, Bytes::from_static(b"garbage")),
            2 if lie => Fate::Fails(after, Failure::Lost),
            3 if lie => Fate::Fails(after, Failure::Unavailable("broke off".into())),
            4 if lie => Fate::Fails(after, Failure::Unprovable("a bad day".into())),
            5 if key.blocks() == 2 && lie => Fate::Fails(after, Failure::Unprovable("no".into())),
            _ => Fate::Proves(after),
        }
    });
    if kind == 6 { prover.has(1) } else { prover }
}

struct World {
    rollup: Rollup,
    prover: Scripted,
    running: Running,
    config: Config,
    fork: u8,
}

impl World {
    fn checkpoints(&self) -> u64 {
        self.rollup.get(|state| state.checkpoints.len() as u64)
    }

    /// The chain goes on by `count` checkpoints, of the fork that it is on.
    async fn grow(&mut self, count: u64) {
        for _ in 0..count {
            self.rollup.set(|state| {
                let number = state.checkpoints.len() as u64 + 1;
                let mut next = checkpoint(number, self.fork, 1);
                if let Some(below) = state.checkpoints.last() {
                    let (below, below_is) = (below.blocks[1].block, &mut next.blocks[0]);
                    below_is.parent = below.digest;
                    below_is.inputs = scripted::inputs(below.digest, below_is.block);
                } else {
                    next.blocks[0].parent = key(0, 0).block.digest;
                }
                state.checkpoints.push(next);
                state.slot = Some(number);
            });
        }
        let _ = self.running.mailbox.checkpointed(self.checkpoints()).await;
    }

    /// Goes back by `depth` checkpoints, but not below what landed, and on along another fork.
    async fn reorg(&mut self, depth: u64) {
        let to = self.rollup.get(|state| {
            let landed = state.landed.iter().map(|range| range.last).max().unwrap_or_default();
            landed.max(2 * (state.checkpoints.len() as u64).saturating_sub(depth))
        });
        let kept = to.div_ceil(2);
        let gone = self.checkpoints() - kept;
        if gone == 0 {
            return;
        }
        self.fork += 1;
        self.rollup.set(|state| state.checkpoints.truncate(kept as usize));
        // A driver announces it until it was taken.
        while self.running.mailbox.prune(2 * kept).await.is_err() {}
        self.grow(gone).await;
    }

    async fn again(&mut self, context: &deterministic::Context) {
        self.running.handle.abort();
        let _ = (&mut self.running.handle).await;
        self.running =
            Running::start(context, &self.rollup, &self.prover, self.config.clone()).await;
        let _ = self.running.mailbox.checkpointed(self.checkpoints()).await;
    }

    async fn step(&mut self, context: &deterministic::Context, rng: &mut StdRng) {
        match rng.random_range(0..100) {
            0..35 => self.grow(rng.random_range(1..4)).await,
            35..45 => self.reorg(rng.random_range(1..5)).await,
            45..52 => self.again(context).await,
            52..58 => {
                let health = [Health::Up, Health::Refuses, Health::Silent];
                self.prover.health(health[rng.random_range(0..3)]);
            }
            58..62 => self.prover.restart(),
            62..72 => self.rollup.set(|state| {
                let takes = [
                    Takes::Lands,
                    Takes::Lands,
                    Takes::Refuses,
                    Takes::Breaks(true),
                    Takes::Breaks(false),
                    Takes::Hangs,
                ];
                state.takes = takes[rng.random_range(0..takes.len())];
                state.unavailable = rng.random_range(0..5);
                state.after = secs(rng.random_range(0..30));
            }),
            72..78 => {
                let epoch = rng.random_range(0..=self.checkpoints() / 2);
                let _ = self.running.mailbox.start(epoch).await;
            }
            _ => self.running.sleep(rng.random_range(1..60)).await,
        }
        let status = self.running.status().await;
        assert!(status.cursor <= self.checkpoints());
        assert!(status.running <= self.prover.has_slots().max(status.running));
    }
}

fn world(seed: u64) {
    let runtime = deterministic::Config::new().with_seed(seed).with_timeout(Some(secs(40_000)));
    deterministic::Runner::new(runtime).start(|context| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let rollup = Rollup::new(&context, 0);
        let prover = persona(&context, &mut rng);
        let geometry = Geometry { submission_epochs: 1_000, ..GEOMETRY };
        let config = Config { geometry, submit: secs(60), ..config() };
        let running = Running::start(&context, &rollup, &prover, config.clone()).await;
        let mut world = World { rollup, prover, running, config, fork: 0 };
        for _ in 0..60 {
            world.step(&context, &mut rng).await;
        }
        // Everybody is well from now on, and what failed begins anew with the process.
        world.prover.health(Health::Up);
        world.prover.script(|_, _| Fate::Proves(secs(1)));
        world.prover.restart();
        world.rollup.set(|state| {
            (state.takes, state.unavailable, state.after) = (Takes::Lands, 0, secs(1));
        });
        world.again(&context).await;
        let mut wanted = world.checkpoints() / 2 * 4;
        if world.checkpoints().is_multiple_of(2) && wanted > 0 {
            // The last slot is the newest: whether its epoch is over shows with the next.
            world.grow(1).await;
            wanted = world.checkpoints() / 2 * 4;
        }
        for _ in 0..200 {
            let _ = world.running.mailbox.checkpointed(world.checkpoints()).await;
            world.running.sleep(10).await;
            if world.rollup.get(|state| state.proven) >= wanted {
                break;
            }
        }
        let (proven, landed) = (world.rollup.get(|state| state.proven), world.rollup.landed());
        let status = world.running.status().await;
        assert!(proven >= wanted, "seed {seed}: {proven} of {wanted}: {landed:?} {status:?}");
        world.running.stop().await;
    });
}

#[test]
fn every_complete_epoch_lands_in_random_worlds() {
    let seeds = std::env::var("PROVER_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    (0..seeds.unwrap_or(40)).for_each(world);
}
