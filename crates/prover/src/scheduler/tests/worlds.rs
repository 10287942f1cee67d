//! Random worlds, one for each seed: provers with personalities, reorgs, kills, operators; and checkers that know
//! nothing of the scheduler but its mailbox.
//!
//! `PROVER_SEEDS=2000 cargo test -p tidewatch-prover --lib worlds` runs so many, and so many of the worlds of a whole
//! follower (`proven`) and of a session manager (`epochs::manager`).

use super::{scripted::proof, *};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// The chain as it stands, as its parents and its references.
#[derive(Clone)]
struct Blocks(Vec<BlockRef>);

impl Blocks {
    fn at(&self, height: u64) -> BlockRef {
        self.0[height as usize]
    }

    fn tip(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    fn new_block(&self, height: u64) -> NewBlock {
        let block = self.at(height);
        let parent = self.at(height - 1).digest;
        NewBlock { block, parent, inputs: scripted::inputs(parent, block) }
    }
}

/// A prover of some kind.
fn persona(context: &deterministic::Context, name: &str, rng: &mut StdRng) -> Scripted {
    let slots = rng.random_range(1..5);
    let kind = rng.random_range(0..9);
    let mut dice = StdRng::seed_from_u64(rng.random());
    let takes = move |dice: &mut StdRng| Duration::from_millis(dice.random_range(100..40_000));
    let prover = Scripted::new(context, name, slots, move |key, nth| {
        let after = takes(&mut dice);
        let lie = dice.random_bool(0.3);
        match kind {
            0 if lie => Fate::Sits,
            1 if lie => Fate::Returns(after, Bytes::from_static(b"garbage")),
            2 if lie => {
                // The proof of another block.
                let other = plan::tests::key(key.height() + 1, 0).block;
                Fate::Returns(after, proof(PROGRAM, key.block.digest, other))
            }
            3 if lie => Fate::Fails(after, Failure::Unavailable("broke off".into())),
            4 if lie => Fate::Fails(after, Failure::Lost),
            5 if key.height().is_multiple_of(5) && nth == 0 => Fate::Proves(secs(500)),
            6 if lie && nth < 2 => Fate::Fails(after, Failure::Unprovable("a bad day".into())),
            _ => Fate::Proves(after),
        }
    });
    if kind == 7 { prover.has(1) } else { prover }
}

/// What an observer has seen.
struct Observer {
    /// The highest tip that was published and not pruned since.
    published: u64,
    slots: Vec<(Scripted, usize)>,
}

impl Observer {
    /// Everything that must hold now.
    async fn look(&mut self, running: &Running, chain: &Blocks, seed: u64) {
        let Proven { tip, committed, proof, .. } = running.mailbox.proven().current();
        let height = tip.height.get();
        assert!(height <= committed.height.get(), "seed {seed}: proven above committed");
        assert!(committed.height.get() <= chain.tip());
        assert_eq!(tip, chain.at(height), "seed {seed}: the tip is of another chain");
        assert!(height >= self.published, "seed {seed}: {height} after {}", self.published);
        self.published = height;
        assert!(height == 0 || proof.is_some(), "seed {seed}: a tip without a proof");
        for (prover, slots) in &self.slots {
            assert!(prover.peak() <= *slots, "seed {seed}: more than it has run");
        }
        // Below the tip a sample; at the end all of it.
        for below in [height, height.saturating_sub(1), height / 2] {
            self.proven(running, chain, below, seed).await;
        }
    }

