//! A small certified chain, and a transport that does what a test tells it to and writes it down.

use crate::{
    CertificateKind, CertifiedSource, Checker, Config, EpochScheme, Epochs, Feed, Key, OneEpoch,
    Parts, Push, Transport, Upstream, Verifier, checker, open,
};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{Encode, EncodeSize, Error, RangeCfg, Read, ReadExt, Write};
use commonware_consensus::{
    Heightable,
    simplex::types::Proposal,
    types::{Epoch, Round, View},
};
use commonware_cryptography::{Digestible, Hasher as _, Sha256};
use commonware_runtime::{Clock, Metrics, Spawner, Supervisor as _, deterministic};
use commonware_utils::{channel::mpsc, sync::Mutex};
use rand::CryptoRng;
use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{Block, BlockRef, ChainId, Digest, Fault, FaultKind, Height, Timed};
use tidewatch_testkit::committee::Committee;
pub(crate) use tidewatch_testkit::committee::Scheme as TestScheme;
use tidewatch_testkit::monitor::Faults;

/// Payload bound of the test chain.
pub(crate) const DATA_MAX: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestBlock {
    pub(crate) height: Height,
    pub(crate) parent: Digest,
    pub(crate) time_ms: u64,
    pub(crate) data: Bytes,
    digest: Digest,
}

impl TestBlock {
    pub(crate) fn new(height: u64, parent: Digest, data: &[u8]) -> Self {
        let (height, time_ms) = (Height::new(height), height * 100);
        let data = Bytes::copy_from_slice(data);
        let digest = Self::hash(height, &parent, time_ms, &data);
        Self { height, parent, time_ms, data, digest }
    }

    fn hash(height: Height, parent: &Digest, time_ms: u64, data: &[u8]) -> Digest {
        Sha256::hash(&[&height.get().to_be_bytes(), parent, &time_ms.to_be_bytes(), data])
    }
}

impl Write for TestBlock {
    fn write(&self, buf: &mut impl BufMut) {
        self.height.write(buf);
        self.parent.write(buf);
        self.time_ms.write(buf);
        self.data.write(buf);
    }
}

impl EncodeSize for TestBlock {
    fn encode_size(&self) -> usize {
        self.height.encode_size()
            + self.parent.encode_size()
            + self.time_ms.encode_size()
            + self.data.encode_size()
    }
}

impl Read for TestBlock {
    type Cfg = RangeCfg<usize>;

    fn read_cfg(buf: &mut impl Buf, cfg: &Self::Cfg) -> Result<Self, Error> {
        let (height, parent) = (Height::read(buf)?, Digest::read(buf)?);
        let (time_ms, data) = (u64::read(buf)?, Bytes::read_cfg(buf, cfg)?);
        let digest = Self::hash(height, &parent, time_ms, &data);
        Ok(Self { height, parent, time_ms, data, digest })
    }
}

impl Block for TestBlock {
    fn reference(&self) -> BlockRef {
        BlockRef::new(self.height, self.digest)
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

impl Timed for TestBlock {
    fn time_ms(&self) -> Option<u64> {
        Some(self.time_ms)
    }
}

impl Digestible for TestBlock {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        self.digest
    }
}

impl Heightable for TestBlock {
    fn height(&self) -> Height {
        self.height
    }
}

impl commonware_consensus::Block for TestBlock {
    fn parent(&self) -> Digest {
        self.parent
    }
}

const VALIDATORS: u32 = 4;

/// The validators of the test chain.
pub(crate) fn schemes() -> &'static Committee {
    static OURS: OnceLock<Committee> = OnceLock::new();
    OURS.get_or_init(|| Committee::new(0, VALIDATORS))
}

/// Validators of another chain.
pub(crate) fn strangers() -> &'static Committee {
    static STRANGERS: OnceLock<Committee> = OnceLock::new();
    STRANGERS.get_or_init(|| Committee::new(1, VALIDATORS))
}

/// What the test chain's followers know of it.
pub(crate) fn trust() -> OneEpoch<TestScheme> {
    OneEpoch::new(Epoch::zero(), TestScheme::clone(&schemes().verifier()))
}

/// The test chain's epochs up to a height; above it the table knows nothing until it is filled.
#[derive(Clone, Debug)]
pub(crate) struct Table(Arc<AtomicU64>);

impl Table {
    pub(crate) fn up_to(height: u64) -> Self {
        Self(Arc::new(AtomicU64::new(height)))
    }

    /// What somebody else does, who learned of the next epoch.
    pub(crate) fn fill(&self, height: u64) {
        self.0.store(height, Ordering::Relaxed);
    }
}

impl Epochs for Table {
    type Scheme = TestScheme;

    fn codec(&self) {}

    fn at(&self, height: Height) -> Option<EpochScheme<TestScheme>> {
        (height.get() <= self.0.load(Ordering::Relaxed)).then(|| trust().at(height))?
    }
}

