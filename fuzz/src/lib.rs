//! Shared parts of the fuzz targets: byte mutations chosen by the fuzzer, and a small chain.

use alto_types::{Block as Inner, Context, EPOCH};
use arbitrary::Arbitrary;
use bytes::Bytes;
use commonware_consensus::types::{Round, View};
use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
use commonware_runtime::{
    BufferPoolConfig,
    deterministic::{Config, Runner},
};
use commonware_utils::{NZU32, NZUsize};
use std::time::Duration;
use tidewatch_core::{
    Block as _, BlockRef, ChainId, ChainInfo, Change, Height, Tier, TierProof, Tip, Watermarks,
};
use tidewatch_sources::alto::AltoBlock;
pub use tidewatch_testkit::view::Both;

/// Maximum payload of the blocks of [`Chain`].
pub const DATA_MAX: u32 = 1_024;

/// One mutation of a byte string. Positions wrap, so that every mutation hits.
#[derive(Arbitrary, Clone, Debug)]
pub enum Damage<'a> {
    /// Changes one byte to a different value.
    Xor(u16, u8),
    /// Replaces bytes.
    Put(u16, &'a [u8]),
    /// Removes bytes.
    Remove(u16, u8),
    /// Truncates.
    Cut(u16),
    /// Appends bytes.
    Append(&'a [u8]),
}

impl Damage<'_> {
    /// Applies the mutation.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match *self {
            Self::Xor(at, with) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= with;
                }
            }
            Self::Put(at, put) => {
                let at = place(at);
                let end = bytes.len().min(at + put.len());
                bytes.splice(at..end, put.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(count));
                bytes.drain(at..end);
            }
            Self::Cut(at) => {
                let at = place(at);
                bytes.truncate(at);
            }
            Self::Append(end) => bytes.extend_from_slice(end),
        }
    }
}

/// A deterministic runtime that is cheap to start, because a target starts one for every input. A task
/// that waits longer than a day of simulated time counts as hanging.
pub fn runner() -> Runner {
    let (size, one) = (NZUsize!(1024), NZU32!(1));
    let network = BufferPoolConfig::for_network().with_size_class_range(size, size, one);
    let config = Config::default()
        .with_timeout(Some(Duration::from_secs(86_400)))
        .with_network_buffer_pool_config(network);
    Runner::new(config)
}

/// Chain info of the stores of the targets.
pub fn chain_info() -> ChainInfo {
    let id = ChainId::new("fuzz:1").expect("printable");
    ChainInfo { id, genesis: AltoBlock::genesis().reference() }
}

/// A chain of linked blocks, starting at genesis.
#[derive(Clone, Debug)]
pub struct Chain(Vec<AltoBlock>);

impl Chain {
    /// Genesis and `length` blocks on top of it.
    pub fn of(length: u64) -> Self {
        Self(vec![AltoBlock::genesis()]).grown(length, 0)
    }

    fn grown(mut self, more: u64, fork: u64) -> Self {
        let leader = PrivateKey::from_seed(fork).public_key();
        for _ in 0..more {
            let top = self.at(self.top());
            let height = top.height.next();
            let view = View::new(height.get());
            let parent = (View::new(top.height.get()), top.digest);
            let context =
                Context { round: Round::new(EPOCH, view), leader: leader.clone(), parent };
            let data = Bytes::from(vec![height.get() as u8; 100]);
            self.0.push(AltoBlock(Inner::new(context, top.digest, height, fork, data)));
        }
        self
    }

    /// This chain up to height `at`, continued with `more` different blocks.
    pub fn forked(&self, at: u64, more: u64, fork: u64) -> Self {
        Self(self.0[..=at as usize].to_vec()).grown(more, fork)
    }

    /// Height of the last block.
    pub fn top(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The block at a height, up to the top.
    pub fn block(&self, height: u64) -> &AltoBlock {
        &self.0[height as usize]
    }

    /// Reference of the block at a height.
    pub fn at(&self, height: u64) -> BlockRef {
        self.block(height).reference()
    }

    /// The change that delivers `from..=to`.
    pub fn blocks(&self, from: u64, to: u64) -> Change<AltoBlock> {
        Change::Blocks(self.0[from as usize..=to as usize].to_vec())
    }

    /// The change that moves `tier` up to `height`.
    pub fn up(&self, tier: Tier, height: u64) -> Change<AltoBlock> {
        Change::Advanced { tier, tip: self.at(height).into(), proof: None }
    }

    /// The change that finalizes `height`, with a finality proof.
    pub fn finalize(&self, height: u64) -> Change<AltoBlock> {
        let (block, tier) = (self.at(height), Tier::Finalized);
        Change::Advanced { tier, tip: block.into(), proof: Some(proof(block)) }
    }

    /// The change that prunes a view at `watermarks` to `height`, every tier clamped to it.
    pub fn prune(&self, watermarks: &Watermarks, height: u64) -> Change<AltoBlock> {
        let (to, mut tips) = (self.at(height), watermarks.tips);
        for tier in Tier::ALL {
            if tips.block(tier).is_some_and(|tip| tip.height > to.height) {
                tips.set(tier, Some(Tip::from(to)));
            }
        }
        Change::Pruned { to, tips }
    }
}

/// A placeholder for a proof: a store keeps the bytes without interpreting them.
pub fn proof(block: BlockRef) -> TierProof {
    TierProof { block, bytes: [b"proof of ".as_slice(), &block.digest.0].concat().into() }
}

/// The ancestry of `tip` from height 1, in ascending order, looked up in `chains`.
pub fn ancestry(chains: &[Chain], tip: BlockRef) -> Vec<AltoBlock> {
    let find = |name: BlockRef| {
        let held = chains.iter().filter(|chain| name.height.get() <= chain.top());
        held.map(|chain| chain.block(name.height.get())).find(|block| block.reference() == name)
    };
    let (mut name, mut blocks) = (tip, Vec::new());
    while name.height > Height::zero() {
        let block = find(name).unwrap_or_else(|| panic!("{name} is on none of the chains"));
        blocks.push(block.clone());
        name =
            BlockRef::new(Height::new(name.height.get() - 1), tidewatch_core::Block::parent(block));
    }
    blocks.reverse();
    blocks
}
