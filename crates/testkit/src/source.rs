//! A source that does what it is told, and remembers what it was asked.

use crate::chain::{Chain, TestBlock};
use commonware_utils::sync::Mutex;
use futures::{
    FutureExt as _,
    channel::oneshot,
    future::{BoxFuture, Shared},
    pin_mut,
    stream::poll_fn,
};
use std::{
    fmt,
    future::{Future as _, pending},
    num::NonZeroUsize,
    sync::Arc,
    task::Poll,
};
use tidewatch_core::{
    BlockRef, ChainInfo, Conflict, Digest, Doorbell, Fault, FaultKind, Height, Ladder, Limits,
    Snapshot, Source, TipSet, Watermarks,
};

/// A question that the source was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Which chain it is.
    ChainInfo,
    /// For all tiers.
    Snapshot,
    /// For the digests at these heights.
    Digests(Vec<u64>),
    /// From this height, under the tip at that one.
    Blocks(u64, u64),
}

/// Questions by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Which chain it is.
    ChainInfo,
    /// For all tiers.
    Snapshot,
    /// For digests.
    Digests,
    /// For a range of blocks.
    Blocks,
}

impl Call {
    const fn kind(&self) -> Kind {
        match self {
            Self::ChainInfo => Kind::ChainInfo,
            Self::Snapshot => Kind::Snapshot,
            Self::Digests(_) => Kind::Digests,
            Self::Blocks(..) => Kind::Blocks,
        }
    }
}

/// What the source answers in place of the truth.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A fault of this kind.
    Fault(FaultKind),
    /// It proves a contradiction by itself.
    Conflict(Conflict),
    /// These tips.
    Tips(Box<TipSet>),
    /// These digests.
    Digests(Vec<Option<Digest>>),
    /// These blocks.
    Blocks(Vec<TestBlock>),
    /// Never.
    Hang,
    /// The truth, once the gate opens.
    Held(Gate),
}

/// Holds a call until a test lets it go.
#[derive(Clone)]
pub struct Gate {
    entered: Shared<BoxFuture<'static, ()>>,
    enter: Arc<Mutex<Option<oneshot::Sender<()>>>>,
    opened: Shared<BoxFuture<'static, ()>>,
    open: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        let (enter, entered) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        Self {
            entered: entered.map(drop).boxed().shared(),
            enter: Arc::new(Mutex::new(Some(enter))),
            opened: opened.map(drop).boxed().shared(),
            open: Arc::new(Mutex::new(Some(open))),
        }
    }

    /// Resolves when a call has come to the gate.
    pub async fn entered(&self) {
        self.entered.clone().await;
    }

    /// Lets the call go.
    pub fn open(&self) {
        self.open.lock().take();
    }

    /// Comes to the gate, and waits until it opens.
    pub async fn pass(&self) {
        self.enter.lock().take();
        self.opened.clone().await;
    }
}

/// When the doorbell of a source resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bell {
    /// Once for each ring.
    Rings,
    /// At once, always: an upstream that flaps.
    Flaps,
}

type Hook = Box<dyn FnOnce(&mut World) + Send>;
type Chaos = Box<dyn FnMut(&mut World, &Call) -> Option<FaultKind> + Send>;

/// What is true at the source, and what it was told to do.
pub struct World {
    /// The chain that digests and blocks are of.
    pub chain: Chain,
    /// What a snapshot says.
    pub tips: TipSet,
    /// The order in which its tiers stand.
    pub ladder: Ladder,
    /// Heights that one question for digests may name.
    pub digests_max: usize,
    /// Blocks that one answer has at the most.
    pub blocks_max: usize,
    /// Answers digests and ranges of whatever chain it is on now, although the tip that it was asked
    /// under is on another: what a good source never does.
    pub careless: bool,
    /// What a snapshot has besides the tips.
    pub snapshot: Snapshot,
    /// What the next snapshot says instead.
    pub say: Option<TipSet>,
    /// When the doorbell resolves.
    pub bell: Bell,
    ringer: tidewatch_core::Bell,
    calls: Vec<Call>,
    durable: Vec<Watermarks>,
    judged: Vec<Result<(), Fault>>,
    before: Vec<(Kind, usize, Hook)>,
    after: Vec<(Kind, usize, Hook)>,
    answers: Vec<(Kind, usize, Answer)>,
    chaos: Option<Chaos>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tips = crate::words::tips_words(&self.tips);
        f.debug_struct("World")
            .field("tips", &tips)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

impl World {
    /// The source is on `chain`, with tiers at `heights` (0: it does not have the tier yet).
    pub fn stand(&mut self, chain: &Chain, heights: [u64; 4]) {
        self.chain = chain.clone();
        self.tips = chain.tips(heights);
    }

