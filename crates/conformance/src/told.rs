//! A scripted stage: a chain that the suite can extend, reorg and finalize.

use super::Stage;
use tidewatch_core::{ChainInfo, Ladder};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

/// A chain with its tiers, and the source that reports them.
pub(super) struct Told {
    pub(super) source: ScriptedSource,
    ladder: Ladder,
    chain: Chain,
    /// Heights of proposed, checkpointed, proven and finalized.
    heights: [u64; 4],
    fork: u8,
}

impl Told {
    /// A chain at genesis.
    pub(super) fn new(ladder: Ladder) -> Self {
        let chain = Chain::new('a', 0);
        let source = ScriptedSource::new(&chain, [0; 4]);
        source.change(|world| world.ladder = ladder);
        Self { source, ladder, chain, heights: [0; 4], fork: 0 }
    }

    pub(super) fn chain_info(&self) -> ChainInfo {
        self.chain.chain_info()
    }

    pub(super) const fn heights(&self) -> [u64; 4] {
        self.heights
    }

    /// Extends the chain by `blocks` blocks.
    pub(super) fn append(&mut self, blocks: u64) {
        self.branch(0, blocks);
    }

    /// Replaces the highest `depth` blocks, except finalized ones, with `blocks` blocks of a new fork.
    pub(super) fn replace(&mut self, depth: u64, blocks: u64) {
        self.next_fork(1);
        self.branch(depth, blocks);
    }

    /// Moves the tiers below proposed to `heights`.
    pub(super) fn settle(&mut self, heights: [u64; 3]) {
        self.heights[1..].copy_from_slice(&heights);
        self.say();
    }

    /// Changes the fork of blocks that are added later.
    pub(super) const fn next_fork(&mut self, by: u8) {
        self.fork = (self.fork + by) % 26;
    }

    fn branch(&mut self, depth: u64, blocks: u64) {
        let [tip, .., finalized] = self.heights;
        let ancestor = tip.saturating_sub(depth).max(finalized);
        let fork = char::from(b'a' + self.fork);
        self.chain = self.chain.fork(ancestor + 1, fork, ancestor + blocks);
        self.heights = self.heights.map(|height| height.min(ancestor));
        self.heights[0] = self.chain.tip();
        self.say();
    }

    fn say(&self) {
        self.source.stand(&self.chain, self.heights);
        self.source.ring();
    }
}

impl Stage for Told {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.append(blocks);
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.replace(depth, blocks);
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        let [_, checkpointed, proven, finalized] = self.heights;
        let finalized = finalized + blocks;
        self.settle(match self.ladder {
            Ladder::Rollup => [checkpointed.max(finalized), proven.max(finalized), finalized],
            Ladder::Certified => [checkpointed, proven, finalized],
        });
        true
    }
}
