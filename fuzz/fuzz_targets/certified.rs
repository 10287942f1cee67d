//! The decoders and the verifier of `tidewatch-certified`.
//!
//! The input is the bytes of a transport: responses to keys, and pushes. A committee of four certifies a
//! small chain once; the fuzzer mutates the signed bytes and responds with them. The properties:
//!
//! - no input causes a panic; rejected input yields a typed fault with a bounded message;
//! - a certificate and its block become `Verified` only if their bytes are exactly those that were
//!   signed: any change is rejected, and unchanged bytes are accepted;
//! - a block is accepted for a digest only if a verified block names that digest;
//! - a file of evidence that is read is written again as it was, and checked without a panic;
//! - a source over an endpoint with arbitrary responses in any order returns tips, blocks and digests of
//!   the committee's chain, or a fault.
#![no_main]

use alto_types::{EPOCH, NAMESPACE};
use arbitrary::Arbitrary;
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use libfuzzer_sys::fuzz_target;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tidewatch_certified::{
    CertificateKind, Check, Checker, Config, Feed, Key, Metrics, OneEpoch, Parts, Push, Scheme,
    Transport, Verifier, checker, open,
};
use tidewatch_core::{
    Block as _, BlockRef, ChainId, Digest, Fault, FaultKind, Height, Severity, Source as _, Tier,
};
use tidewatch_devnet::{
    Certify,
    readymade::{Chain, ChainConfig},
};
use tidewatch_fuzz::{DATA_MAX, Damage, runner};
use tidewatch_sentinel::evidence::{Evidence, Trusted};
use tidewatch_sources::alto::{AltoBlock, StandardScheme, VrfScheme};

const BLOCKS: u64 = 8;

