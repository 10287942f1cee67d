//! The proven tier, from the source to the consumers of a follower.

use super::*;
use crate::{
    Key, Prover, Scheduler,
    disk::{self, Subject},
    plan::tests::PROGRAM,
    scheduler::{
        self, Parts,
        tests::scripted::{Fate, Scripted, Toy, inputs, proves_in, sits},
    },
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Ack, Block as _, BlockRef, Cause, Consumer, Event, EventLog as _, Fault, Height, Record,
    Source as _, Tier,
};
use tidewatch_node::{Attachment, Config, Follower};
use tidewatch_store::{Memory, MemoryReader};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::{Kind, ScriptedSource},
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Everything that a consumer was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Consumer for Told {
    fn name(&self) -> &str {
        "told"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.0.lock().extend(records.iter().map(|record| record.event));
        Ok(Ack::Durable)
    }
}

impl Told {
    /// Where proven stood, one after the other, and where it was pruned to.
    fn proven(&self) -> Vec<BlockRef> {
        let events = self.0.lock();
        let proven = events.iter().filter_map(|event| match event {
            Event::Advanced { tier: Tier::Proven, tip } => Some(tip.block),
            Event::Regressed { tier: Tier::Proven, .. } => panic!("proven went back"),
            Event::Pruned { tips, .. } => tips.block(Tier::Proven),
            _ => None,
        });
        proven.collect()
    }
}

/// A follower that proves what it follows.
struct World {
    context: deterministic::Context,
    source: ScriptedSource,
    follower: Follower<deterministic::Context, MemoryReader<TestBlock>>,
    scheduler: scheduler::Mailbox,
    told: Told,
}

impl World {
    async fn new(
        context: &deterministic::Context,
        chain: &Chain,
        tips: [u64; 4],
        prover: &Scripted,
    ) -> Self {
        let chain_info = chain.chain_info();
        let start = chain_info.genesis;
        let subject = Subject { chain: chain_info.id.clone(), program: PROGRAM, start };
        let provers = vec![Arc::new(prover.clone()) as Arc<dyn Prover>];
        let parts = Parts { program: Arc::new(Toy), provers, subject };
        let config = scheduler::Config::new(disk::Config::new("prover"));
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduling, scheduler) = opened.unwrap();
        let source = ScriptedSource::new(chain, tips);
        let overlay = ProvenOverlay::new(source.clone(), scheduler.proven());
        let (view, log) = Memory::new(chain_info);
        let config = Config {
            source: Arc::new(overlay),
            view,
            log: log.clone(),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        let running = tidewatch_core::Running::start(scheduling);
        follower.supervise(tidewatch_node::supervisor::Member::critical(running));
        let told = Told::default();
        follower.attach(Attachment::new(told.clone()));
        let of = |block: &TestBlock| Ok(inputs(block.parent(), block.reference()));
        let of: fn(&TestBlock) -> Result<Bytes, Fault> = of;
        follower.attach(Attachment::new(Feed::new(log, scheduler.clone(), of)));
        Self { context: context.child("test"), source, follower, scheduler, told }
    }

    async fn sleep(&self, seconds: u64) {
        self.context.sleep(secs(seconds)).await;
    }

    fn proven(&self) -> Option<u64> {
        let head = self.follower.heads().current();
        let proven = head.block(Tier::Proven);
        assert!(proven.map(|block| block.height) <= head.delivered().map(|block| block.height));
        proven.map(|block| block.height.get())
    }
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(secs(7_200)).start(test)
}

/// A follower of a chain of 40 blocks, from a source that stands at `tips`, with a prover of so many slots that does as
/// `script` says.
fn prove(
    tips: [u64; 4],
    slots: usize,
    script: impl FnMut(&Key, usize) -> Fate + Send + 'static,
    test: impl AsyncFnOnce(&World, &Chain, &Scripted),
) {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        let prover = Scripted::new(&context, "prover", slots, script);
        let world = World::new(&context, &chain, tips, &prover).await;
        test(&world, &chain, &prover).await;
        world.follower.stop(secs(5)).await.unwrap();
    });
}

