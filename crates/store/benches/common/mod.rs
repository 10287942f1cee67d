//! A durable store in a temporary directory, the chain that it follows, and percentiles.

use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{
    Runner as _, Supervisor as _,
    tokio::{Config as Runtime, Context, Runner},
};
use std::{future::Future, time::Duration};
use tidewatch_core::{
    Block, BlockRef, ChainId, ChainInfo, Change, Digest, Height, Tier, TierProof, Tip,
};
use tidewatch_store::{Config, Reader, Store, Writer};

pub(crate) type Writing = Writer<Context, Linked>;
pub(crate) type Reading = Reader<Context, Linked>;

/// Runs `bench` on the runtime of the command, with storage on disk below `target`.
pub(crate) fn run<F: Future<Output = ()>>(bench: impl FnOnce(Context) -> F) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = Runtime::new().with_worker_threads(2).with_storage_directory(directory.path());
    Runner::new(config).start(bench);
}

pub(crate) async fn open(context: &Context, chain: &Chain) -> (Writing, Reading) {
    Store::open(context.child("store"), Config::new(chain.info(), ())).await.unwrap()
}

/// A block of 250 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    height: u64,
    parent: Digest,
}

const PADDING: [u8; 210] = [0x5a; 210];

impl Block for Linked {
    fn reference(&self) -> BlockRef {
        let digest = Sha256::hash(&[&self.height.to_be_bytes(), &self.parent.0]);
        BlockRef::new(Height::new(self.height), digest)
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

impl Write for Linked {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u64(self.height);
        self.parent.write(buf);
        buf.put_slice(&PADDING);
    }
}

impl FixedSize for Linked {
    const SIZE: usize = 8 + 32 + PADDING.len();
}

impl Read for Linked {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let block = Self { height: u64::read(buf)?, parent: Digest::read(buf)? };
        <[u8; PADDING.len()]>::read(buf)?;
        Ok(block)
    }
}

/// A chain that grows from genesis.
pub(crate) struct Chain {
    blocks: Vec<Linked>,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self { blocks: vec![Linked { height: 0, parent: Digest([0; 32]) }] }
    }

    pub(crate) fn info(&self) -> ChainInfo {
        ChainInfo { id: ChainId::new("bench:1").unwrap(), genesis: self.at(0) }
    }

    pub(crate) fn tip(&self) -> BlockRef {
        self.blocks.last().unwrap().reference()
    }

    pub(crate) fn at(&self, height: u64) -> BlockRef {
        self.blocks[height as usize].reference()
    }

    /// The next `count` blocks, proposed and finalized: what a pass over a certified chain commits.
    pub(crate) fn grow(&mut self, count: u64) -> Vec<Change<Linked>> {
        let first = self.blocks.len();
        for _ in 0..count {
            let tip = self.tip();
            let height = tip.height.get() + 1;
            self.blocks.push(Linked { height, parent: tip.digest });
        }
        vec![
            Change::Blocks(self.blocks[first..].to_vec()),
            advance(Tier::Proposed, self.tip(), None),
            advance(Tier::Finalized, self.tip(), Some(proof_of(self.tip()))),
        ]
    }
}

pub(crate) fn advance(tier: Tier, block: BlockRef, proof: Option<TierProof>) -> Change<Linked> {
    Change::Advanced { tier, tip: Tip::from(block), proof }
}

/// About as long as a BLS certificate.
fn proof_of(block: BlockRef) -> TierProof {
    TierProof { block, bytes: vec![0x5a; 200].into() }
}

/// Prints a percentile of `samples` as a name and nanoseconds, the lines that `scripts/before-after`
/// reads.
pub(crate) fn print(name: &str, samples: &mut [Duration], percent: usize) {
    samples.sort_unstable();
    let at = (samples.len() - 1) * percent / 100;
    println!("{name} {}", samples[at].as_nanos());
}
