//! Chains, and histories that a driver could have made of them.

use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use tidewatch_core::{
    Block, BlockRef, ChainId, ChainInfo, Change, Digest, Height, Tier, TierProof, Tip, TipSet,
    Watermarks,
};

/// A block of about 250 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestBlock {
    pub(crate) height: u64,
    pub(crate) parent: Digest,
    pub(crate) fork: u64,
}

const PADDING: [u8; 200] = [0x5a; 200];

impl Write for TestBlock {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u64(self.height);
        self.parent.write(buf);
        buf.put_u64(self.fork);
        buf.put_slice(&PADDING);
    }
}

impl EncodeSize for TestBlock {
    fn encode_size(&self) -> usize {
        8 + 32 + 8 + PADDING.len()
    }
}

impl Read for TestBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let block =
            Self { height: u64::read(buf)?, parent: Digest::read(buf)?, fork: u64::read(buf)? };
        if <[u8; PADDING.len()]>::read(buf)? != PADDING {
            return Err(Error::Invalid("TestBlock", "padding"));
        }
        Ok(block)
    }
}

impl Block for TestBlock {
    fn reference(&self) -> BlockRef {
        let (height, fork) = (self.height.to_be_bytes(), self.fork.to_be_bytes());
        let digest = Sha256::hash(&[&height, &self.parent.0, &fork]);
        BlockRef::new(Height::new(self.height), digest)
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

pub(crate) fn genesis() -> TestBlock {
    TestBlock { height: 0, parent: Digest([0; 32]), fork: 0 }
}

pub(crate) fn chain_info() -> ChainInfo {
    named("test:1")
}

pub(crate) fn named(chain: &str) -> ChainInfo {
    ChainInfo { id: ChainId::new(chain).unwrap(), genesis: genesis().reference() }
}

/// A chain from genesis, which is its block 0.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Vec<TestBlock>);

impl Chain {
    pub(crate) fn of(length: u64) -> Self {
        Self(vec![genesis()]).grown(length, 0)
    }

    /// The same chain with `more` blocks of `fork` on top.
    pub(crate) fn grown(mut self, more: u64, fork: u64) -> Self {
        for _ in 0..more {
            let top = self.0.last().unwrap().reference();
            let height = top.height.get() + 1;
            self.0.push(TestBlock { height, parent: top.digest, fork });
        }
        self
    }

    /// Up to and including height `at` the same chain, above it `more` blocks of `fork`.
    pub(crate) fn forked(&self, at: u64, more: u64, fork: u64) -> Self {
        Self(self.0[..=at as usize].to_vec()).grown(more, fork)
    }

    pub(crate) fn top(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    pub(crate) fn at(&self, height: u64) -> BlockRef {
        self.0[height as usize].reference()
    }

    pub(crate) fn block(&self, height: u64) -> TestBlock {
        self.0[height as usize].clone()
    }

    /// The change that delivers `from..=to`.
    pub(crate) fn blocks(&self, from: u64, to: u64) -> Change<TestBlock> {
        Change::Blocks(self.0[from as usize..=to as usize].to_vec())
    }

    /// The change that moves `tier` to `height`, from wherever it is not above that.
    pub(crate) fn up(&self, tier: Tier, height: u64) -> Change<TestBlock> {
        Change::Advanced { tier, tip: self.at(height).into(), proof: None }
    }

    /// The change that moves `tier` back to `height`.
    pub(crate) fn back(&self, tier: Tier, height: u64) -> Change<TestBlock> {
        Change::Regressed { tier, tip: self.at(height).into(), proof: None }
    }

    /// The change that finalizes `height` with a proof.
    pub(crate) fn finalize(&self, height: u64) -> Change<TestBlock> {
        let proof = proof(self.at(height));
        Change::Advanced { tier: Tier::Finalized, tip: proof.block.into(), proof: Some(proof) }
    }

    /// The change that prunes a view at `watermarks` to `height`, every tier clamped to it.
    pub(crate) fn prune(&self, watermarks: &Watermarks, height: u64) -> Change<TestBlock> {
        let to = self.at(height);
        Change::Pruned { to, tips: clamped(watermarks.tips, to) }
    }
}

pub(crate) fn proof(block: BlockRef) -> TierProof {
    let bytes = [b"proof of ".as_slice(), &block.digest.0].concat();
    TierProof { block, bytes: bytes.into() }
}

pub(crate) fn clamped(mut tips: TipSet, to: BlockRef) -> TipSet {
    for tier in Tier::ALL {
        if tips.block(tier).is_some_and(|tip| tip.height > to.height) {
            tips.set(tier, Some(Tip::from(to)));
        }
    }
    tips
}

/// Numbers that a seed gives.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A source and a driver in one: makes commits of valid changes.
pub(crate) struct Driver {
    pub(crate) chain: Chain,
    pub(crate) watermarks: Watermarks,
    first: u64,
    forks: u64,
    blocks: bool,
    /// Nothing above it is finalized.
    pub(crate) finalize_max: u64,
    /// Chains that were left.
    past: Vec<Chain>,
}

impl Driver {
    /// Delivers blocks, or announces tips only.
    pub(crate) fn new(chain: Chain, blocks: bool, forks: u64) -> Self {
        Self {
            chain,
            watermarks: Watermarks::none(),
            first: 1,
            forks,
            blocks,
            finalize_max: u64::MAX,
            past: Vec::new(),
        }
    }

    /// Goes on from `watermarks`, which some prefix of the changes led to: takes them for its own chain's.
    pub(crate) fn at(&mut self, watermarks: Watermarks) {
        self.watermarks = watermarks;
        let head = self.head();
        let ours =
            head <= self.chain.top() && watermarks.head().is_none_or(|h| self.chain.at(head) == h);
        let past = self.past.iter().rev().find(|chain| {
            head <= chain.top() && watermarks.head().is_none_or(|h| chain.at(head) == h)
        });
        match past {
            Some(past) if !ours => self.chain = past.clone(),
            _ => {}
        }
        assert!(watermarks.head().is_none_or(|h| self.chain.at(head) == h), "a block of no chain");
        // Where the run starts is not told: prune no deeper than the head itself.
        self.first = head + 1;
    }

    /// One to four changes, as of where the view stands.
    pub(crate) fn commit(&mut self, dice: &mut Dice) -> Vec<Change<TestBlock>> {
        let mut changes = Vec::new();
        for _ in 0..=dice.roll(4) {
            let change = self.change(dice);
            self.watermarks.apply(&change.event(&self.watermarks).unwrap());
            changes.push(change);
        }
        changes
    }

    fn head(&self) -> u64 {
        self.watermarks.head().map_or(0, |head| head.height.get())
    }

    fn change(&mut self, dice: &mut Dice) -> Change<TestBlock> {
        if self.watermarks.head().is_none() {
            return self.advance(dice);
        }
        match dice.roll(8) {
            0..=3 => self.advance(dice),
            4 => self.prune(dice),
            _ => self.tier(dice),
        }
    }

    fn advance(&mut self, dice: &mut Dice) -> Change<TestBlock> {
        let skip = if dice.roll(10) == 0 { dice.roll(20) } else { 0 };
        let from = self.head() + 1 + skip;
        let to = from + dice.roll(6);
        let missing = to.saturating_sub(self.chain.top());
        self.chain = self.chain.clone().grown(missing, self.forks);
        if !self.blocks {
            return self.chain.up(Tier::Proposed, to);
        }
        if skip > 0 || self.watermarks.delivered.is_none() {
            self.first = from;
        }
        self.chain.blocks(from, to)
    }

    fn prune(&mut self, dice: &mut Dice) -> Change<TestBlock> {
        let floor = self.watermarks.tips.block(Tier::Finalized).map_or(0, |tip| tip.height.get());
        let floor = if self.blocks { floor.max(self.first - 1) } else { floor };
        let to = floor + dice.roll(self.head() - floor + 1);
        self.forks += 2;
        let change = self.chain.prune(&self.watermarks, to);
        self.past.push(self.chain.clone());
        self.chain = self.chain.forked(to, 0, self.forks);
        change
    }

    fn tier(&mut self, dice: &mut Dice) -> Change<TestBlock> {
        let tier = Tier::ALL[dice.roll(4) as usize];
        let mut height = dice.roll(self.head() + 1);
        if tier == Tier::Finalized {
            height = height.min(self.finalize_max);
        }
        // What is delivered alone decides how high a tip may be; without blocks, the proposed tip.
        if !self.blocks && tier == Tier::Proposed {
            return self.advance(dice);
        }
        match self.watermarks.tips.block(tier).map(|tip| tip.height.get()) {
            Some(now) if height < now && tier == Tier::Finalized => self.chain.up(tier, now),
            Some(now) if height < now => self.chain.back(tier, height),
            _ if tier == Tier::Finalized => self.chain.finalize(height),
            _ => self.chain.up(tier, height),
        }
    }
}
