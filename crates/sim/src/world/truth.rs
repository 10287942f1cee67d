//! What is true: the chain that upstreams tell of, each in its own way.

use crate::scripted::chain::{Chain, TestBlock};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};
use tidewatch_core::{
    Block as _, BlockRef, CheckpointRef, Digest, Height, Ladder, Tier, Tip, TipSet,
};

/// How many moments of the past are remembered.
const PAST: usize = 24;

/// Letters of forks. A fork that comes round again on another parent is another fork all the same.
const LETTERS: u32 = 26;

/// How the chain moves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Blocks that come at once, at the most.
    pub grow_max: u64,
    /// How often a move is a reorg.
    pub reorg: f64,
    /// How many of those go as deep as finality allows.
    pub deep: f64,
    /// How often the tip is replaced at its height.
    pub swap: f64,
    /// How often the chain only gets shorter.
    pub shrink: f64,
    /// Blocks of a checkpoint, at the most.
    pub checkpoint_max: u64,
    /// How often the proven tier moves; 0 where proving has stopped.
    pub prove: f64,
    /// How often the finalized tier moves.
    pub finalize: f64,
    /// Blocks that wait for finality on a certified chain, at the most.
    pub unfinalized_max: u64,
    /// Heights of an epoch: what is before the one of the tip is final.
    pub epoch: u64,
    /// How often a tier moves back although the chain does not.
    pub slip: f64,
}

/// What is true at one moment.
#[derive(Clone)]
pub struct View {
    /// The chain.
    pub chain: Chain,
    /// Where its tiers stand.
    pub tips: TipSet,
    /// When the proposed tip was made, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::scripted::words::tips_words(&self.tips))
    }
}

/// A block that was made.
#[derive(Clone, Copy, Debug)]
struct Made {
    height: Height,
    parent: Digest,
    /// How many were made before it.
    nth: u64,
}

#[derive(Default)]
struct Bell {
    rung: bool,
    wakers: Vec<Waker>,
}

/// The chain as it is, and was.
pub struct Truth {
    rng: StdRng,
    ladder: Ladder,
    /// Tiers that this chain has.
    has: [bool; 4],
    habits: Habits,
    now: View,
    past: VecDeque<View>,
    /// Ends of checkpoints above genesis, rising.
    bounds: Vec<u64>,
    /// Heights of the tiers, also of those that are not told of.
    heights: [u64; 4],
    forks: u32,
    made: HashMap<Digest, Made>,
    bell: Arc<Mutex<Bell>>,
    blocks: u64,
    deepest: u64,
}

impl fmt::Debug for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Truth").field("now", &self.now).field("blocks", &self.blocks).finish()
    }
}

impl Truth {
    /// A chain at genesis. `has` are the tiers that it has; where `young`, they are not known before
    /// they first move.
    pub fn new(rng: StdRng, ladder: Ladder, has: [bool; 4], young: bool, habits: Habits) -> Self {
        let chain = Chain::new('a', 0);
        let tips =
            if young { [Some(0), None, None, None] } else { has.map(|has| has.then_some(0)) };
        let tips = chain.tips_at(tips);
        let genesis = chain.at(0);
        let first = Made { height: genesis.height, parent: Digest([0; 32]), nth: 0 };
        let made = HashMap::from([(genesis.digest, first)]);
        Self {
            rng,
            ladder,
            has,
            habits,
            now: View { chain, tips, time_ms: 0 },
            past: VecDeque::new(),
            bounds: Vec::new(),
            heights: [0; 4],
            forks: 0,
            made,
            bell: Arc::default(),
            blocks: 0,
            deepest: 0,
        }
    }

    /// What is true now.
    pub const fn now(&self) -> &View {
        &self.now
    }

    /// What was true so many moves ago, or at the earliest moment that is remembered.
    pub fn ago(&self, moves: usize) -> &View {
        match moves.checked_sub(1) {
            None => &self.now,
            Some(back) => {
                self.past.iter().rev().nth(back).or(self.past.front()).unwrap_or(&self.now)
            }
        }
    }

    /// Blocks that were made, on whatever fork.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Blocks that the deepest reorg replaced.
    pub const fn deepest(&self) -> u64 {
        self.deepest
    }

    /// The lowest height that may still be replaced.
    pub const fn finalized(&self) -> u64 {
        self.heights[Tier::Finalized.index()]
    }

    /// Whether `block` is final.
    pub fn is_final(&self, block: BlockRef) -> bool {
        block.height.get() <= self.finalized() && self.now.chain.has(block)
    }