#[test]
fn what_is_proven_here_is_a_tier_like_any_other() {
    prove([20, 20, 0, 0], 4, proves_in(5), async |world, chain, _| {
        world.sleep(12).await;
        let half = world.proven().unwrap();
        assert!((1..20).contains(&half), "{half}");
        world.source.stand(chain, [40, 40, 0, 0]);
        world.sleep(120).await;
        assert_eq!(world.proven(), Some(40));
        let proven: Vec<u64> = world.told.proven().iter().map(|block| block.height.get()).collect();
        assert!(proven.is_sorted(), "{proven:?}");
    });
}

/// PS-17.
#[test]
fn proven_does_not_pass_the_tier_above_it() {
    prove([20, 10, 0, 0], 8, proves_in(1), async |world, chain, _| {
        world.sleep(60).await;
        assert_eq!(world.scheduler.proven().current().tip, chain.at(20));
        assert_eq!(world.proven(), Some(10), "checkpointed");
        world.source.stand(chain, [20, 15, 0, 0]);
        world.sleep(5).await;
        assert_eq!(world.proven(), Some(15));
    });
}

#[test]
fn a_reorg_takes_proven_back_with_its_prune_and_the_new_chain_is_proven() {
    prove([20, 20, 0, 0], 8, proves_in(5), async |world, chain, prover| {
        let fork = chain.fork(12, 'b', 25);
        world.sleep(60).await;
        assert_eq!(world.proven(), Some(20));
        world.source.stand(&fork, [25, 25, 0, 0]);
        world.sleep(90).await;
        assert_eq!(world.follower.heads().current().block(Tier::Proven), Some(fork.at(25)));
        let back = world.told.proven();
        assert!(
            back.windows(2)
                .all(|pair| { pair[0].height <= pair[1].height || pair[1] == chain.at(11) })
        );
        world.source.stand(chain, [20, 20, 0, 0]);
        let before = prover.submitted().len();
        world.sleep(60).await;
        assert_eq!(world.follower.heads().current().block(Tier::Proven), Some(chain.at(20)));
        assert_eq!(prover.submitted().len(), before, "proofs of blocks that come back are kept");
    });
}

#[test]
fn a_quiet_pass_costs_no_call_more_than_without_a_proven_tier() {
    prove([5, 5, 0, 0], 8, proves_in(1), async |world, _, _| {
        world.sleep(30).await;
        assert_eq!(world.proven(), Some(5));
        let (digests, snapshots) =
            (world.source.count(Kind::Digests), world.source.count(Kind::Snapshot));
        world.sleep(30).await;
        assert!(world.source.count(Kind::Snapshot) > snapshots);
        assert_eq!(world.source.count(Kind::Digests), digests);
    });
}

#[test]
fn a_prover_that_begins_anew_does_not_take_the_tier_back() {
    prove([20, 20, 0, 0], 8, sits, async |world, chain, _| {
        world.sleep(5).await;
        let overlay = ProvenOverlay::new(world.source.clone(), world.scheduler.proven());
        let mut watermarks = world.follower.heads().current().watermarks;
        watermarks.tips.set(Tier::Proven, Some(chain.at(9).into()));
        overlay.durable(&watermarks);
        assert_eq!(overlay.snapshot().await.unwrap().tips.block(Tier::Proven), None);
        // On another chain it may: the prune takes the tier back by itself.
        watermarks.tips.set(Tier::Proven, Some(Chain::new('a', 1).fork(1, 'z', 9).at(9).into()));
        overlay.durable(&watermarks);
        let genesis = overlay.snapshot().await.unwrap().tips.block(Tier::Proven);
        assert_eq!(genesis, Some(chain.at(0)));
    });
}

/// PS-29: a directory of a prover beside a store that was begun anew, on a chain that went another way meanwhile.
#[test]
fn a_feed_whose_log_was_begun_anew_forgets_what_is_not_on_the_chain() {
    simulate(|context| async move {
        let chain = Chain::new('a', 20);
        let fork = chain.fork(15, 'b', 25);
        let prover = Scripted::new(&context, "ten", 8, |key, _| match key.height() {
            11.. => Fate::Sits,
            _ => Fate::Proves(secs(1)),
        });
        let world = World::new(&context, &chain, [20, 20, 0, 0], &prover).await;
        world.sleep(30).await;
        assert_eq!(world.proven(), Some(10));
        world.follower.stop(secs(5)).await.unwrap();
        prover.script(|_, _| Fate::Proves(secs(1)));
        prover.restart();
        let world = World::new(&context, &fork, [25, 25, 0, 0], &prover).await;
        assert_eq!(world.scheduler.proven().current().committed, chain.at(20));
        world.sleep(60).await;
        assert_eq!(world.follower.heads().current().block(Tier::Proven), Some(fork.at(25)));
        world.follower.stop(secs(5)).await.unwrap();
    });
}