    fn count(&self, kind: Kind) -> usize {
        self.calls.iter().filter(|call| call.kind() == kind).count()
    }

    fn run(hooks: fn(&mut Self) -> &mut Vec<(Kind, usize, Hook)>, world: &mut Self, kind: Kind) {
        let count = world.count(kind);
        let due: Vec<_> =
            hooks(world).extract_if(.., |(of, nth, _)| *of == kind && *nth == count).collect();
        for (_, _, hook) in due {
            hook(world);
        }
    }
}

/// The source of a [`World`]. Clones share it.
#[derive(Clone, Debug)]
pub struct ScriptedSource(Arc<Mutex<World>>);

impl ScriptedSource {
    /// A source of `chain` with tiers at `heights` (0: it does not have the tier yet). It answers ten
    /// blocks at once, and 64 digests.
    pub fn new(chain: &Chain, heights: [u64; 4]) -> Self {
        Self(Arc::new(Mutex::new(World {
            chain: chain.clone(),
            tips: chain.tips(heights),
            ladder: Ladder::Rollup,
            digests_max: 64,
            blocks_max: 10,
            careless: false,
            snapshot: Snapshot::default(),
            say: None,
            bell: Bell::Rings,
            ringer: tidewatch_core::Bell::new(),
            calls: Vec::new(),
            durable: Vec::new(),
            judged: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            answers: Vec::new(),
            chaos: None,
        })))
    }

    /// Changes what is true.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.0.lock());
    }

    /// Moves to `chain` with tiers at `heights`.
    pub fn stand(&self, chain: &Chain, heights: [u64; 4]) {
        self.change(|world| world.stand(chain, heights));
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().calls.clone()
    }

    /// What was said of its answers after each pass, in order.
    pub fn judged(&self) -> Vec<Result<(), Fault>> {
        self.0.lock().judged.clone()
    }

    /// What it was notified of as durable so far, in order.
    pub fn durable(&self) -> Vec<Watermarks> {
        self.0.lock().durable.clone()
    }

    /// How many calls of `kind` came so far.
    pub fn count(&self, kind: Kind) -> usize {
        self.0.lock().count(kind)
    }

    /// Right before the `nth` call of `kind` from now is answered, the world changes.
    pub fn before(&self, kind: Kind, nth: usize, hook: impl FnOnce(&mut World) + Send + 'static) {
        let mut world = self.0.lock();
        let nth = world.count(kind) + nth;
        world.before.push((kind, nth, Box::new(hook)));
    }

    /// Right after the `nth` call of `kind` from now was answered, the world changes.
    pub fn after(&self, kind: Kind, nth: usize, hook: impl FnOnce(&mut World) + Send + 'static) {
        let mut world = self.0.lock();
        let nth = world.count(kind) + nth;
        world.after.push((kind, nth, Box::new(hook)));
    }

    /// The `nth` call of `kind` from now is answered so.
    pub fn answer(&self, kind: Kind, nth: usize, answer: Answer) {
        let mut world = self.0.lock();
        let nth = world.count(kind) + nth;
        world.answers.push((kind, nth, answer));
    }

    /// Holds the `nth` call of `kind` from now.
    pub fn hold(&self, kind: Kind, nth: usize) -> Gate {
        let gate = Gate::new();
        self.answer(kind, nth, Answer::Held(gate.clone()));
        gate
    }

    /// Every call fails for which `chaos` names a fault, and it may change the world before; `None`
    /// for peace.
    pub fn chaos(&self, chaos: Option<Chaos>) {
        self.0.lock().chaos = chaos;
    }

