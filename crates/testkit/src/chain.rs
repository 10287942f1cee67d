//! Test chains with valid parent links: a block's digest is derived from its height, fork and parent.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use std::sync::Arc;
use tidewatch_core::{
    Block, BlockRef, ChainId, ChainInfo, CheckpointRef, Digest, Height, Timed, Tip, TipSet,
};

/// A minimal block: a height, a fork and a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestBlock {
    reference: BlockRef,
    parent: Digest,
    fork: char,
}

impl TestBlock {
    /// The block of `fork` at `height` on `parent`. The first byte of its digest is the fork, so that
    /// the output of a failing test shows it.
    pub fn new(height: u64, fork: char, parent: Digest) -> Self {
        let mut digest = Sha256::hash(&[&height.to_be_bytes(), &[fork as u8], &parent.0]);
        digest.0[0] = fork as u8;
        Self { reference: BlockRef::new(Height::new(height), digest), parent, fork }
    }
}

impl Write for TestBlock {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u64(self.reference.height.get());
        self.parent.write(buf);
        buf.put_u32(self.fork.into());
    }
}

impl EncodeSize for TestBlock {
    fn encode_size(&self) -> usize {
        8 + self.parent.0.len() + 4
    }
}

impl Read for TestBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let (height, parent) = (u64::read(buf)?, Digest::read(buf)?);
        let fork = char::from_u32(u32::read(buf)?).ok_or(Error::Invalid("TestBlock", "fork"))?;
        Ok(Self::new(height, fork, parent))
    }
}

impl Block for TestBlock {
    fn reference(&self) -> BlockRef {
        self.reference
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

impl Timed for TestBlock {
    fn time_ms(&self) -> Option<u64> {
        None
    }
}

/// A chain of blocks, starting at genesis. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Arc<Vec<TestBlock>>);

impl Chain {
    /// A chain of `fork` blocks from genesis to height `tip`.
    pub fn new(fork: char, tip: u64) -> Self {
        Self::of_network('g', fork, tip)
    }

    /// As [`Chain::new`], on the genesis block of fork `genesis`.
    pub fn of_network(genesis: char, fork: char, tip: u64) -> Self {
        Self(Arc::new(vec![TestBlock::new(0, genesis, Digest([0; 32]))])).fork(1, fork, tip)
    }

    /// A chain of `blocks`, which must start at genesis and link.
    pub fn from_blocks(blocks: Vec<TestBlock>) -> Self {
        Self(Arc::new(blocks))
    }

    /// This chain below height `at`, then blocks of `fork` from `at` to `tip`.
    pub fn fork(&self, at: u64, fork: char, tip: u64) -> Self {
        let mut blocks = self.0[..at as usize].to_vec();
        for height in at..=tip {
            let parent = blocks[height as usize - 1].reference.digest;
            blocks.push(TestBlock::new(height, fork, parent));
        }
        Self(Arc::new(blocks))
    }

    /// All blocks, starting with genesis.
    pub fn blocks(&self) -> &[TestBlock] {
        &self.0
    }

    /// Height of the last block.
    pub fn tip(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The block at `height`; `None` above the tip.
    pub fn get(&self, height: u64) -> Option<BlockRef> {
        self.0.get(height as usize).map(Block::reference)
    }

    /// The block at `height`.
    ///
    /// # Panics
    ///
    /// If `height` is above the tip.
    pub fn at(&self, height: u64) -> BlockRef {
        self.get(height).expect("height is at or below the tip")
    }

    /// Whether `block` is on this chain.
    pub fn has(&self, block: BlockRef) -> bool {
        self.get(block.height.get()) == Some(block)
    }

    /// The blocks from height `from` to `to`, cut off at the tip.
    pub fn range(&self, from: u64, to: u64) -> Vec<TestBlock> {
        let end = to.min(self.tip()) + 1;
        self.0.get(from as usize..end as usize).unwrap_or_default().to_vec()
    }

    /// Chain info of the chain.
    pub fn chain_info(&self) -> ChainInfo {
        ChainInfo { id: ChainId::new("test:1").unwrap(), genesis: self.at(0) }
    }

    /// A tip at `height`, with a checkpoint whose number is the height.
    pub fn checkpoint(&self, height: u64) -> Tip {
        let block = self.at(height);
        let checkpoint = CheckpointRef { number: height, digest: block.digest };
        Tip { block, checkpoint: Some(checkpoint) }
    }

    /// Tips at these heights, in the order of [`Tier::ALL`](tidewatch_core::Tier::ALL). `None` is an
    /// unknown tier; the proposed tip has no checkpoint.
    pub fn tips_at(&self, heights: [Option<u64>; 4]) -> TipSet {
        let mut tips = TipSet::unknown();
        for (tier, height) in tidewatch_core::Tier::ALL.into_iter().zip(heights) {
            let tip = height.map(|height| match tier {
                tidewatch_core::Tier::Proposed => self.at(height).into(),
                _ => self.checkpoint(height),
            });
            tips.set(tier, tip);
        }
        tips
    }

    /// As [`Chain::tips_at`], where height 0 stands for an unknown tier.
    pub fn tips(&self, heights: [u64; 4]) -> TipSet {
        self.tips_at(heights.map(|height| Some(height).filter(|height| *height > 0)))
    }
}