/// A verifier of `chain`, with a checker that runs.
pub(crate) fn verifier<X: Epochs>(
    context: &deterministic::Context,
    epochs: X,
    chain: &Chain,
) -> Verifier<X, TestBlock> {
    let metrics = crate::Metrics::new(context, "test", Arc::<Faults>::default());
    let (checker, mailbox) = Checker::new(context.child("checker"), checker::Config::default());
    checker.start();
    let (genesis, codec) = (chain.block(0).clone(), RangeCfg::from(..=DATA_MAX));
    Verifier::new(epochs, genesis, codec, metrics, mailbox)
}

/// A certificate over `block`, followed by it, as it goes over the wire.
pub(crate) fn certify(
    committee: &Committee,
    kind: CertificateKind,
    round: Round,
    block: &TestBlock,
) -> Bytes {
    certify_other(committee, kind, round, block.digest, block)
}

/// A certificate over `payload`, followed by `block`.
pub(crate) fn certify_other(
    committee: &Committee,
    kind: CertificateKind,
    round: Round,
    payload: Digest,
    block: &TestBlock,
) -> Bytes {
    let proof = match kind {
        CertificateKind::Finalized => committee.finalization(round, payload),
        CertificateKind::Notarized => committee.notarization(round, payload),
    };
    [proof, block.encode()].concat().into()
}

/// The round of the test chain's block at `height`: views run ahead of heights.
pub(crate) const fn round(height: u64) -> Round {
    Round::new(Epoch::zero(), View::new(height * 2 + 1))
}

/// A chain from genesis on.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) blocks: Vec<TestBlock>,
}

impl Chain {
    /// A chain up to `height`.
    pub(crate) fn new(height: u64) -> Self {
        let genesis = TestBlock::new(0, Digest([7; 32]), b"genesis");
        Self { blocks: vec![genesis] }.extend(height, b"")
    }

    /// This chain up to `height`, with `data` in the blocks that are new.
    pub(crate) fn extend(mut self, height: u64, data: &[u8]) -> Self {
        for height in self.blocks.len() as u64..=height {
            let parent = self.blocks[height as usize - 1].digest;
            self.blocks.push(TestBlock::new(height, parent, data));
        }
        self
    }

    /// Another branch: this chain up to `at`, then other blocks up to `height`.
    pub(crate) fn fork(&self, at: u64, height: u64) -> Self {
        let blocks = self.blocks[..=at as usize].to_vec();
        Self { blocks }.extend(height, b"fork")
    }

    pub(crate) fn block(&self, height: u64) -> &TestBlock {
        &self.blocks[height as usize]
    }

    pub(crate) fn reference(&self, height: u64) -> BlockRef {
        self.block(height).reference()
    }

    /// A good certificate over the block at `height`.
    pub(crate) fn certified(&self, kind: CertificateKind, height: u64) -> Bytes {
        certify(schemes(), kind, round(height), self.block(height))
    }

    /// A certificate over the block at `height` that no validator of this chain signed.
    pub(crate) fn forged(&self, kind: CertificateKind, height: u64) -> Bytes {
        certify(strangers(), kind, round(height), self.block(height))
    }

    /// A certificate over the block at `height` that decodes and cannot verify: cheap to make.
    pub(crate) fn unsigned(&self, height: u64) -> Bytes {
        let block = self.block(height);
        let proposal = Proposal::new(round(height), View::new(height * 2), block.digest);
        [proposal.encode(), vec![0xc0; 48].into(), block.encode()].concat().into()
    }

    pub(crate) fn by_digest(&self, digest: Digest) -> Option<&TestBlock> {
        self.blocks.iter().find(|block| block.digest == digest)
    }
}

/// How a transport answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Bytes(Bytes),
    Missing,
    Fault(FaultKind),
    Silence,
}

type Script = Box<dyn FnMut(Key) -> Answer + Send>;
type Pushes = mpsc::Receiver<Result<Push, Fault>>;

/// Writes down what it was asked, and how often it was listened to.
pub(crate) struct Scripted {
    clock: deterministic::Context,
    latency: Duration,
    script: Mutex<Script>,
    calls: Mutex<Vec<Key>>,
    listens: Mutex<Vec<Duration>>,
    feeds: Mutex<VecDeque<Pushes>>,
    hangs: AtomicBool,
    in_flight: Mutex<Gauge>,
    open: Arc<Mutex<Gauge>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) now: usize,
    pub(crate) max: usize,
}

impl Gauge {
    fn up(&mut self) {
        self.now += 1;
        self.max = self.max.max(self.now);
    }
}

impl Scripted {
    pub(crate) fn new(
        context: &deterministic::Context,
        script: impl FnMut(Key) -> Answer + Send + 'static,
    ) -> Self {
        Self {
            clock: context.child("transport"),
            latency: Duration::from_millis(10),
            script: Mutex::new(Box::new(script)),
            calls: Mutex::default(),
            listens: Mutex::default(),
            feeds: Mutex::default(),
            hangs: AtomicBool::default(),
            in_flight: Mutex::default(),
            open: Arc::default(),
        }
    }

    /// Answers from now on otherwise.
    pub(crate) fn rescript(&self, script: impl FnMut(Key) -> Answer + Send + 'static) {
        *self.script.lock() = Box::new(script);
    }

