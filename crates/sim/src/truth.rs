//! The true state of the chain, which every upstream reports in its own way.

use commonware_cryptography::{Hasher as _, Sha256};
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidewatch_core::{
    Bell, Block as _, BlockRef, CheckpointRef, Digest, Doorbell, Height, Ladder, Locator, Tier,
    Tip, TipSet,
};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// Start time of a simulated world: late enough that the clock can be set back.
pub(crate) const BEGIN: Duration = Duration::from_secs(1_000_000_000);

/// Number of past states that are kept.
const PAST: usize = 24;

/// Number of fork letters. Two forks with the same letter still differ, because their parents do.
const LETTERS: u32 = 26;

/// How the chain moves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Maximum number of blocks added by one move.
    pub grow_max: u64,
    /// Probability that a move is a reorg.
    pub reorg: f64,
    /// Probability that a reorg may go as deep as finality allows.
    pub deep: f64,
    /// Probability that the tip is replaced at its own height.
    pub swap: f64,
    /// Probability that the chain gets shorter without a replacement.
    pub shrink: f64,
    /// Maximum number of blocks in a checkpoint.
    pub checkpoint_max: u64,
    /// Probability that the proven tier moves; 0 if proving has stopped.
    pub prove: f64,
    /// Probability that the finalized tier moves.
    pub finalize: f64,
    /// Maximum number of blocks above the finalized tip, on a certified chain.
    pub unfinalized_max: u64,
    /// Heights in an epoch: all epochs before that of the tip are final.
    pub epoch: u64,
    /// Probability that a tier regresses although the chain does not.
    pub slip: f64,
}

/// State of the chain at one moment.
#[derive(Clone)]
pub struct View {
    /// The chain.
    pub chain: Chain,
    /// Its tips.
    pub tips: TipSet,
    /// Timestamp of the proposed tip, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&tidewatch_testkit::words::tips_words(&self.tips))
    }
}

/// A block that exists, on any fork.
#[derive(Clone, Copy, Debug)]
struct Made {
    height: Height,
    parent: Digest,
    /// Number of blocks created before it.
    nth: u64,
}

/// The chain: its present state, and a window of past ones.
pub struct Truth {
    rng: StdRng,
    ladder: Ladder,
    /// Tiers that this chain has.
    has: [bool; 4],
    habits: Habits,
    now: View,
    past: VecDeque<View>,
    /// Last blocks of the checkpoints above genesis, in ascending order.
    bounds: Vec<u64>,
    /// Heights of all tiers, including those that are not reported.
    heights: [u64; 4],
    forks: u32,
    made: HashMap<Digest, Made>,
    bell: Bell,
    blocks: u64,
    deepest: u64,
}

impl fmt::Debug for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Truth").field("now", &self.now).field("blocks", &self.blocks).finish()
    }
}

impl Truth {
    /// A chain at genesis, with the tiers in `has`. If `young`, tiers are unknown until they first move.
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
            bell: Bell::new(),
            blocks: 0,
            deepest: 0,
        }
    }

    /// Present state.
    pub const fn now(&self) -> &View {
        &self.now
    }

    /// State the given number of moves ago, or the oldest one that is kept.
    pub fn ago(&self, moves: usize) -> &View {
        match moves.checked_sub(1) {
            None => &self.now,
            Some(back) => {
                self.past.iter().rev().nth(back).or(self.past.front()).unwrap_or(&self.now)
            }
        }
    }

    /// Number of blocks created, on all forks.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Number of blocks replaced by the deepest reorg.
    pub const fn deepest(&self) -> u64 {
        self.deepest
    }

    /// Height of the finalized tip: blocks at or below it are never replaced.
    pub const fn finalized(&self) -> u64 {
        self.heights[Tier::Finalized.index()]
    }

    /// Whether `block` is final.
    pub fn is_final(&self, block: BlockRef) -> bool {
        block.height.get() <= self.finalized() && self.now.chain.has(block)
    }

    /// Whether `block` exists on any fork.
    pub fn made(&self, block: BlockRef) -> bool {
        self.made.get(&block.digest).is_some_and(|made| made.height == block.height)
    }

    /// Number of blocks created before this one, which serves as its view number.
    pub fn nth(&self, digest: &Digest) -> u64 {
        self.made.get(digest).map_or(0, |made| made.nth)
    }

    /// Whether `high` is `low` or one of its descendants.
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

    /// Whether `locator` is of the chain that ends in `head`; `None` where that chain is not known down to there.
    pub fn locates(&self, head: BlockRef, locator: &Locator) -> Option<bool> {
        let mut at = head;
        while at.height > locator.height {
            let made = self.made.get(&at.digest)?;
            at = BlockRef::new(at.height.previous()?, made.parent);
        }
        Some(locator.is(&at))
    }

    /// Makes one random move: the chain grows, is reorged above the finalized tip, gets shorter, or only
    /// its tiers move. Returns a description of the move.
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

    /// Extends the chain by `blocks` blocks. Tiers do not move, except for finality on a certified chain.
    pub fn grow(&mut self, blocks: u64, now_ms: u64) {
        self.past.push_back(self.now.clone());
        let tip = self.now.chain.tip();
        self.extend(tip + 1, tip + blocks);
        self.now.time_ms = now_ms;
        self.heights[3] = self.heights[3].max(self.surely_final(tip + blocks));
        self.tell();
    }

    /// Everything is final now.
    pub fn settle(&mut self) {
        self.heights[Tier::Finalized.index()] = self.now.chain.tip();
        self.tell();
    }

    /// Replaces the last `depth` blocks, limited by finality, with one block more than it removes.
    /// Returns the number of blocks replaced.
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

    /// Registers the blocks of `chain` from height `from`, which an upstream has forged.
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

    /// A random checkpoint boundary from `low` to `high`, or `low` if there is none.
    fn bound_between(&mut self, low: u64, high: u64) -> u64 {
        let from = self.bounds.partition_point(|bound| *bound < low);
        let to = self.bounds.partition_point(|bound| *bound <= high);
        if from < to { self.bounds[self.rng.random_range(from..to)] } else { low }
    }

    /// Lowest possible finalized height of a certified chain whose tip is at `tip`.
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

    /// Updates the reported tips from the heights.
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

    /// Rings every doorbell.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// A doorbell.
    pub fn bell(&self) -> Doorbell {
        self.bell.listen()
    }
}

/// Simulated time since the world began.
pub(crate) fn since_begin(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH + BEGIN).unwrap_or_default()
}

/// Simulated time since the world began, of a block's timestamp.
pub(crate) fn since_begin_ms(time_ms: u64) -> Duration {
    Duration::from_millis(time_ms).saturating_sub(BEGIN)
}