    /// Whether `block` was ever made.
    pub fn made(&self, block: BlockRef) -> bool {
        self.made.get(&block.digest).is_some_and(|made| made.height == block.height)
    }

    /// How many blocks were made before this one: the order of views.
    pub fn nth(&self, digest: &Digest) -> u64 {
        self.made.get(digest).map_or(0, |made| made.nth)
    }

    /// Whether `high` is `low`, or stands on it.
    pub fn descends(&self, high: BlockRef, low: BlockRef) -> bool {
        if self.now.chain.has(high) && self.now.chain.has(low) {
            return low.height <= high.height;
        }
        let mut at = high;
        while at.height > low.height {
            let Some(made) = self.made.get(&at.digest) else { return false };
            let Some(height) = at.height.previous() else { return false };
            at = BlockRef::new(height, made.parent);
        }
        at == low
    }

    /// A move: the chain grows, is replaced from somewhere above finalized, gets shorter, or only its
    /// tiers move. Says which, in words.
    pub fn step(&mut self, now_ms: u64) -> String {
        self.past.push_back(self.now.clone());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        let Habits { reorg, deep, swap, shrink, grow_max, .. } = self.habits;
        let (tip, floor) = (self.now.chain.tip(), self.finalized());
        let roll: f64 = self.rng.random_range(0.0..1.0);
        let movable = tip > floor;
        let how = if movable && roll < swap {
            self.fork_from(tip, tip)
        } else if movable && roll < swap + shrink {
            let to = self.rng.random_range(floor..tip);
            self.cut(to)
        } else if movable && roll < swap + shrink + reorg {
            let near =
                if self.rng.random_bool(deep) { floor } else { floor.max(tip.saturating_sub(3)) };
            let at = self.rng.random_range(near + 1..=tip);
            let end = (at + self.rng.random_range(0..=grow_max)).max(at);
            self.fork_from(at, end)
        } else {
            let end = tip + self.rng.random_range(0..=grow_max);
            self.extend(tip + 1, end)
        };
        self.now.time_ms = now_ms;
        self.move_tiers();
        how
    }

    /// The chain grows by `blocks`, and nothing else happens; on a certified chain finality follows.
    pub fn grow(&mut self, blocks: u64, now_ms: u64) {
        self.past.push_back(self.now.clone());
        let tip = self.now.chain.tip();
        self.extend(tip + 1, tip + blocks);
        self.now.time_ms = now_ms;
        self.heights[3] = self.heights[3].max(self.surely_final(tip + blocks));
        self.tell();
    }

    /// The last `depth` blocks are replaced by one more, as far as finality allows. Returns how many were
    /// replaced.
    pub fn reorg(&mut self, depth: u64, now_ms: u64) -> u64 {
        self.past.push_back(self.now.clone());
        let tip = self.now.chain.tip();
        let at = (tip.saturating_sub(depth)).max(self.finalized()) + 1;
        if at <= tip {
            self.fork_from(at, tip + 1);
        }
        self.now.time_ms = now_ms;
        self.tell();
        (tip + 1).saturating_sub(at)
    }

    fn cut(&mut self, to: u64) -> String {
        self.deepest = self.deepest.max(self.now.chain.tip() - to);
        self.now.chain = Chain::from_blocks(self.now.chain.blocks()[..=to as usize].to_vec());
        self.forget_above(to);
        format!("cut to {to}")
    }

    fn fork_from(&mut self, at: u64, end: u64) -> String {
        self.deepest = self.deepest.max(self.now.chain.tip() + 1 - at);
        self.forks += 1;
        self.forget_above(at - 1);
        let how = self.extend(at, end);
        format!("replaced: {how}")
    }

    fn forget_above(&mut self, top: u64) {
        self.bounds.retain(|bound| *bound <= top);
        let last = self.bounds.last().copied().unwrap_or(0);
        let finalized = self.finalized();
        for (tier, height) in Tier::ALL.into_iter().zip(&mut self.heights) {
            if tier != Tier::Finalized && *height > top {
                *height = last.max(finalized.min(top));
            }
        }
    }

    fn extend(&mut self, from: u64, to: u64) -> String {
        let fork = char::from(b'a' + (self.forks % LETTERS) as u8);
        self.now.chain = self.now.chain.fork(from, fork, to);
        for block in self.now.chain.range(from, to) {
            self.remember(&block);
        }
        let mut last = self.bounds.last().copied().unwrap_or(0);
        loop {
            last += self.rng.random_range(1..=self.habits.checkpoint_max);
            if last > self.now.chain.tip() {
                break;
            }
            self.bounds.push(last);
        }
        format!("{from}{fork} to {to}{fork}")
    }

