//! A network of key holders that behaves as it is told.

use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_macros::select;
use commonware_runtime::{Clock, Spawner};
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, future::BoxFuture, future::pending};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{
    BlockRef, Digest, Fault, FaultKind, Height,
    watch::{Receiver, Sender, watch},
};
use tidewatch_sequencer::{
    Content, Item, NotSubmitted, Opened, Ordering, Preblock, Preblocks, Proposal, Transaction,
};

const NAME: &str = "scripted network";

/// What the network does with a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It has it, and says so.
    Takes,
    /// It has it, and its answer is lost.
    Mute,
    /// It never came, and nobody answers.
    Lost,
    /// It says that it has it, and forgets it.
    Forgets,
    /// It does not take it.
    Refuses(String),
    /// It says that the number is taken.
    Taken,
}

/// How the network behaves at random; the odds are in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// A submission is lost, or its answer.
    pub loses: u32,
    /// A submission is acknowledged and forgotten.
    pub forgets: u32,
    /// A submission is refused, for no reason.
    pub refuses: u32,
    /// The number is called taken, for no reason.
    pub lies: u32,
    /// Too many key holders are gone: a proposal is not attested.
    pub silent: u32,
    /// From a submission to its preblock, at the most.
    pub delay: Duration,
    /// A preblock is delivered twice.
    pub doubles: u32,
    /// One with other content, or of another number, comes before it.
    pub foreign: u32,
    /// The next one is sent before it.
    pub swaps: u32,
    /// A stream ends after an item.
    pub ends: u32,
    /// A stream says nothing from its beginning on.
    pub half_open: u32,
    /// A connection is refused.
    pub unreachable: u32,
}

impl Habits {
    /// Nothing goes wrong.
    pub const GOOD: Self = Self {
        loses: 0,
        forgets: 0,
        refuses: 0,
        lies: 0,
        silent: 0,
        delay: Duration::from_millis(20),
        doubles: 0,
        foreign: 0,
        swaps: 0,
        ends: 0,
        half_open: 0,
        unreachable: 0,
    };
}

/// A submission that came.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What was submitted.
    pub proposal: Proposal,
    /// What the network did with it.
    pub reaction: Reaction,
}

type Script = Box<dyn FnMut(&Proposal, usize) -> Reaction + Send>;

struct State {
    rng: StdRng,
    habits: Habits,
    script: Option<Script>,
    /// Nothing is decided but by the test.
    held: bool,
    /// What was taken and is not decided: when it is, if the key holders are there.
    taken: BTreeMap<u64, (Proposal, Option<SystemTime>)>,
    decided: BTreeMap<u64, Preblock>,
    submissions: Vec<Submission>,
    opened: Vec<Height>,
    /// Streams of an older generation are over.
    generation: u64,
    unreachable: bool,
    half_open: bool,
    /// What is sent over every open stream, whatever it is at.
    injected: VecDeque<(u64, Preblock)>,
    injections: u64,
    /// The time between two signs of life.
    alive: Duration,
    /// Nothing answers `newest`.
    newest_fails: bool,
    restarts: u64,
}

/// What a network knows: it outlives every runtime.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<State>>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("decided", &self.0.lock().decided.len()).finish()
    }
}

/// The network. Clones are of one network.
pub struct Network<E> {
    context: Arc<E>,
    state: Arc<Mutex<State>>,
    bell: Arc<Sender<u64>>,
    bells: Receiver<u64>,
}

impl<E> Clone for Network<E> {
    fn clone(&self) -> Self {
        let (context, state) = (self.context.clone(), self.state.clone());
        Self { context, state, bell: self.bell.clone(), bells: self.bells.clone() }
    }
}

impl<E> fmt::Debug for Network<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Network")
            .field("decided", &state.decided.len())
            .field("taken", &state.taken.len())
            .finish_non_exhaustive()
    }
}

/// Shows that the network made it: nobody else knows how.
fn evidence(preblock: &Preblock) -> Bytes {
    let Preblock { identity, opened, .. } = preblock;
    let digest = Sha256::hash(&[b"attested", identity.encode().as_ref(), opened.encode().as_ref()]);
    Bytes::copy_from_slice(&digest.0)
}

