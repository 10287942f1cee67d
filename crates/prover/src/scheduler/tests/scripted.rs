//! A chain, a statement about its blocks, and provers that behave as they are told.

use crate::{Failure, Handle, Key, Offer, Program, Progress, Prover};
use bytes::Bytes;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Clock as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use futures::future::{BoxFuture, pending};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{BlockRef, Digest};

/// What the prover needs of `block`: itself, and its parent's digest.
pub(crate) fn inputs(parent: Digest, block: BlockRef) -> Bytes {
    [&block.height.get().to_be_bytes()[..], &block.digest.0, &parent.0].concat().into()
}

/// The one proof of `block` under `program`.
pub(crate) fn proof(program: Digest, parent: Digest, block: BlockRef) -> Bytes {
    let digest = Sha256::hash(&[&program.0, &parent.0, &block.digest.0]);
    Bytes::copy_from_slice(&digest.0)
}

/// Whether that is what it is.
pub(crate) struct Toy;

impl Program for Toy {
    fn id(&self) -> Digest {
        crate::plan::tests::PROGRAM
    }

    fn check(&self, block: BlockRef, found: &[u8]) -> Result<(), String> {
        let named = found.get(8..40) == Some(&block.digest.0[..]);
        named.then_some(()).ok_or_else(|| "another digest".into())
    }

    fn verify(&self, parent: Digest, block: BlockRef, found: &[u8]) -> Result<(), String> {
        assert_ne!(found, b"panic", "a check that panics");
        let expected = proof(self.id(), parent, block);
        (found == expected).then_some(()).ok_or_else(|| "another digest".into())
    }
}

/// What becomes of a job.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// The proof, after so long.
    Proves(Duration),
    /// These bytes, after so long.
    Returns(Duration, Bytes),
    /// No proof, after so long.
    Fails(Duration, Failure),
    /// Nothing.
    Sits,
}

/// How the prover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// Every call is refused at once.
    Refuses,
    /// No call ever returns.
    Silent,
}

type Script = Box<dyn FnMut(&Key, usize) -> Fate + Send>;

struct Held {
    since: SystemTime,
    fate: Fate,
    inputs: Bytes,
    key: Key,
}

struct State {
    script: Script,
    health: Health,
    slots: usize,
    has: usize,
    deadline: Option<Duration>,
    /// How old the answer to a poll is when it arrives.
    late: Duration,
    jobs: BTreeMap<Handle, Held>,
    submitted: Vec<Key>,
    polled: usize,
    released: Vec<Handle>,
    peak: usize,
}

/// A script by which nothing ends.
pub(crate) const fn sits(_: &Key, _: usize) -> Fate {
    Fate::Sits
}

/// A script by which everything is proven in so many seconds.
pub(crate) fn proves_in(seconds: u64) -> impl FnMut(&Key, usize) -> Fate + Send + 'static {
    move |_, _| Fate::Proves(Duration::from_secs(seconds))
}

/// A prover that does what its script says. Its jobs survive the scheduler, as those of another machine do.
#[derive(Clone)]
pub(crate) struct Scripted {
    name: String,
    clock: Arc<deterministic::Context>,
    state: Arc<Mutex<State>>,
}

impl Scripted {
    pub(crate) fn new(
        context: &deterministic::Context,
        name: &str,
        slots: usize,
        script: impl FnMut(&Key, usize) -> Fate + Send + 'static,
    ) -> Self {
        let state = State {
            script: Box::new(script),
            health: Health::Up,
            slots,
            has: slots,
            deadline: None,
            late: Duration::ZERO,
            jobs: BTreeMap::new(),
            submitted: Vec::new(),
            polled: 0,
            released: Vec::new(),
            peak: 0,
        };
        let clock = Arc::new(context.child("prover"));
        Self { name: name.into(), clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The prover without its clock, to outlive a runtime.
    pub(crate) fn resting(self) -> Resting {
        Resting(self.name, self.state)
    }

    /// Proves everything in `seconds`.
    pub(crate) fn honest(context: &deterministic::Context, slots: usize, seconds: u64) -> Self {
        Self::new(context, "honest", slots, proves_in(seconds))
    }

    pub(crate) fn has(self, slots: usize) -> Self {
        self.state.lock().has = slots;
        self
    }

    /// Slots that it has.
    pub(crate) fn has_slots(&self) -> usize {
        self.state.lock().has
    }

    pub(crate) fn gives_up_after(self, deadline: Duration) -> Self {
        self.state.lock().deadline = Some(deadline);
        self
    }

    pub(crate) fn answers_late(self, late: Duration) -> Self {
        self.state.lock().late = late;
        self
    }

    pub(crate) fn health(&self, health: Health) {
        self.state.lock().health = health;
    }

    pub(crate) fn script(&self, script: impl FnMut(&Key, usize) -> Fate + Send + 'static) {
        self.state.lock().script = Box::new(script);
    }

    /// Forgets every job, as a prover that was started anew.
    pub(crate) fn restart(&self) {
        self.state.lock().jobs.clear();
    }

    /// The blocks that were submitted, in that order, and again for each time.
    pub(crate) fn submitted(&self) -> Vec<u64> {
        self.state.lock().submitted.iter().map(Key::height).collect()
    }

    /// The keys that were submitted, in that order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.state.lock().submitted.clone()
    }

    pub(crate) fn polled(&self) -> usize {
        self.state.lock().polled
    }

    /// Jobs that it holds.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().jobs.len()
    }