    async fn proven(&self, running: &Running, chain: &Blocks, height: u64, seed: u64) {
        if height == 0 {
            return;
        }
        let (parent, block) = (chain.at(height - 1).digest, chain.at(height));
        let kept = running.mailbox.proof(block).await.unwrap();
        let verifies = kept.is_some_and(|kept| Toy.verify(parent, block, &kept).is_ok());
        assert!(verifies, "seed {seed}: no proof of {height} that verifies");
    }
}

fn world(seed: u64) {
    let runtime = deterministic::Config::new().with_seed(seed).with_timeout(Some(secs(40_000)));
    deterministic::Runner::new(runtime).start(|context| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(1..4);
        let names = ["one", "two", "three"];
        let provers: Vec<_> =
            names[..count].iter().map(|name| persona(&context, name, &mut rng)).collect();
        let all: Vec<&Scripted> = provers.iter().collect();
        let config = Config {
            plan: plan::Config {
                attempt_max: secs(120),
                ahead_max: commonware_utils::NZUsize!(12),
                // In some worlds never, in others soon.
                hedge: std::num::NonZeroU32::new(rng.random_range(0..3)),
                ..plan::Config::default()
            },
            ..config()
        };
        let mut running = Running::start(&context, &all, config.clone()).await;
        let mut chain = Blocks(vec![plan::tests::key(0, 0).block]);
        let slots = provers.iter().map(|prover| (prover.clone(), prover.has_slots())).collect();
        let mut observer = Observer { published: 0, slots };
        let mut fork = 0_u8;
        for _ in 0..60 {
            match rng.random_range(0..100) {
                0..45 => {
                    for _ in 0..rng.random_range(1..4) {
                        let height = chain.tip() + 1;
                        chain.0.push(plan::tests::key(height, fork).block);
                        running.mailbox.add(vec![chain.new_block(height)]).await.unwrap();
                    }
                }
                45..53 if chain.tip() > 0 => {
                    let depth = rng.random_range(1..=6.min(chain.tip()));
                    let to = chain.tip() - depth;
                    let old = chain.0.split_off(to as usize + 1);
                    running.mailbox.prune(chain.at(to)).await.unwrap();
                    observer.published = observer.published.min(to);
                    if rng.random_bool(0.3) {
                        chain.0.extend(old);
                    } else {
                        fork += 1;
                        chain.0.extend((1..=depth).map(|n| plan::tests::key(to + n, fork).block));
                    }
                    let new = (to + 1..=chain.tip()).map(|height| chain.new_block(height));
                    running.mailbox.add(new.collect()).await.unwrap();
                }
                53..60 => {
                    // Killed, at whatever it is doing.
                    running.handle.abort();
                    let _ = running.handle.await;
                    running = Running::start(&context, &all, config.clone()).await;
                    let committed = running.status().await.committed.height.get();
                    assert_eq!(committed, chain.tip(), "seed {seed}: what was taken is there");
                }
                60..66 => {
                    let prover = &provers[rng.random_range(0..provers.len())];
                    let health = [Health::Up, Health::Refuses, Health::Silent];
                    prover.health(health[rng.random_range(0..3)]);
                }
                66..70 => provers[rng.random_range(0..provers.len())].restart(),
                70..74 => {
                    let height = Height::new(rng.random_range(0..=chain.tip() + 1));
                    let _ = running.mailbox.requeue(height).await;
                }
                74..78 if chain.tip() > 0 => {
                    let height = rng.random_range(1..=chain.tip());
                    let of = rng.random_range(1..=chain.tip());
                    let made = proof(PROGRAM, chain.at(of - 1).digest, chain.at(of));
                    let taken = running.mailbox.supply(Height::new(height), made).await;
                    assert!(
                        of == height || taken.is_err(),
                        "seed {seed}: a proof of another block"
                    );
                }
                _ => running.sleep(rng.random_range(1..60)).await,
            }
            observer.look(&running, &chain, seed).await;
        }
        // Everybody is well from now on: all of it is proven within a bounded time.
        for prover in &provers {
            prover.health(Health::Up);
            prover.script(|_, _| Fate::Proves(secs(2)));
            prover.restart();
        }
        for _ in 0..60 {
            for job in running.mailbox.jobs(Height::zero(), 1_000).await.unwrap() {
                if job.stage == Stage::Poisoned {
                    let _ = running.mailbox.requeue(job.block.height).await;
                }
            }
            running.sleep(20).await;
        }
        observer.look(&running, &chain, seed).await;
        assert_eq!(running.tip(), chain.tip(), "seed {seed}: {:?}", running.status().await);
        for height in 1..=chain.tip() {
            observer.proven(&running, &chain, height, seed).await;
        }
        running.stop().await;
    });
}

#[test]
fn the_invariants_hold_in_random_worlds() {
    let seeds = std::env::var("PROVER_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    (0..seeds.unwrap_or(40)).for_each(world);
}