/// What the network makes of a proposal. A transaction that begins with `!` does not open.
fn open(proposal: &Proposal) -> Preblock {
    let Proposal { identity, content } = proposal.clone();
    let opened = |it: &Transaction| match it.payload.first() {
        Some(b'!') => Opened::Dropped("it does not open".into()),
        _ => Opened::Clear(it.payload.clone()),
    };
    let opened = content.transactions.iter().map(opened).collect();
    let preblock = Preblock { identity, content, opened, evidence: Bytes::new() };
    Preblock { evidence: evidence(&preblock), ..preblock }
}

impl<E: Clock + Spawner> Network<E> {
    /// A network that behaves well.
    pub fn new(context: E, seed: u64) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            habits: Habits::GOOD,
            script: None,
            held: false,
            taken: BTreeMap::new(),
            decided: BTreeMap::new(),
            submissions: Vec::new(),
            opened: Vec::new(),
            generation: 0,
            unreachable: false,
            half_open: false,
            injected: VecDeque::new(),
            injections: 0,
            alive: Duration::from_secs(1),
            newest_fails: false,
            restarts: 0,
        };
        Self::remembering(context, Memory(Arc::new(Mutex::new(state))))
    }

    /// What it knows, to go on with in another runtime.
    pub fn memory(&self) -> Memory {
        Memory(self.state.clone())
    }

    /// A network that goes on with what another knew.
    pub fn remembering(context: E, memory: Memory) -> Self {
        let (bell, bells) = watch(0);
        let (context, state) = (Arc::new(context), memory.0);
        state.lock().generation += 1;
        let network = Self { context, state, bell: Arc::new(bell), bells };
        network.run();
        network
    }

    /// Decides what is due.
    fn run(&self) {
        let network = self.clone();
        self.context.child("network").spawn(move |context| async move {
            loop {
                context.sleep(Duration::from_millis(5)).await;
                let now = context.current();
                let due = {
                    let state = network.state.lock();
                    let due = |at: &Option<SystemTime>| at.is_some_and(|at| at <= now);
                    let due = state.taken.iter().filter(|(_, (_, at))| due(at));
                    due.map(|(number, _)| *number).collect::<Vec<_>>()
                };
                for number in due {
                    network.decide(number);
                }
            }
        });
    }

    fn ring(&self) {
        self.bell.change(|rung| {
            *rung += 1;
            true
        });
    }

    /// Behaves like that from now on.
    pub fn habits(&self, habits: Habits) {
        self.state.lock().habits = habits;
    }

    /// Reacts to submissions as `script` says, which is given how many came before.
    pub fn script(&self, script: impl FnMut(&Proposal, usize) -> Reaction + Send + 'static) {
        self.state.lock().script = Some(Box::new(script));
    }

    /// Nothing is decided but by [`decide`](Self::decide), or everything is again.
    pub fn hold(&self, held: bool) {
        let now = self.context.current();
        let mut state = self.state.lock();
        state.held = held;
        if !held {
            state.taken.values_mut().for_each(|(_, at)| *at = Some(now));
        }
    }

    /// Fixes what was taken for `number`.
    pub fn decide(&self, number: u64) {
        {
            let mut state = self.state.lock();
            let Some((proposal, _)) = state.taken.remove(&number) else { return };
            state.decided.entry(number).or_insert_with(|| open(&proposal));
        }
        self.ring();
    }

    /// Fixes another sequencer's content over `parent`.
    pub fn rival(&self, parent: BlockRef, content: Content) -> Preblock {
        let preblock = open(&Proposal::new(parent, content));
        {
            let mut state = self.state.lock();
            let number = preblock.identity.number.get();
            state.taken.remove(&number);
            state.decided.insert(number, preblock.clone());
        }
        self.ring();
        preblock
    }

    /// What it makes of `proposal`, attested.
    pub fn opens(&self, proposal: &Proposal) -> Preblock {
        open(proposal)
    }

    /// Sends `preblock` over every stream that is open.
    pub fn send(&self, preblock: Preblock) {
        {
            let mut state = self.state.lock();
            state.injections += 1;
            let nth = state.injections;
            state.injected.push_back((nth, preblock));
        }
        self.ring();
    }

    /// Ends every stream.
    pub fn close(&self) {
        self.state.lock().generation += 1;
        self.ring();
    }

    /// Takes no connection, or does again.
    pub fn unreachable(&self, unreachable: bool) {
        self.state.lock().unreachable = unreachable;
        if unreachable {
            self.close();
        }
    }

    /// Says nothing over its streams, not even signs of life.
    pub fn half_open(&self, half_open: bool) {
        self.state.lock().half_open = half_open;
        self.ring();
    }

    /// Does not answer what its newest preblock is.
    pub fn newest_fails(&self, fails: bool) {
        self.state.lock().newest_fails = fails;
    }

    /// Ends and starts again: with everything that it acknowledged, or without any memory.
    pub fn restart(&self, memory: bool) {
        {
            let mut state = self.state.lock();
            state.restarts += 1;
            if !memory {
                state.taken.clear();
                state.decided.clear();
            }
        }
        self.close();
    }

    /// Everything that was submitted.
    pub fn submissions(&self) -> Vec<Submission> {
        self.state.lock().submissions.clone()
    }

    /// The numbers that streams were opened from.
    pub fn opened(&self) -> Vec<u64> {
        self.state.lock().opened.iter().map(|from| from.get()).collect()
    }

    /// What was fixed for `number`.
    pub fn decided(&self, number: u64) -> Option<Preblock> {
        self.state.lock().decided.get(&number).cloned()
    }

    /// The newest number that is fixed.
    pub fn top(&self) -> u64 {
        self.state.lock().decided.keys().next_back().copied().unwrap_or_default()
    }

    fn react(&self, proposal: &Proposal) -> Reaction {
        let now = self.context.current();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let nth = state.submissions.len();
        let scripted = state.script.as_mut().map(|script| script(proposal, nth));
        let reaction = scripted.unwrap_or_else(|| {
            let (habits, rng) = (state.habits, &mut state.rng);
            let mut odds = |percent: u32| rng.random_range(0..100) < percent;
            match () {
                () if odds(habits.loses) => match odds(50) {
                    true => Reaction::Lost,
                    false => Reaction::Mute,
                },
                () if odds(habits.forgets) => Reaction::Forgets,
                () if odds(habits.refuses) => Reaction::Refuses("out of order".into()),
                () if odds(habits.lies) => Reaction::Taken,
                () => Reaction::Takes,
            }
        });
        let number = proposal.identity.number.get();
        let decided = state.decided.get(&number).map(|it| it.identity);
        let taken = state.taken.get(&number).map(|(it, _)| it.identity);
        let there = decided.or(taken);
        let other = there.is_some_and(|there| !there.same(&proposal.identity));
        let takes = matches!(reaction, Reaction::Takes | Reaction::Mute);
        let reaction = if takes && other { Reaction::Taken } else { reaction };
        let takes = takes && !other;
        if takes && decided.is_none() {
            let (habits, rng) = (state.habits, &mut state.rng);
            let silent = rng.random_range(0..100) < habits.silent;
            let delay = rng.random_range(0..=habits.delay.as_millis() as u64);
            let at = now + Duration::from_millis(delay);
            let at = (!silent && !state.held).then_some(at);
            // Each attempt is another chance to be attested.
            let earlier = state.taken.remove(&number).and_then(|(_, at)| at);
            state.taken.insert(number, (proposal.clone(), earlier.or(at)));
        }
        let submission = Submission { proposal: proposal.clone(), reaction: reaction.clone() };
        state.submissions.push(submission);
        reaction
    }
}

