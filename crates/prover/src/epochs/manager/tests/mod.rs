//! The session manager, in the deterministic runtime: a chain that records what lands on it, and provers that behave
//! as they are told. An epoch has two slots, each with a checkpoint of two blocks: epoch 0 is blocks 1 to 4.

mod crashes;
mod events;
mod follower;
mod publishing;
mod sessions;
mod worlds;

use super::{Config, Mailbox, Manager, Parts, Status, Thin, kept, not_started};
use crate::{
    Key, Prover, disk,
    epochs::*,
    plan::{
        self,
        tests::{PROGRAM, key},
    },
    scheduler::{
        self, NewBlock,
        tests::scripted::{self, Fate, Scripted, proves_in, sits},
    },
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, deterministic};
use commonware_storage::Context;
use commonware_utils::{NZU64, sync::Mutex};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Digest, Fault, FaultKind};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(secs(10_000)).start(test)
}

fn missing(what: &str) -> Fault {
    FaultKind::Missing.fault("test", what)
}

const GEOMETRY: Geometry = Geometry { epoch_slots: NZU64!(2), submission_epochs: 2 };

/// Checkpoint `number` in slot `number - 1`, on the chain that is `fork` from checkpoint `from` on.
fn checkpoint(number: u64, fork: u8, from: u64) -> Content {
    let at = |height: u64| key(height, if height > 2 * (from - 1) { fork } else { 0 }).block;
    let blocks = (2 * number - 1..=2 * number).map(|height| {
        let (block, parent) = (at(height), at(height - 1).digest);
        NewBlock { block, parent, inputs: scripted::inputs(parent, block) }
    });
    let blocks: Vec<NewBlock> = blocks.collect();
    let root = blocks[1].block.digest;
    Content { id: CheckpointId { number, slot: number - 1, root }, blocks }
}

/// How submissions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Lands,
    Refuses,
    /// With a fault that ends nothing; whether it lands all the same.
    Breaks(bool),
    /// With one that is final.
    Throws,
    Hangs,
    /// What it would cost is estimated, and nothing is sent.
    Estimates,
}

struct State {
    checkpoints: Vec<Content>,
    slot: Option<u64>,
    proven: u64,
    /// What lands is proven at once.
    follows: bool,
    /// The source answers nothing.
    silent: bool,
    heavy_fails: bool,
    heavy: Vec<u64>,
    takes: Takes,
    after: Duration,
    unavailable: usize,
    looked_up: usize,
    submitted: Vec<Candidate>,
    landed: Vec<Candidate>,
    dissected: Vec<u64>,
    epochs_dissected: Vec<u64>,
}

/// The chain: the port of its checkpoints, and of what is published on it. It survives the manager.
#[derive(Clone)]
struct Rollup(Arc<Mutex<State>>, Arc<deterministic::Context>);

