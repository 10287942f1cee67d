//! Chains of blocks that really link: the digest of a block is made from its height, its fork and its
//! parent.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use std::sync::Arc;
use tidewatch_certified::CertifiedBlock;
use tidewatch_core::{
    Block, BlockRef, ChainId, ChainInfo, CheckpointRef, Digest, Height, Tip, TipSet,
};

/// A block that knows its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestBlock {
    reference: BlockRef,
    parent: Digest,
    fork: char,
}

impl TestBlock {
    /// The block of `fork` at `height` on `parent`. The first byte of its digest names the fork, so
    /// that a failing test can.
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

impl CertifiedBlock for TestBlock {
    fn time_ms(&self) -> Option<u64> {
        None
    }
}

/// Blocks from genesis up. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Arc<Vec<TestBlock>>);

impl Chain {
    /// Fork `fork` from genesis up to `tip`.
    pub fn new(fork: char, tip: u64) -> Self {
        Self::of_network('g', fork, tip)
    }

    /// The same on another genesis.
    pub fn of_network(genesis: char, fork: char, tip: u64) -> Self {
        Self(Arc::new(vec![TestBlock::new(0, genesis, Digest([0; 32]))])).fork(1, fork, tip)
    }

    /// A chain of these blocks, which start at genesis and link.
    pub fn from_blocks(blocks: Vec<TestBlock>) -> Self {
        Self(Arc::new(blocks))
    }

    /// This chain below `at`, and blocks of `fork` from there up to `tip`.
    pub fn fork(&self, at: u64, fork: char, tip: u64) -> Self {
        let mut blocks = self.0[..at as usize].to_vec();
        for height in at..=tip {
            let parent = blocks[height as usize - 1].reference.digest;
            blocks.push(TestBlock::new(height, fork, parent));
        }
        Self(Arc::new(blocks))
    }

    /// Its blocks, from genesis.
    pub fn blocks(&self) -> &[TestBlock] {
        &self.0
    }

    /// Height of its last block.
    pub fn tip(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The block at `height`, if it is that high.
    pub fn get(&self, height: u64) -> Option<BlockRef> {
        self.0.get(height as usize).map(Block::reference)
    }

    /// The block at `height`.
    pub fn at(&self, height: u64) -> BlockRef {
        self.get(height).expect("the chain is that high")
    }

    /// Whether `block` is one of this chain.
    pub fn has(&self, block: BlockRef) -> bool {
        self.get(block.height.get()) == Some(block)
    }

    /// The blocks from `from` to `to`, as far as the chain goes.
    pub fn range(&self, from: u64, to: u64) -> Vec<TestBlock> {
        let end = to.min(self.tip()) + 1;
        self.0.get(from as usize..end as usize).unwrap_or_default().to_vec()
    }

    /// Its chain info.
    pub fn chain_info(&self) -> ChainInfo {
        ChainInfo { id: ChainId::new("test:1").unwrap(), genesis: self.at(0) }
    }

    /// The tip of a tier at `height`: its checkpoint has the number of the block.
    pub fn checkpoint(&self, height: u64) -> Tip {
        let block = self.at(height);
        let checkpoint = CheckpointRef { number: height, digest: block.digest };
        Tip { block, checkpoint: Some(checkpoint) }
    }

    /// Tips at these heights, in the order of [`Tier::ALL`](tidewatch_core::Tier::ALL). `None` is a
    /// tier that is not known; the proposed tip names no checkpoint.
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

    /// Tips at these heights, where 0 stands for a tier that the chain does not have yet.
    pub fn tips(&self, heights: [u64; 4]) -> TipSet {
        self.tips_at(heights.map(|height| Some(height).filter(|height| *height > 0)))
    }
}
