//! A chain whose boundaries carry the key of the next epoch, and an endpoint that has it.

use crate::{
    Boundary, CertificateKind, Config, Key, Parts, Schemes, SchemesParts,
    mocks::{Answer, Chain, DATA_MAX, Scripted, TestBlock, TestScheme, certify},
    open,
};
use bytes::Bytes;
use commonware_codec::{Encode as _, Error, RangeCfg, ReadExt as _};
use commonware_consensus::types::{Epoch, FixedEpocher, Round, View};
use commonware_cryptography::bls12381::primitives::variant::{MinSig, Variant};
use commonware_runtime::{Supervisor as _, deterministic};
use commonware_utils::{NZU64, sync::Mutex};
use std::{collections::BTreeMap, sync::Arc};
use tidewatch_core::{Block as _, BlockRef, ChainId, Digest, Height};
use tidewatch_testkit::committee::{Committee, NAMESPACE};
use tidewatch_testkit::monitor::Faults;

type Public = <MinSig as Variant>::Public;

/// Reads boundaries of the test chain: their data is the next group's key, encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestBoundary;

impl Boundary<TestBlock> for TestBoundary {
    type Scheme = TestScheme;

    fn scheme(&self, _: Epoch, block: &TestBlock) -> Result<TestScheme, Error> {
        let key = Public::read(&mut block.data.clone())?;
        Ok(TestScheme::certificate_verifier(NAMESPACE, key))
    }

    fn key(&self, scheme: &TestScheme) -> Option<Bytes> {
        Some(scheme.identity().encode())
    }
}

pub(crate) type TestSchemes = Schemes<FixedEpocher, TestBoundary, TestBlock>;
pub(crate) type Source =
    crate::CertifiedSource<deterministic::Context, Arc<Scripted>, TestSchemes, TestBlock>;
pub(crate) type Upstream =
    crate::Upstream<deterministic::Context, Arc<Scripted>, TestSchemes, TestBlock>;

/// The committee whose group key is the `seed`th. The same for equal seeds, whoever asks.
pub(crate) fn committee(seed: u64) -> Committee {
    static ALL: Mutex<BTreeMap<u64, Committee>> = Mutex::new(BTreeMap::new());
    ALL.lock().entry(seed).or_insert_with(|| Committee::new(1_000 + seed, 4)).clone()
}

/// A chain of epochs of equal length; the key of each is given by a seed.
#[derive(Clone, Debug)]
pub(crate) struct Epoched {
    pub(crate) length: u64,
    pub(crate) keys: Vec<u64>,
    /// Boundaries and what lies between them, as far as it is kept.
    blocks: BTreeMap<u64, TestBlock>,
    digests: BTreeMap<Digest, u64>,
    pub(crate) tip: u64,
}

impl Epoched {
    /// A chain up to `tip`, in epochs of `length` blocks under `keys`. Of a `sparse` one only the boundaries,
    /// their neighbours and the tip are kept.
    pub(crate) fn new(length: u64, keys: Vec<u64>, tip: u64, sparse: bool) -> Self {
        let genesis = Chain::new(0).block(0).clone();
        let mut chain = Self {
            length,
            keys,
            blocks: BTreeMap::from([(0, genesis.clone())]),
            digests: BTreeMap::new(),
            tip,
        };
        let mut parent = genesis.reference().digest;
        for height in 1..=tip {
            let ends = (height + 1) % length == 0;
            let data = if ends { chain.key((height + 1) / length) } else { Bytes::new() };
            let block = TestBlock::new(height, parent, &data);
            parent = block.reference().digest;
            if ends || !sparse || height == tip {
                chain.digests.insert(parent, height);
                chain.blocks.insert(height, block);
            }
        }
        chain
    }

    fn key(&self, epoch: u64) -> Bytes {
        let seed = self.keys.get(epoch as usize).or(self.keys.last()).copied().unwrap_or_default();
        committee(seed).verifier().identity().encode()
    }