/// Bytes as a file of evidence, and as the body of one whose head and hash are right.
fn evidence(bytes: &[u8]) {
    let mut file = b"TWEVID01".to_vec();
    file.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    file.extend_from_slice(bytes);
    let hash = Sha256::hash(&[&file]);
    file.extend_from_slice(&hash);
    for file in [bytes, &file] {
        if let Ok(evidence) = Evidence::from_file(file) {
            assert_eq!(evidence.to_file(), file, "read and written again");
            let _ = evidence.check(&Trusted::default());
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    vrf: bool,
    what: What<'a>,
}

#[derive(Arbitrary, Debug)]
enum What<'a> {
    /// A certificate and a block of independent origin, mutated, and presented as a kind.
    Certificate { kind: bool, of: Answer, block: u8, damage: Vec<Damage<'a>> },
    /// A block for the digest that its child names.
    Block { named: u8, block: u8, damage: Vec<Damage<'a>> },
    /// Arbitrary bytes.
    Raw { kind: bool, bytes: &'a [u8] },
    /// A source whose endpoint returns these responses, with these requests.
    Source { said: Vec<Said<'a>>, pushed: Vec<Pushed<'a>>, asked: Vec<Asked> },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Answer {
    finalized: bool,
    height: u8,
}

#[derive(Arbitrary, Clone, Debug)]
enum Said<'a> {
    Honest(u8),
    Other(Answer),
    Damaged(Answer, Damage<'a>),
    OtherBlock(u8),
    Raw(&'a [u8]),
    Missing,
    Fault(u8),
    Silence,
}

#[derive(Arbitrary, Clone, Debug)]
enum Pushed<'a> {
    Frame { finalized: bool, of: Answer, damage: Option<Damage<'a>> },
    Irrelevant,
    Fault(u8),
    Pause(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Asked {
    Snapshot,
    Blocks { from: u8, tip: u8 },
    Digests([u8; 3]),
    Pause(u8),
}

/// The chain of one committee, and its trust root.
struct World<S: Scheme> {
    scheme: OneEpoch<S>,
    blocks: Vec<AltoBlock>,
    /// Certificates without their blocks, by kind and height.
    proofs: [Vec<Bytes>; 2],
}

static STANDARD: LazyLock<World<StandardScheme>> = LazyLock::new(World::new);
static VRF: LazyLock<World<VrfScheme>> = LazyLock::new(World::new);

const fn kind(finalized: bool) -> CertificateKind {
    if finalized { CertificateKind::Finalized } else { CertificateKind::Notarized }
}

/// A height of the chain, genesis left out.
const fn height(any: u8) -> u64 {
    1 + any as u64 % BLOCKS
}

impl<S: Lives> World<S> {
    fn new() -> Self {
        let config = ChainConfig { data_bytes: 24, skip_every: 3, ..ChainConfig::default() };
        let chain = Chain::sign(BLOCKS, S::MODE, config).expect("signs");
        let heights = || (1..=BLOCKS).map(Height::new);
        let signed = heights().map(|at| AltoBlock(chain.block(at).expect("signed").clone()));
        let blocks: Vec<_> = [AltoBlock::genesis()].into_iter().chain(signed).collect();
        let finalized =
            heights().map(|at| chain.finalized::<S>(at).expect("signed").proof.encode());
        let notarized =
            heights().map(|at| chain.notarized::<S>(at).expect("signed").proof.encode());
        let proofs = [notarized.collect(), finalized.collect()];
        let scheme = OneEpoch::new(EPOCH, S::certificate_verifier(NAMESPACE, chain.public()));
        let world = Self { scheme, blocks, proofs };
        for (finalized, at) in [(false, 1), (true, BLOCKS)] {
            assert!(world.verified(kind(finalized), world.answer(finalized, at)).is_some());
        }
        world
    }

    fn proof(&self, finalized: bool, at: u64) -> &Bytes {
        &self.proofs[usize::from(finalized)][at as usize - 1]
    }

    fn block(&self, at: u64) -> &AltoBlock {
        &self.blocks[at as usize]
    }

    fn answer(&self, finalized: bool, at: u64) -> Bytes {
        [self.proof(finalized, at).clone(), self.block(at).encode()].concat().into()
    }

    /// Whether `bytes` are what the committee signed as `kind`, at one of the heights.
    fn signed(&self, kind: CertificateKind, bytes: &[u8]) -> bool {
        let finalized = kind == CertificateKind::Finalized;
        (1..=BLOCKS).any(|at| self.answer(finalized, at) == bytes)
    }

    /// Runs `test` with a verifier of this chain.
    fn verifying<T>(&self, test: impl AsyncFnOnce(&Verifier<OneEpoch<S>, AltoBlock>) -> T) -> T {
        runner().start(|context| async move {
            let metrics = Metrics::new(&context, "fuzz", Arc::new(()));
            let (checker, mailbox) =
                Checker::new(context.child("checker"), checker::Config::default());
            checker.start();
            let (genesis, codec) = (AltoBlock::genesis(), AltoBlock::codec(DATA_MAX));
            test(&Verifier::new(self.scheme.clone(), genesis, codec, metrics, mailbox)).await
        })
    }

    fn verified(&self, kind: CertificateKind, bytes: Bytes) -> Option<BlockRef> {
        self.verifying(async |verifier| self.verified_by(verifier, kind, bytes).await)
    }

    async fn verified_by(
        &self,
        verifier: &Verifier<OneEpoch<S>, AltoBlock>,
        kind: CertificateKind,
        bytes: Bytes,
    ) -> Option<BlockRef> {
        let claim = verifier.claim(kind, bytes.clone()).map_err(|f| refused(&f)).ok()?;
        let (round, name) = (claim.round(), claim.reference());
        let checked = verifier.check(claim, Check::Tip).await.map_err(|f| refused(&f)).ok()?;
        assert_eq!((checked.kind, checked.round, checked.block.reference()), (kind, round, name));
        let again = [checked.proof.clone(), checked.block.encode()].concat();
        assert_eq!(again, bytes, "what is kept is what came");
        Some(name)
    }

    fn run(&self, what: What<'_>) {
        match what {
            What::Certificate { kind: finalized, of, block, damage } => {
                let mut bytes = self.proof(of.finalized, height(of.height)).to_vec();
                bytes.extend_from_slice(&self.block(height(block)).encode());
                damage.iter().for_each(|damage| damage.apply(&mut bytes));
                self.certificate(kind(finalized), bytes.into());
            }
            What::Raw { kind: finalized, bytes } => {
                evidence(bytes);
                self.certificate(kind(finalized), Bytes::copy_from_slice(bytes));
            }
            What::Block { named, block, damage } => {
                self.resolve(height(named), height(block), &damage)
            }
            What::Source { said, pushed, asked } => self.source(&said, &pushed, &asked),
        }
    }

    fn certificate(&self, kind: CertificateKind, bytes: Bytes) {
        let signed = self.signed(kind, &bytes);
        let verified = self.verified(kind, bytes);
        assert_eq!(verified.is_some(), signed, "{kind} {verified:?}");
    }

    /// A mutated block in place of the parent of the block at `named`.
    fn resolve(&self, named: u64, block: u64, damage: &[Damage<'_>]) {
        self.verifying(async |verifier| {
            self.resolve_by(verifier, named, block, damage).await;
        });
    }

    async fn resolve_by(
        &self,
        verifier: &Verifier<OneEpoch<S>, AltoBlock>,
        named: u64,
        block: u64,
        damage: &[Damage<'_>],
    ) {
        let claim =
            verifier.claim(CertificateKind::Finalized, self.answer(true, named)).expect("signed");
        let child = verifier.check(claim, Check::Tip).await.expect("signed").block();
        let name = child.vouched().expect("above genesis");
        let mut bytes = self.block(block).encode().to_vec();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        let right = self.block(named - 1).encode() == bytes.as_slice();
        let resolved = verifier.resolve(&name, bytes.into());
        assert_eq!(resolved.is_ok(), right, "{:?}", resolved.map_err(|fault| refused(&fault)));
    }

    fn source(&self, said: &[Said<'_>], pushed: &[Pushed<'_>], asked: &[Asked]) {
        let bytes = |of: Answer| self.answer(of.finalized, height(of.height)).to_vec();
        let script = said.iter().map(|said| self.say(said)).collect();
        let pushes = pushed.iter().map(|pushed| match pushed {
            Pushed::Frame { finalized, of, damage } => {
                let mut frame = bytes(*of);
                damage.iter().for_each(|damage| damage.apply(&mut frame));
                let push = if *finalized { Push::Finalization } else { Push::Notarization };
                Next::Push(push(frame.into()))
            }
            Pushed::Irrelevant => Next::Push(Push::Irrelevant),
            Pushed::Fault(kind) => Next::Fault(fault(*kind)),
            Pushed::Pause(seconds) => Next::Pause(*seconds),
        });
        let pushes = pushes.collect();
        runner().start(|context| async move {
            self.ask(context, Scripted { script, pushes }, asked).await;
        });
    }

    fn say(&self, said: &Said<'_>) -> Say {
        let bytes = |of: &Answer| self.answer(of.finalized, height(of.height));
        match said {
            Said::Honest(tip) => Say::Honest(height(*tip)),
            Said::Other(of) => Say::Bytes(bytes(of)),
            Said::Damaged(of, damage) => {
                let mut damaged = bytes(of).to_vec();
                damage.apply(&mut damaged);
                Say::Bytes(damaged.into())
            }
            Said::OtherBlock(at) => Say::Bytes(self.block(height(*at)).encode()),
            Said::Raw(raw) => Say::Bytes(Bytes::copy_from_slice(raw)),
            Said::Missing => Say::Missing,
            Said::Fault(kind) => Say::Fault(fault(*kind)),
            Said::Silence => Say::Silence,
        }
    }

    fn honest(&self, key: Key, tip: u64) -> Option<Bytes> {
        match key {
            Key::LatestFinalization => Some(self.answer(true, tip)),
            Key::LatestNotarization => Some(self.answer(false, BLOCKS)),
            Key::Height(at) if (1..=BLOCKS).contains(&at.get()) => {
                Some(self.answer(true, at.get()))
            }
            Key::Height(_) => None,
            Key::Digest(digest) => self
                .blocks
                .iter()
                .find(|block| block.reference().digest == digest)
                .map(|b| b.encode()),
            Key::Certificate { from, to } => {
                let found = to.get().clamp(1, BLOCKS);
                (from.get() <= BLOCKS).then(|| self.answer(true, found))
            }
            Key::Blocks { tip, from } => {
                let mut bytes = Vec::new();
                for height in from.get()..=tip.height.get().min(BLOCKS) {
                    let block = self.block(height).encode();
                    bytes.extend((block.len() as u32).to_be_bytes());
                    bytes.extend(block);
                }
                Some(bytes.into())
            }
        }
    }
}

enum Say {
    Honest(u64),
    Bytes(Bytes),
    Missing,
    Fault(Fault),
    Silence,
}

enum Next {
    Push(Push),
    Fault(Fault),
    Pause(u8),
}

struct Scripted {
    script: Vec<Say>,
    pushes: Vec<Next>,
}

fn fault(kind: u8) -> Fault {
    // A transport may report every fault except local ones.
    let kinds: Vec<_> =
        FaultKind::ALL.iter().filter(|kind| !kind.severity().is_fatal()).copied().collect();
    kinds[usize::from(kind) % kinds.len()].fault("fuzz", "as told")
}

fn refused(fault: &Fault) -> FaultKind {
    assert_eq!(fault.severity(), Severity::Invalid, "{fault}");
    assert!(fault.to_string().len() < 1_000, "{fault}");
    fault.kind
}

/// An endpoint that returns the given responses in turn, and the truth afterwards.
struct Endpoint<S: Scheme> {
    clock: deterministic::Context,
    world: &'static World<S>,
    script: Mutex<std::vec::IntoIter<Say>>,
    pushes: Mutex<Option<Vec<Next>>>,
}

struct Pushes {
    clock: deterministic::Context,
    left: std::vec::IntoIter<Next>,
}

impl<S: Lives> Transport for Endpoint<S> {
    type Feed = Pushes;

    fn name(&self) -> &str {
        "fuzz"
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let said = self.script.lock().next();
        match said.unwrap_or(Say::Honest(BLOCKS - 1)) {
            Say::Honest(tip) => Ok(self.world.honest(key, tip)),
            Say::Bytes(bytes) => Ok(Some(bytes)),
            Say::Missing => Ok(None),
            Say::Fault(fault) => Err(fault),
            Say::Silence => std::future::pending().await,
        }
    }

    async fn listen(&self) -> Result<Pushes, Fault> {
        let pushes = self.pushes.lock().take();
        let gone = || FaultKind::Unreachable.fault("fuzz", "nobody listens");
        Ok(Pushes { clock: self.clock.child("feed"), left: pushes.ok_or_else(gone)?.into_iter() })
    }
}

impl Feed for Pushes {
    async fn next(&mut self) -> Result<Push, Fault> {
        loop {
            match self.left.next() {
                Some(Next::Push(push)) => return Ok(push),
                Some(Next::Fault(fault)) => return Err(fault),
                Some(Next::Pause(seconds)) => {
                    self.clock.sleep(Duration::from_secs(seconds.into())).await;
                }
                None => std::future::pending().await,
            }
        }
    }
}

impl<S: Lives> World<S> {
    async fn ask(&self, context: deterministic::Context, scripted: Scripted, asked: &[Asked]) {
        let transport = Endpoint {
            clock: context.child("transport"),
            world: S::world(),
            script: Mutex::new(scripted.script.into_iter()),
            pushes: Mutex::new(Some(scripted.pushes)),
        };
        let parts = Parts {
            chain: ChainId::new("fuzz:1").expect("printable"),
            genesis: AltoBlock::genesis(),
            codec: AltoBlock::codec(DATA_MAX),
            epochs: self.scheme.clone(),
            transport,
            monitor: Arc::new(()),
        };
        // Every other time it is an endpoint that finds certificates.
        let config = Config { finds_certificates: asked.len() % 2 == 1, ..Config::default() };
        let (source, upstream) = open(context.child("source"), parts, config);
        let _upstream = upstream.start();
        let ours =
            |name: BlockRef| name.height.get() <= BLOCKS && self.at(name.height.get()) == name;
        let mut tip = self.at(0);
        for asked in asked {
            match *asked {
                Asked::Pause(seconds) => context.sleep(Duration::from_secs(seconds.into())).await,
                Asked::Snapshot => {
                    let Ok(snapshot) = source.snapshot().await else { continue };
                    let block = |tier| snapshot.tips.block(tier).expect("known from genesis on");
                    let (proposed, finalized) = (block(Tier::Proposed), block(Tier::Finalized));
                    assert!(ours(proposed) && ours(finalized), "{snapshot:?}");
                    assert!(finalized.height <= proposed.height, "{snapshot:?}");
                    let proven =
                        snapshot.proofs.get(Tier::Finalized).map(|proof| proof.bytes.clone());
                    let known = Some(finalized.height.get()).filter(|at| *at > 0);
                    assert_eq!(proven, known.map(|at| self.proof(true, at).clone()));
                    tip = proposed;
                }
                Asked::Blocks { from, tip } => {
                    let (from, tip) = (u64::from(from) % (BLOCKS + 2), self.at(height(tip)));
                    let Ok(blocks) = source.blocks(tip, Height::new(from)).await else { continue };
                    for (block, at) in blocks.iter().zip(from..) {
                        assert!(at <= tip.height.get() && block == self.block(at), "{block:?}");
                    }
                }
                Asked::Digests(heights) => {
                    let heights = heights.map(|at| Height::new(u64::from(at) % (BLOCKS + 2)));
                    let Ok(digests) = source.digests(tip, &heights).await else { continue };
                    for (at, digest) in heights.iter().zip(digests) {
                        let right = |digest: Digest| ours(BlockRef::new(*at, digest));
                        assert!(digest.is_none_or(right), "{digest:?} at {at}");
                        assert!(digest.is_none() || *at <= tip.height, "{at} is above {tip}");
                    }
                }
            }
        }
    }

    fn at(&self, at: u64) -> BlockRef {
        self.block(at).reference()
    }
}

/// The one world of a scheme.
trait Lives: Certify + Scheme {
    fn world() -> &'static World<Self>;
}

impl Lives for StandardScheme {
    fn world() -> &'static World<Self> {
        &STANDARD
    }
}

impl Lives for VrfScheme {
    fn world() -> &'static World<Self> {
        &VRF
    }
}

fuzz_target!(|input: Input<'_>| {
    if input.vrf { VRF.run(input.what) } else { STANDARD.run(input.what) }
});