    /// Lets the next connection attempt succeed; what is sent is pushed, dropping the sender hangs up.
    pub(crate) fn accept(&self) -> mpsc::Sender<Result<Push, Fault>> {
        let (sender, receiver) = mpsc::channel(1_024);
        self.feeds.lock().push_back(receiver);
        sender
    }

    /// Lets connection attempts neither succeed nor fail from now on.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// Everything asked since the last time.
    pub(crate) fn calls(&self) -> Vec<Key> {
        std::mem::take(&mut self.calls.lock())
    }

    /// When each connection was attempted, since the epoch of the clock.
    pub(crate) fn listens(&self) -> Vec<Duration> {
        self.listens.lock().clone()
    }

    pub(crate) fn open(&self) -> Gauge {
        *self.open.lock()
    }

    pub(crate) fn in_flight(&self) -> Gauge {
        *self.in_flight.lock()
    }
}

/// Counts down when dropped.
struct Landing<'a>(&'a Mutex<Gauge>);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.lock().now -= 1;
    }
}

impl Transport for Arc<Scripted> {
    type Feed = ScriptedFeed;

    fn name(&self) -> &str {
        "test"
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        self.calls.lock().push(key);
        self.in_flight.lock().up();
        let _landing = Landing(&self.in_flight);
        self.clock.sleep(self.latency).await;
        let answer = (self.script.lock())(key);
        match answer {
            Answer::Bytes(bytes) => Ok(Some(bytes)),
            Answer::Missing => Ok(None),
            Answer::Fault(kind) => Err(kind.fault("test", "as told")),
            Answer::Silence => std::future::pending().await,
        }
    }

    async fn listen(&self) -> Result<ScriptedFeed, Fault> {
        let now = self.clock.current().duration_since(std::time::UNIX_EPOCH).unwrap();
        self.listens.lock().push(now);
        if self.hangs.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let feed = self.feeds.lock().pop_front();
        let refused = || FaultKind::Unreachable.fault("test", "nobody listens");
        let receiver = feed.ok_or_else(refused)?;
        self.open.lock().up();
        Ok(ScriptedFeed { receiver, open: self.open.clone() })
    }
}

pub(crate) struct ScriptedFeed {
    receiver: Pushes,
    open: Arc<Mutex<Gauge>>,
}

impl Feed for ScriptedFeed {
    async fn next(&mut self) -> Result<Push, Fault> {
        let ended = || FaultKind::Unreachable.fault("test", "hung up");
        self.receiver.recv().await.unwrap_or_else(|| Err(ended()))
    }
}

impl Drop for ScriptedFeed {
    fn drop(&mut self) {
        self.open.lock().now -= 1;
    }
}

pub(crate) type TestSource<E = deterministic::Context, X = OneEpoch<TestScheme>> =
    CertifiedSource<E, Arc<Scripted>, X, TestBlock>;
pub(crate) type TestUpstream<E = deterministic::Context, X = OneEpoch<TestScheme>> =
    Upstream<E, Arc<Scripted>, X, TestBlock>;

/// A source over `transport`, for the test chain.
pub(crate) fn follow<E: Clock + Metrics + Spawner + CryptoRng>(
    context: &E,
    transport: &Arc<Scripted>,
    config: Config,
) -> (TestSource<E>, TestUpstream<E>, Faults) {
    follow_under(context, trust(), transport, config)
}

/// The same, with a table of epochs of its own.
pub(crate) fn follow_under<E: Clock + Metrics + Spawner + CryptoRng, X: Epochs>(
    context: &E,
    epochs: X,
    transport: &Arc<Scripted>,
    config: Config,
) -> (TestSource<E, X>, TestUpstream<E, X>, Faults) {
    let recorder = Faults::default();
    let parts = Parts {
        chain: ChainId::new("test:certified").unwrap(),
        genesis: Chain::new(0).block(0).clone(),
        codec: RangeCfg::from(..=DATA_MAX),
        epochs,
        transport: transport.clone(),
        monitor: Arc::new(recorder.clone()),
    };
    let (source, upstream) = open(context.child("certified"), parts, config);
    (source, upstream, recorder)
}

/// An honest endpoint: the chain finalized up to `finalized`, where only the newest certificate is good.
/// Whoever looks at another one finds that out.
pub(crate) fn honest(chain: &Chain, finalized: u64) -> impl FnMut(Key) -> Answer + Send + use<> {
    let chain = chain.clone();
    let tip = (finalized > 0).then(|| chain.certified(CertificateKind::Finalized, finalized));
    let top = chain.blocks.len() as u64 - 1;
    let notarized = (top > finalized).then(|| chain.certified(CertificateKind::Notarized, top));
    move |key| {
        let answer = match key {
            Key::LatestFinalization => tip.clone(),
            Key::LatestNotarization => notarized.clone(),
            Key::Height(height) => match height.get() {
                0 => None,
                height if height > finalized => None,
                height if height == finalized => tip.clone(),
                height => Some(chain.unsigned(height)),
            },
            Key::Digest(digest) => chain.by_digest(digest).map(Encode::encode),
            Key::Certificate { .. } | Key::Blocks { .. } => None,
        };
        answer.map_or(Answer::Missing, Answer::Bytes)
    }
}