    /// The chain with another key in the boundary that ends `epoch`, and other blocks above it.
    pub(crate) fn with_key(&self, epoch: u64, key: u64) -> Self {
        let mut keys = self.keys.clone();
        keys[epoch as usize + 1] = key;
        Self::new(self.length, keys, self.tip, false)
    }

    pub(crate) fn epoch(&self, height: u64) -> u64 {
        height / self.length
    }

    pub(crate) fn block(&self, height: u64) -> &TestBlock {
        &self.blocks[&height]
    }

    pub(crate) fn reference(&self, height: u64) -> BlockRef {
        self.block(height).reference()
    }

    /// The round of the block at `height`: views begin anew in each epoch.
    pub(crate) fn round(&self, height: u64) -> Round {
        Round::new(Epoch::new(self.epoch(height)), View::new(1 + height % self.length))
    }

    /// The block at `height`, certified by the committee of its epoch.
    pub(crate) fn certified(&self, kind: CertificateKind, height: u64) -> Bytes {
        let seed = self.keys[self.epoch(height) as usize];
        certify(&committee(seed), kind, self.round(height), self.block(height))
    }

    /// The block at `height`, certified by the holders of another key.
    pub(crate) fn forged(&self, key: u64, height: u64) -> Bytes {
        certify(&committee(key), CertificateKind::Finalized, self.round(height), self.block(height))
    }

    /// An endpoint that has all of it, finalized up to the tip.
    pub(crate) fn answers(&self) -> impl FnMut(Key) -> Answer + Send + use<> {
        let chain = self.clone();
        let mut made = BTreeMap::new();
        move |key| {
            let mut certified = |height: u64| {
                let make = || chain.certified(CertificateKind::Finalized, height);
                made.entry(height).or_insert_with(make).clone()
            };
            match key {
                Key::LatestFinalization => Answer::Bytes(certified(chain.tip)),
                Key::LatestNotarization => Answer::Missing,
                Key::Height(height) => {
                    let height = height.get();
                    match height > 0 && height <= chain.tip && chain.blocks.contains_key(&height) {
                        true => Answer::Bytes(certified(height)),
                        false => Answer::Missing,
                    }
                }
                Key::Digest(digest) => chain
                    .digests
                    .get(&digest)
                    .map_or(Answer::Missing, |height| Answer::Bytes(chain.block(*height).encode())),
                Key::Certificate { .. } | Key::Blocks { .. } => Answer::Missing,
            }
        }
    }

    /// A table that trusts the key of `epoch`.
    pub(crate) fn schemes(&self, epoch: u64) -> TestSchemes {
        let parts = SchemesParts {
            epocher: FixedEpocher::new(NZU64!(self.length)),
            boundary: TestBoundary,
            blocks: RangeCfg::from(..=DATA_MAX),
            certificates: (),
        };
        let committee = committee(self.keys[epoch as usize]);
        let scheme = TestScheme::certificate_verifier(NAMESPACE, *committee.verifier().identity());
        Schemes::new(parts, Epoch::new(epoch), scheme)
    }
}

/// A source over `transport` under `schemes`.
pub(crate) fn follow(
    context: &deterministic::Context,
    schemes: &TestSchemes,
    transport: &Arc<Scripted>,
    config: Config,
) -> (Source, Upstream, Faults) {
    let recorder = Faults::default();
    let parts = Parts {
        chain: ChainId::new("test:epochs").unwrap(),
        genesis: Chain::new(0).block(0).clone(),
        codec: RangeCfg::from(..=DATA_MAX),
        epochs: schemes.clone(),
        transport: transport.clone(),
        monitor: Arc::new(recorder.clone()),
    };
    let (source, upstream) = open(context.child("certified"), parts, config);
    (source, upstream, recorder)
}

pub(crate) fn height(value: u64) -> Key {
    Key::Height(Height::new(value))
}