    /// What was released, in that order.
    pub(crate) fn released(&self) -> Vec<Handle> {
        self.state.lock().released.clone()
    }

    /// The most jobs that ran at once.
    pub(crate) fn peak(&self) -> usize {
        self.state.lock().peak
    }

    async fn healthy(&self) -> Result<(), Failure> {
        let health = self.state.lock().health;
        match health {
            Health::Up => Ok(()),
            Health::Refuses => Err(Failure::Unavailable("connection refused".into())),
            Health::Silent => pending().await,
        }
    }

    async fn progress(&self, handle: &Handle, patience: Duration) -> Result<Progress, Failure> {
        let until = self.clock.current() + patience;
        loop {
            {
                let state = self.state.lock();
                let held = state.jobs.get(handle).ok_or(Failure::Lost)?;
                if let Some(ended) = self.ended(held) {
                    return ended.map(Progress::Proved);
                }
            }
            if self.clock.current() >= until {
                return Ok(Progress::Running);
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    fn ended(&self, held: &Held) -> Option<Result<Bytes, Failure>> {
        let passed = self.clock.current().duration_since(held.since).unwrap_or_default();
        match &held.fate {
            Fate::Proves(takes) if passed >= *takes => {
                let parent = Digest(held.inputs[40..72].try_into().unwrap());
                Some(Ok(proof(held.key.program, parent, held.key.block)))
            }
            Fate::Returns(takes, bytes) if passed >= *takes => Some(Ok(bytes.clone())),
            Fate::Fails(takes, failure) if passed >= *takes => Some(Err(failure.clone())),
            _ => None,
        }
    }
}

/// A prover between two runtimes: what it works on goes on.
pub(crate) struct Resting(String, Arc<Mutex<State>>);

impl Resting {
    pub(crate) fn on(self, context: &deterministic::Context) -> Scripted {
        let Self(name, state) = self;
        Scripted { name, clock: Arc::new(context.child("prover")), state }
    }
}

impl Prover for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        Box::pin(async move {
            self.healthy().await?;
            let state = self.state.lock();
            Ok(Offer { slots: state.slots, deadline: state.deadline })
        })
    }

    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        Box::pin(async move {
            self.healthy().await?;
            let mut state = self.state.lock();
            let handle = Handle::of(&key);
            if state.jobs.contains_key(&handle) {
                return Ok(handle);
            }
            let running = state.jobs.values().filter(|held| self.ended(held).is_none()).count();
            if running >= state.has {
                return Err(Failure::Full);
            }
            state.peak = state.peak.max(running + 1);
            let nth = state.submitted.iter().filter(|submitted| **submitted == key).count();
            state.submitted.push(key);
            let fate = (state.script)(&key, nth);
            let held = Held { since: self.clock.current(), fate, inputs, key };
            state.jobs.insert(handle.clone(), held);
            Ok(handle)
        })
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async move {
            self.healthy().await?;
            self.state.lock().polled += 1;
            let answer = self.progress(handle, patience).await;
            let late = self.state.lock().late;
            if !late.is_zero() {
                self.clock.sleep(late).await;
            }
            answer
        })
    }

    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.healthy().await.is_ok() {
                let mut state = self.state.lock();
                state.jobs.remove(handle);
                state.released.push(handle.clone());
            }
        })
    }
}
