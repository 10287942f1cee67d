//! A chain that moves, and the logs of those who follow it.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::collections::BTreeMap;
use tidewatch_core::{Block as _, Change, Digest, LocalView as _, Tier, Tip};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// The chain as it is.
pub(crate) struct Truth {
    pub(crate) chain: Chain,
    pub(crate) finalized: u64,
    fork: u32,
    rng: StdRng,
    pub(crate) parents: BTreeMap<Digest, Digest>,
}

impl Truth {
    pub(crate) fn new(seed: u64) -> Self {
        let chain = Chain::new('a', 3);
        let rng = StdRng::seed_from_u64(seed);
        let mut truth = Self { chain, finalized: 0, fork: 0, rng, parents: BTreeMap::new() };
        truth.learn();
        truth
    }

    pub(crate) fn learn(&mut self) {
        for block in self.chain.blocks() {
            self.parents.insert(block.reference().digest, block.parent());
        }
    }

    /// Blocks come, sometimes in place of others, and some become final.
    pub(crate) fn step(&mut self) {
        let tip = self.chain.tip();
        let depth = if self.rng.random_bool(0.25) { self.rng.random_range(1..4) } else { 0 };
        let from = (tip + 1).saturating_sub(depth).max(self.finalized + 1);
        self.fork += 1;
        let fork = char::from_u32('b' as u32 + self.fork % 20).unwrap_or('z');
        let fork = if depth == 0 { 'a' } else { fork };
        let to = tip + self.rng.random_range(1..3);
        self.chain = self.chain.fork(from, fork, to);
        self.finalized = self.finalized.max(to.saturating_sub(self.rng.random_range(3..8)));
        self.learn();
    }
}

/// A follower's log, and how far it has come.
pub(crate) struct Machine {
    writer: MemoryWriter<TestBlock>,
    pub(crate) reader: MemoryReader<TestBlock>,
    chain: Option<Chain>,
    finalized: u64,
}

impl Machine {
    pub(crate) fn new(chain: &Chain) -> Self {
        let (writer, reader) = Memory::new(chain.chain_info());
        Self { writer, reader, chain: None, finalized: 0 }
    }

    /// Takes in what the chain has, up to `blocks` more, from `first` on where there is nothing yet.
    pub(crate) async fn follow(&mut self, truth: (Chain, u64), blocks: u64, first: u64) {
        let (chain, finalized) = truth;
        let mut changes = Vec::new();
        let from = match &self.chain {
            None => first,
            Some(mine) => {
                let same = |height: &u64| mine.get(*height) == chain.get(*height);
                let ancestor = (0..=mine.tip().min(chain.tip())).rev().find(same).unwrap_or(0);
                if ancestor < mine.tip() {
                    let tips = self.writer.watermarks().await.unwrap().tips;
                    let tips = tips.with(Tier::Proposed, chain.at(ancestor));
                    changes.push(Change::Pruned { to: chain.at(ancestor), tips });
                }
                ancestor + 1
            }
        };
        let to = chain.tip().min(from + blocks - 1);
        let moved = |tier, tip: Tip| Change::Advanced { tier, tip, proof: None };
        if from <= to {
            changes.push(Change::Blocks(chain.range(from, to)));
            changes.push(moved(Tier::Proposed, chain.at(to).into()));
        }
        let finalized = finalized.min(to);
        if finalized > self.finalized && finalized >= first {
            changes.push(moved(Tier::Finalized, chain.at(finalized).into()));
            self.finalized = finalized;
        }
        if !changes.is_empty() {
            self.chain = Some(Chain::from_blocks(chain.range(0, to)));
            self.writer.commit(changes).await.unwrap();
        }
    }
}