impl<E: Clock + Spawner> Ordering for Network<E> {
    fn name(&self) -> &str {
        NAME
    }

    fn submit(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), NotSubmitted>> {
        async move {
            match self.react(&proposal) {
                Reaction::Takes | Reaction::Forgets => Ok(()),
                Reaction::Mute | Reaction::Lost => pending().await,
                Reaction::Refuses(why) => Err(NotSubmitted::Refused(why)),
                Reaction::Taken => Err(NotSubmitted::Taken),
            }
        }
        .boxed()
    }

    fn preblocks(&self, from: Height) -> BoxFuture<'_, Result<Box<dyn Preblocks>, Fault>> {
        async move {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let odds = |rng: &mut StdRng, percent: u32| rng.random_range(0..100) < percent;
            if state.unreachable || odds(&mut state.rng, state.habits.unreachable) {
                return Err(FaultKind::Unreachable.fault(NAME, "refused"));
            }
            state.opened.push(from);
            let mute = odds(&mut state.rng, state.habits.half_open);
            let stream = Stream {
                network: self.clone(),
                bells: self.bells.clone(),
                at: from.get(),
                injected: state.injections,
                generation: state.generation,
                mute,
                queue: VecDeque::new(),
            };
            Ok(Box::new(stream) as Box<dyn Preblocks>)
        }
        .boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<Option<Height>, Fault>> {
        async move {
            let state = self.state.lock();
            if state.newest_fails || state.unreachable {
                return Err(FaultKind::Unreachable.fault(NAME, "refused"));
            }
            Ok(state.decided.keys().next_back().map(|number| Height::new(*number)))
        }
        .boxed()
    }