    /// Rings the doorbell.
    pub fn ring(&self) {
        self.0.lock().ringer.ring();
    }

    async fn ask<T>(
        &self,
        call: Call,
        told: impl FnOnce(Answer) -> Option<T>,
        truth: impl FnOnce(&mut World) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let kind = call.kind();
        let answer = {
            let mut world = self.0.lock();
            let mut chaos = world.chaos.take();
            let wild = chaos.as_mut().and_then(|chaos| chaos(&mut world, &call));
            world.chaos = chaos;
            world.calls.push(call);
            World::run(|world| &mut world.before, &mut world, kind);
            let count = world.count(kind);
            let at = world.answers.iter().position(|(of, nth, _)| *of == kind && *nth == count);
            wild.map(Answer::Fault).or_else(|| at.map(|at| world.answers.remove(at).2))
        };
        let told = match answer {
            None => None,
            Some(Answer::Fault(kind)) => return Err(kind.fault("scripted", "as told")),
            Some(Answer::Conflict(conflict)) => {
                return Err(Fault::finality_conflict("scripted", conflict));
            }
            Some(Answer::Hang) => return pending().await,
            Some(Answer::Held(gate)) => {
                gate.pass().await;
                None
            }
            Some(answer) => Some(told(answer).expect("an answer to another question")),
        };
        let mut world = self.0.lock();
        let answer = told.map_or_else(|| truth(&mut world), Ok);
        World::run(|world| &mut world.after, &mut world, kind);
        answer
    }
}

impl Source for ScriptedSource {
    type Block = TestBlock;

    fn name(&self) -> &str {
        "scripted"
    }

    fn ladder(&self) -> Ladder {
        self.0.lock().ladder
    }

    fn limits(&self) -> Limits {
        let world = self.0.lock();
        let limit = |n| NonZeroUsize::new(n).expect("not zero");
        Limits { digests_max: limit(world.digests_max), blocks_max: limit(world.blocks_max) }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.ask(Call::ChainInfo, |_| None, |world| Ok(world.chain.chain_info())).await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let told = |answer| match answer {
            Answer::Tips(tips) => Some(Snapshot::from(*tips)),
            _ => None,
        };
        let truth = |world: &mut World| {
            let tips = world.say.take().unwrap_or(world.tips);
            Ok(Snapshot { tips, ..world.snapshot.clone() })
        };
        self.ask(Call::Snapshot, told, truth).await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let heights: Vec<_> = heights.iter().map(|height| height.get()).collect();
        let told = |answer| match answer {
            Answer::Digests(digests) => Some(digests),
            _ => None,
        };
        let asked = heights.clone();
        let truth = |world: &mut World| {
            assert!(asked.len() <= world.digests_max, "{} digests at once", asked.len());
            if !(world.careless || world.chain.has(tip)) {
                let detail = format!("it moved away from {tip}");
                return Err(FaultKind::Torn.fault("scripted", detail));
            }
            let below = |at: &u64| world.chain.get(*at).filter(|_| *at <= tip.height.get());
            Ok(asked.iter().map(|at| below(at).map(|block| block.digest)).collect())
        };
        self.ask(Call::Digests(heights), told, truth).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
        let told = |answer| match answer {
            Answer::Blocks(blocks) => Some(blocks),
            _ => None,
        };
        let (from, to) = (from.get(), tip.height.get());
        let truth = |world: &mut World| {
            let moved = !world.careless && !world.chain.has(tip);
            let last = to.min(from.saturating_add(world.blocks_max as u64 - 1));
            Ok(if moved { Vec::new() } else { world.chain.range(from, last) })
        };
        self.ask(Call::Blocks(from, to), told, truth).await
    }

    fn doorbell(&self) -> Doorbell {
        let mut rings = self.0.lock().ringer.listen();
        let source = self.clone();
        Doorbell::new(poll_fn(move |context| {
            if source.0.lock().bell == Bell::Flaps {
                return Poll::Ready(Some(()));
            }
            let rung = rings.rung();
            pin_mut!(rung);
            rung.poll(context).map(Some)
        }))
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.0.lock().durable.push(*watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.0.lock().judged.push(verdict.map_err(Clone::clone));
    }
}