    /// An upstream made up the blocks of `chain` from `from` on: from now on, they exist.
    pub fn tell_of(&mut self, chain: &Chain, from: u64) {
        for block in chain.range(from, chain.tip()) {
            self.remember(&block);
        }
    }

    fn remember(&mut self, block: &TestBlock) {
        let at = block.reference();
        let made = Made { height: at.height, parent: block.parent(), nth: self.blocks + 1 };
        if self.made.insert(at.digest, made).is_none() {
            self.blocks += 1;
        }
    }

    /// A height between `low` and `high` where a checkpoint ends, on a chain that has any.
    fn bound_between(&mut self, low: u64, high: u64) -> u64 {
        let from = self.bounds.partition_point(|bound| *bound < low);
        let to = self.bounds.partition_point(|bound| *bound <= high);
        if from < to { self.bounds[self.rng.random_range(from..to)] } else { low }
    }

    /// What is final on a certified chain that has come to `tip`, whatever else.
    fn surely_final(&self, tip: u64) -> u64 {
        if self.ladder != Ladder::Certified || !self.has[3] {
            return 0;
        }
        let Habits { unfinalized_max, epoch, .. } = self.habits;
        let boundary = (tip / epoch * epoch).saturating_sub(1);
        boundary.max(tip.saturating_sub(unfinalized_max))
    }

    fn move_tiers(&mut self) {
        let tip = self.now.chain.tip();
        let [_, mut checkpointed, mut proven, mut finalized] = self.heights;
        let Habits { prove, finalize, slip, .. } = self.habits;
        let slips = self.rng.random_bool(slip);
        match self.ladder {
            Ladder::Rollup => {
                let low = if slips { finalized } else { checkpointed };
                if self.rng.random_bool(0.6) {
                    checkpointed = self.bound_between(low, tip);
                }
                if self.rng.random_bool(prove) {
                    let low = if slips { finalized } else { proven.min(checkpointed) };
                    proven = self.bound_between(low, checkpointed);
                }
                proven = proven.min(checkpointed);
                if self.has[3] && self.rng.random_bool(finalize) {
                    finalized = self.bound_between(finalized, proven);
                }
            }
            Ladder::Certified => {
                if self.has[3] && self.rng.random_bool(finalize) {
                    finalized = self.rng.random_range(finalized..=tip);
                }
                finalized = finalized.max(self.surely_final(tip));
                if self.rng.random_bool(0.6) {
                    let low = if slips { 0 } else { checkpointed };
                    checkpointed = self.bound_between(low, finalized).min(finalized);
                }
                if self.rng.random_bool(prove) {
                    let low = if slips { 0 } else { proven.min(checkpointed) };
                    proven = self.bound_between(low, checkpointed);
                }
                proven = proven.min(checkpointed);
            }
        }
        self.heights = [tip, checkpointed, proven, finalized];
        self.tell();
    }

    /// Says what is true.
    fn tell(&mut self) {
        self.heights[0] = self.now.chain.tip();
        let mut tips = self.now.tips;
        for tier in Tier::ALL {
            let height = self.heights[tier.index()];
            let told = tier == Tier::Proposed || self.has[tier.index()];
            let known = height > 0 || tips.get(tier).is_some();
            tips.set(tier, (told && known).then(|| self.tip(tier, height)));
        }
        self.now.tips = tips;
    }

    fn tip(&self, tier: Tier, height: u64) -> Tip {
        let block = self.now.chain.at(height);
        let number = self.bounds.binary_search(&height).ok().map(|index| index as u64 + 1);
        let checkpoint = number.filter(|_| tier != Tier::Proposed).map(|number| {
            let digest = Sha256::hash(&[b"checkpoint", &block.digest.0]);
            CheckpointRef { number, digest }
        });
        Tip { block, checkpoint }
    }

    /// Rings the doorbell of whoever listens.
    pub fn ring(&self) {
        let mut bell = self.bell.lock();
        bell.rung = true;
        for waker in bell.wakers.drain(..) {
            waker.wake();
        }
    }

    /// The doorbell.
    pub fn bell(&self) -> impl Future<Output = ()> + Send + use<> {
        let bell = self.bell.clone();
        poll_fn(move |context| {
            let mut bell = bell.lock();
            if std::mem::take(&mut bell.rung) {
                return Poll::Ready(());
            }
            bell.wakers.push(context.waker().clone());
            Poll::Pending
        })
    }
}