#[test]
fn a_stall_is_the_cause_in_the_followers_status_until_proving_goes_on() {
    let script = |key: &Key, _| match key.height() {
        4 => Fate::Fails(secs(1), crate::Failure::Unprovable("no".into())),
        _ => Fate::Proves(secs(1)),
    };
    prove([6, 6, 0, 0], 8, script, async |world, _, prover| {
        let cause = || world.follower.heads().current().status.cause;
        world.sleep(2).await;
        assert_eq!(cause(), None);
        world.sleep(60).await;
        assert_eq!((world.proven(), cause()), (Some(3), Some(Cause::ProvingStalled)));
        assert!(world.scheduler.proven().current().stalled);
        prover.script(|_, _| Fate::Proves(secs(1)));
        world.scheduler.requeue(Height::new(4)).await.unwrap();
        world.sleep(10).await;
        assert_eq!((world.proven(), cause()), (Some(6), None));
    });
}

/// PS-65: what comes out of sequence is read from the archive, from the highest block that there is on.
#[test]
fn a_feed_that_is_told_of_a_block_too_early_goes_on_from_the_one_that_it_lacks() {
    prove([8, 8, 0, 0], 8, sits, async |world, chain, _| {
        world.sleep(10).await;
        // A scheduler of its own, which is told of 6, and then of 8.
        let chain_info = chain.chain_info();
        let start = chain_info.genesis;
        let subject = Subject { chain: chain_info.id, program: PROGRAM, start };
        let honest = Scripted::honest(&world.context, 8, 1);
        let provers = vec![Arc::new(honest.clone()) as Arc<dyn Prover>];
        let parts = Parts { program: Arc::new(Toy), provers, subject };
        let config = scheduler::Config::new(disk::Config::new("other"));
        let opened = Scheduler::open(world.context.child("other"), parts, config).await;
        let (scheduling, mailbox) = opened.unwrap();
        let handle = scheduling.start();
        let new = |height| scheduler::NewBlock {
            block: chain.at(height),
            parent: chain.at(height - 1).digest,
            inputs: inputs(chain.at(height - 1).digest, chain.at(height)),
        };
        mailbox.add((1..=6).map(new).collect()).await.unwrap();
        assert!(mailbox.add(vec![new(8)]).await.is_err(), "not by itself");
        assert_eq!(mailbox.proven().current().committed, chain.at(6));
        let of = |block: &TestBlock| Ok(inputs(block.parent(), block.reference()));
        let mut feed = Feed::new(world.follower.log().clone(), mailbox.clone(), of);
        let (from, to) = (chain.at(8), chain.at(8));
        let mut record = world.follower.log().read(0, NZUsize!(1)).await.unwrap()[0].clone();
        record.event = Event::Blocks { from, to };
        feed.handle(&[record]).await.unwrap();
        assert_eq!(mailbox.proven().current().committed, chain.at(8));
        world.sleep(30).await;
        assert_eq!(mailbox.proven().current().tip, chain.at(8));
        assert_eq!(honest.submitted().len(), 8);
        mailbox.stop();
        handle.await.unwrap().unwrap();
    });
}

/// Takes its time for each batch.
struct Slow(deterministic::Context, Told);

impl Consumer for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.0.sleep(secs(500)).await;
        self.1.handle(records).await
    }
}

/// PS-64, in this process: who stalls is given every move from the log, in order. Those who are served over HTTP are in
/// `crates/serve`.
#[test]
fn a_consumer_that_stalls_is_told_of_every_move_of_the_proven_tier() {
    prove([40, 40, 0, 0], 2, proves_in(20), async |world, _, _| {
        let slow = Slow(world.context.child("slow"), Told::default());
        let told = slow.1.clone();
        world.follower.attach(Attachment::new(slow));
        world.sleep(600).await;
        assert_eq!(world.proven(), Some(40));
        assert!(told.proven().len() < world.told.proven().len(), "it lags");
        world.sleep(5_000).await;
        assert_eq!(told.proven(), world.told.proven());
    });
}