    fn verify(&self, preblock: &Preblock) -> Result<(), String> {
        if evidence(preblock) == preblock.evidence {
            Ok(())
        } else {
            Err("the network did not make it".into())
        }
    }
}

struct Stream<E> {
    network: Network<E>,
    bells: Receiver<u64>,
    at: u64,
    injected: u64,
    generation: u64,
    mute: bool,
    queue: VecDeque<Preblock>,
}

impl<E: Clock + Spawner> Stream<E> {
    /// What there is to send now.
    fn ready(&mut self) -> Option<Result<Item, Fault>> {
        let mut guard = self.network.state.lock();
        let state = &mut *guard;
        if state.generation != self.generation {
            return Some(Err(FaultKind::Unreachable.fault(NAME, "the stream ended")));
        }
        if state.half_open || self.mute {
            return None;
        }
        let injected = state.injected.iter().find(|(nth, _)| *nth > self.injected);
        if let Some((nth, preblock)) = injected {
            self.injected = *nth;
            return Some(Ok(Item::Preblock(Box::new(preblock.clone()))));
        }
        if let Some(preblock) = self.queue.pop_front() {
            return Some(Ok(Item::Preblock(Box::new(preblock))));
        }
        let preblock = state.decided.get(&self.at)?.clone();
        self.at += 1;
        let (habits, rng) = (state.habits, &mut state.rng);
        let mut odds = |percent: u32| rng.random_range(0..100) < percent;
        if odds(habits.ends) {
            self.generation = u64::MAX;
        }
        if odds(habits.foreign) {
            self.queue.push_back(foreign(&preblock, &mut state.rng));
            self.queue.push_back(preblock.clone());
            return self.queue.pop_front().map(|it| Ok(Item::Preblock(Box::new(it))));
        }
        let mut odds = |percent: u32| rng_odds(&mut state.rng, percent);
        if odds(habits.doubles) {
            self.queue.push_back(preblock.clone());
        }
        if odds(habits.swaps)
            && let Some(next) = state.decided.get(&self.at)
        {
            self.queue.push_back(preblock);
            return Some(Ok(Item::Preblock(Box::new(next.clone()))));
        }
        Some(Ok(Item::Preblock(Box::new(preblock))))
    }
}

fn rng_odds(rng: &mut StdRng, percent: u32) -> bool {
    rng.random_range(0..100) < percent
}

/// A preblock that nobody proposed like that: forged, attested for another content, of another number.
fn foreign(preblock: &Preblock, rng: &mut StdRng) -> Preblock {
    let mut content = preblock.content.clone();
    content.transactions.push(stranger(rng.random_range(0..1_000)));
    let parent =
        BlockRef::new(Height::new(preblock.identity.number.get() - 1), preblock.identity.parent);
    match rng.random_range(0..4) {
        // Other content over the right parent, attested by too few: what enough of them attest is believed.
        0 => Preblock {
            evidence: Bytes::from_static(b"a fifth of them"),
            ..open(&Proposal::new(parent, content))
        },
        // Over another parent.
        1 => open(&Proposal::new(BlockRef { digest: Digest([9; 32]), ..parent }, content)),
        // Forged.
        2 => Preblock { content, ..preblock.clone() },
        _ => Preblock { evidence: Bytes::from_static(b"forged"), ..preblock.clone() },
    }
}

/// A transaction that no pool has.
pub(super) fn stranger(nonce: u64) -> Transaction {
    let sender = tidewatch_sequencer::Sender([0xee; 32]);
    Transaction { sender, nonce, payload: Bytes::from_static(b"stranger") }
}

impl<E: Clock + Spawner> Preblocks for Stream<E> {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, Fault>> {
        async move {
            loop {
                if let Some(ready) = self.ready() {
                    return ready;
                }
                let (alive, quiet) = {
                    let state = self.network.state.lock();
                    (state.alive, state.half_open || self.mute)
                };
                let clock = self.network.context.clone();
                let sign = async {
                    if quiet {
                        pending::<()>().await;
                    }
                    clock.sleep(alive).await;
                };
                select! {
                    rung = self.bells.changed() => {
                        if rung.is_err() {
                            return Err(FaultKind::Unreachable.fault(NAME, "the stream ended"));
                        }
                    },
                    () = sign => return Ok(Item::Alive),
                }
            }
        }
        .boxed()
    }
}