impl Rollup {
    /// A chain with `checkpoints` checkpoints, synced to the slot after the last one.
    fn new(context: &deterministic::Context, checkpoints: u64) -> Self {
        let state = State {
            checkpoints: (1..=checkpoints).map(|number| checkpoint(number, 0, 1)).collect(),
            slot: Some(checkpoints),
            proven: 0,
            follows: true,
            silent: false,
            heavy_fails: false,
            heavy: Vec::new(),
            takes: Takes::Lands,
            after: secs(1),
            unavailable: 0,
            looked_up: 0,
            submitted: Vec::new(),
            landed: Vec::new(),
            dissected: Vec::new(),
            epochs_dissected: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)), Arc::new(context.child("rollup")))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
    }

    fn get<T>(&self, get: impl FnOnce(&State) -> T) -> T {
        get(&self.0.lock())
    }

    /// The heights of what landed.
    fn landed(&self) -> Vec<(u64, u64)> {
        self.get(|state| state.landed.iter().map(|range| (range.first, range.last)).collect())
    }

    /// The chain grows by one checkpoint.
    fn grow(&self) -> u64 {
        let mut state = self.0.lock();
        let number = state.checkpoints.len() as u64 + 1;
        state.checkpoints.push(checkpoint(number, 0, 1));
        state.slot = Some(number);
        number
    }

    async fn answers(&self) -> Result<(), Fault> {
        if self.get(|state| state.silent) {
            futures::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl State {
    fn at(&self, height: u64) -> Option<&Content> {
        let has = |content: &&Content| {
            content.blocks.last().is_some_and(|block| block.block.height.get() >= height)
        };
        self.checkpoints.iter().find(has).filter(|_| height > 0)
    }

    fn block(&self, height: u64) -> Option<&NewBlock> {
        self.at(height)?.blocks.iter().find(|block| block.block.height.get() == height)
    }
}

impl Chain for Rollup {
    type Heavy = Content;

    async fn light(&self, from: u64, max: u64) -> Result<Vec<Light>, Fault> {
        self.answers().await?;
        let light = |content: &Content| Light { number: content.id.number, slot: content.id.slot };
        let all: Vec<Light> = self.get(|state| state.checkpoints.iter().map(light).collect());
        Ok(all.into_iter().filter(|light| light.number >= from).take(max as usize).collect())
    }

    async fn heavy(&self, number: u64) -> Result<Content, Fault> {
        self.answers().await?;
        let mut state = self.0.lock();
        state.heavy.push(number);
        if state.heavy_fails {
            return Err(missing("boom"));
        }
        let found = state.checkpoints.iter().find(|content| content.id.number == number);
        found.cloned().ok_or_else(|| missing("no such checkpoint"))
    }

    async fn proven(&self) -> Result<Option<ProvenAt>, Fault> {
        self.answers().await?;
        Ok(self.get(|state| {
            let at = state.at(state.proven)?;
            let next = state.at(state.proven + 1).map(|content| content.id.slot);
            let complete = state.slot.is_some_and(|slot| slot > GEOMETRY.last_slot(at.id.slot / 2));
            Some(ProvenAt { height: state.proven, slot: at.id.slot, next, complete })
        }))
    }

    async fn slot(&self) -> Result<Option<u64>, Fault> {
        self.answers().await?;
        Ok(self.get(|state| state.slot))
    }

    async fn epoch(&self, epoch: u64) -> Result<EpochAt, Fault> {
        self.answers().await?;
        Ok(self.get(|state| {
            let within = |content: &&Content| GEOMETRY.epoch(content.id.slot) == epoch;
            let ids = state.checkpoints.iter().filter(within).map(|content| content.id);
            let complete = state.slot.is_some_and(|slot| slot > GEOMETRY.last_slot(epoch));
            EpochAt { complete, checkpoints: ids.collect() }
        }))
    }

    async fn checkpoint_of(&self, height: u64) -> Result<Option<u64>, Fault> {
        self.answers().await?;
        Ok(self.get(|state| state.at(height).map(|content| content.id.number)))
    }
}

impl Publisher for Rollup {
    async fn landed(&self, candidate: &Candidate) -> Result<bool, Fault> {
        let mut state = self.0.lock();
        state.looked_up += 1;
        if state.unavailable > 0 {
            state.unavailable -= 1;
            return Err(FaultKind::Unavailable.fault("test", "no publisher"));
        }
        let covers =
            |range: &Candidate| range.epoch == candidate.epoch && range.last >= candidate.last;
        Ok(state.landed.iter().any(covers))
    }

    async fn submit(&self, candidate: &Candidate, proof: Bytes) -> Result<bool, Fault> {
        let (takes, after) = self.get(|state| (state.takes, state.after));
        let (parent, last) = self.get(|state| {
            let block = |height| state.block(height).unwrap();
            (block(candidate.first).parent, block(candidate.last).block)
        });
        assert_eq!(proof, scripted::proof(PROGRAM, parent, last), "what is published verifies");
        {
            let mut state = self.0.lock();
            assert!(!state.landed.contains(candidate), "submitted again after it had landed");
            assert!(candidate.first <= state.proven + 1, "it does not follow the proven tip");
            state.submitted.push(*candidate);
        }
        self.1.sleep(after).await;
        let on_chain =
            |state: &State| state.block(candidate.last).is_some_and(|block| block.block == last);
        if !self.get(on_chain) {
            return Ok(false);
        }
        let lands = || {
            self.set(|state| {
                state.landed.push(*candidate);
                if state.follows && candidate.first <= state.proven + 1 {
                    state.proven = state.proven.max(candidate.last);
                }
            });
        };
        match takes {
            Takes::Lands => lands(),
            Takes::Refuses => return Ok(false),
            Takes::Breaks(all_the_same) => {
                if all_the_same {
                    lands();
                }
                return Err(FaultKind::Timeout.fault("test", "broke off"));
            }
            Takes::Throws => return Err(FaultKind::InvalidConfig.fault("test", "no account")),
            Takes::Hangs => futures::future::pending().await,
            Takes::Estimates => {}
        }
        Ok(true)
    }
}

impl PostMortem for Rollup {
    fn checkpoint(&self, content: &Content, reason: &str) {
        assert!(!reason.is_empty());
        self.set(|state| {
            assert!(state.checkpoints.contains(content), "all of it, and nothing else");
            state.dissected.push(content.id.number);
        });
    }

    fn epoch(&self, spec: &Spec, checkpoints: &[CheckpointId], _: &str) {
        assert!(!checkpoints.is_empty());
        self.set(|state| state.epochs_dissected.push(spec.epoch));
    }
}

/// A proof of a range names the digest below it and its last block.
struct Ranges;

impl RangeProgram for Ranges {
    fn id(&self) -> Digest {
        PROGRAM
    }

    fn inputs(&self, blocks: &[NewBlock]) -> Bytes {
        scripted::inputs(blocks[0].parent, blocks[blocks.len() - 1].block)
    }

    fn joined(&self, parent: Digest, proofs: &[(Key, Bytes)]) -> Bytes {
        let (mut below, mut next) = (parent, None);
        for (key, proof) in proofs {
            assert!(next.is_none_or(|next| next == key.first), "joined over a gap");
            assert_eq!(self.verify(below, key, proof), Ok(()));
            (below, next) = (key.block.digest, Some(key.block.height.next()));
        }
        scripted::inputs(parent, proofs[proofs.len() - 1].0.block)
    }

    fn verify(&self, parent: Digest, key: &Key, found: &[u8]) -> Result<(), String> {
        let expected = scripted::proof(PROGRAM, parent, key.block);
        (found == expected).then_some(()).ok_or_else(|| "another digest".into())
    }
}

fn config() -> Config {
    let plan = plan::Config { attempt_max: secs(120), ..plan::Config::default() };
    let proving = scheduler::Config { plan, ..scheduler::Config::new(disk::Config::new("epochs")) };
    Config::new(GEOMETRY, proving)
}

type Opened<E> = Manager<E, Rollup, Ranges, Rollup, Rollup>;

async fn open<E: Context + commonware_runtime::Spawner + rand::Rng>(
    context: E,
    rollup: &Rollup,
    prover: &Scripted,
    config: Config,
) -> Result<(Opened<E>, Mailbox), Fault> {
    let parts = Parts {
        subject: ChainId::new("test:epochs").unwrap(),
        chain: rollup.clone(),
        program: Arc::new(Ranges),
        provers: vec![Arc::new(prover.clone()) as Arc<dyn Prover>],
        publisher: Arc::new(rollup.clone()),
        post_mortem: rollup.clone(),
    };
    Manager::open(context, parts, config).await
}

/// A manager that runs.
struct Running {
    context: deterministic::Context,
    rollup: Rollup,
    mailbox: Mailbox,
    handle: Handle<Result<(), Fault>>,
}

impl Running {
    async fn start(
        context: &deterministic::Context,
        rollup: &Rollup,
        prover: &Scripted,
        config: Config,
    ) -> Self {
        let opened = open(context.child("manager"), rollup, prover, config).await;
        let (manager, mailbox) = opened.unwrap();
        let handle = manager.start();
        Self { context: context.child("test"), rollup: rollup.clone(), mailbox, handle }
    }

    /// The manager with all checkpoints of `rollup` as of now.
    async fn with_all(
        context: &deterministic::Context,
        rollup: &Rollup,
        prover: &Scripted,
        config: Config,
    ) -> Self {
        let running = Self::start(context, rollup, prover, config).await;
        let last = rollup.get(|state| state.checkpoints.len() as u64);
        running.mailbox.checkpointed(last).await.unwrap();
        running
    }

    async fn sleep(&self, seconds: u64) {
        self.context.sleep(secs(seconds)).await;
    }

    async fn status(&self) -> Status {
        self.mailbox.status().await.unwrap()
    }

    /// The epoch and the state of each session.
    async fn states(&self) -> Vec<(u64, SessionState)> {
        let sessions = self.status().await.sessions;
        sessions.iter().map(|session| (session.spec.epoch, session.state)).collect()
    }

    /// Waits until `done`, for 200 seconds at the most.
    async fn until(&self, done: impl Fn(&Status) -> bool) {
        for _ in 0..2_000 {
            if done(&self.status().await) {
                return;
            }
            self.context.sleep(Duration::from_millis(100)).await;
        }
        panic!("not within 200 s: {:?}", self.status().await);
    }

    /// Waits, for 60 seconds at the most, until a candidate is being submitted.
    async fn submits(&self) {
        for _ in 0..600 {
            if self.rollup.get(|state| state.submitted.len()) == 1 {
                break;
            }
            self.context.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn lands(&self, ranges: &[(u64, u64)]) {
        for _ in 0..2_000 {
            if self.rollup.landed() == ranges {
                return;
            }
            self.context.sleep(Duration::from_millis(100)).await;
        }
        panic!("{:?} landed: {:?}", self.rollup.landed(), self.status().await);
    }

    async fn stop(self) {
        self.mailbox.stop();
        self.handle.await.unwrap().unwrap();
    }

    async fn kill(self) {
        self.handle.abort();
        let _ = self.handle.await;
    }
}

/// A manager that has the checkpoints of a chain of so many, with a prover that does as `script` says.
fn manage(
    checkpoints: u64,
    script: impl FnMut(&Key, usize) -> Fate + Send + 'static,
    test: impl AsyncFnOnce(Running, Rollup, Scripted),
) {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, checkpoints);
        let prover = Scripted::new(&context, "prover", 8, script);
        let running = Running::with_all(&context, &rollup, &prover, config()).await;
        test(running, rollup, prover).await;
    });
}

/// The ranges that a prover was asked for.
fn ranges(prover: &Scripted) -> Vec<(u64, u64)> {
    prover.keys().iter().map(|key| (key.first.get(), key.height())).collect()
}