/// PS-62.
#[test]
fn a_range_says_how_far_its_finality_is() {
    let script = |key: &Key, _| match key.height() {
        13.. => Fate::Sits,
        _ => Fate::Proves(secs(1)),
    };
    prove([20, 20, 0, 0], 8, script, async |world, chain, _| {
        world.sleep(60).await;
        let (log, head) = (world.follower.log(), world.follower.heads().current());
        let ask = async |from: u64, finality| {
            range(log, &head, chain.at(from), finality, NZUsize!(100)).await
        };
        let committed = ask(10, Finality::Committed).await.unwrap();
        assert_eq!((committed.tip, committed.blocks), (chain.at(20), chain.range(10, 20)));
        let proven = ask(10, Finality::Proven).await.unwrap();
        assert_eq!((proven.tip, proven.blocks), (chain.at(12), chain.range(10, 12)));
        assert_eq!(proven.tips, head.watermarks.tips);
        let error = ask(15, Finality::Proven).await.unwrap_err();
        let tip = Some(chain.at(12));
        let not_yet = NotAnswered::NotYet { from: chain.at(15), finality: Finality::Proven, tip };
        assert_eq!(error, not_yet);
        assert!(error.to_string().contains("is proven yet, which is at 12:"), "{error}");
        let other = chain.fork(3, 'b', 20).at(9);
        let error = range(log, &head, other, Finality::Committed, NZUsize!(9)).await.unwrap_err();
        assert!(matches!(error, NotAnswered::Archive(_)), "{error}");
        assert_eq!(other.height, Height::new(9));
    });
}

/// Whatever the source does, proven is at most what is delivered, goes back with a prune alone, and is at the tip
/// once the source stands still.
#[test]
fn proven_holds_in_random_worlds_of_reorgs() {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
    let seeds = std::env::var("PROVER_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(30) {
        let runtime = deterministic::Config::new().with_seed(seed).with_timeout(Some(secs(40_000)));
        deterministic::Runner::new(runtime).start(|context| async move {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut dice = StdRng::seed_from_u64(seed + 1);
            let prover =
                Scripted::new(&context, "prover", 4, move |_, _| match dice.random_range(0..10) {
                    0 => Fate::Returns(secs(1), Bytes::from_static(b"garbage")),
                    1 => Fate::Sits,
                    _ => Fate::Proves(Duration::from_millis(dice.random_range(100..20_000))),
                });
            let mut chain = Chain::new('a', 400);
            let (mut tip, mut finalized, mut fork) = (5_u64, 0_u64, b'a');
            let world = World::new(&context, &chain, [tip, tip, 0, 0], &prover).await;
            for _ in 0..40 {
                match rng.random_range(0..10) {
                    0..5 => tip += rng.random_range(1..5),
                    5 | 6 if tip > finalized + 1 => {
                        let at = rng.random_range(finalized + 1..=tip);
                        fork = if fork == b'z' { b'b' } else { fork + 1 };
                        tip = at + rng.random_range(0..8);
                        chain = chain.fork(at, char::from(fork), 400);
                    }
                    7 => {
                        // Finalized is at most what is proven, on this ladder.
                        let proven = world.proven().unwrap_or_default().min(tip);
                        let head = world.follower.heads().current();
                        let on = head.block(Tier::Proven).is_some_and(|block| chain.has(block));
                        if on && proven > finalized {
                            finalized = proven;
                        }
                    }
                    _ => {}
                }
                world.source.stand(&chain, [tip, tip, 0, finalized]);
                world.sleep(rng.random_range(1..40)).await;
                world.proven();
                world.told.proven();
            }
            prover.script(|_, _| Fate::Proves(secs(1)));
            prover.restart();
            for _ in 0..30 {
                for job in world.scheduler.jobs(Height::zero(), 1_000).await.unwrap() {
                    if job.stage == crate::plan::Stage::Poisoned {
                        let _ = world.scheduler.requeue(job.block.height).await;
                    }
                }
                world.sleep(60).await;
            }
            let proven = world.follower.heads().current().block(Tier::Proven);
            assert_eq!(proven, Some(chain.at(tip)), "seed {seed}");
            let back = world.told.proven();
            assert!(!back.is_empty(), "seed {seed}");
            world.follower.stop(secs(5)).await.unwrap();
        });
    }
}
