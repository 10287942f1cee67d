//! A real server of a history that a test writes: blocks, checkpoints, finality, and reorgs.

use commonware_runtime::{Supervisor as _, tokio::Context};
use commonware_utils::NZU64;
use rand::{RngExt as _, rngs::StdRng};
use std::{net::SocketAddr, num::NonZeroU64};
use tidewatch_core::{
    BlockRef, Change, CheckpointRef, Digest, HeadSender, Heads, Ladder, LocalView as _, Running,
    Tier, Tip,
};
use tidewatch_serve::{Config, Listening, Observer, Parts, Server};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter, Retention};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// Blocks that a chain of a test has at the most.
const LONGEST: u64 = 60_000;
/// How far below the highest block the tiers are.
const CHECKPOINTED: u64 = 2;
const FINALIZED: u64 = 6;

/// A history, and who serves it.
pub(crate) struct World {
    context: Context,
    view: MemoryWriter<TestBlock>,
    log: MemoryReader<TestBlock>,
    heads: (HeadSender, Heads),
    /// The chain, further than it was delivered.
    chain: Chain,
    pub(crate) head: u64,
    forks: u32,
    pub(crate) reorgs: u64,
}

impl World {
    /// A history that keeps so many events.
    pub(crate) fn new(context: Context, genesis: char, events: NonZeroU64) -> Self {
        let chain = Chain::of_network(genesis, 'a', LONGEST);
        let (view, log) = Memory::with_retention(chain.chain_info(), Retention::events(events));
        let heads = HeadSender::new();
        Self { context, view, log, heads, chain, head: 0, forks: 0, reorgs: 0 }
    }

    #[allow(dead_code, reason = "not every test has a long history")]
    pub(crate) fn with_all_events(context: Context) -> Self {
        Self::new(context, 'g', NZU64!(1_000_000))
    }

    /// Serves it at `address`.
    pub(crate) async fn serve(&self, address: &str) -> (SocketAddr, Running) {
        let parts = Parts {
            served: self.log.clone(),
            heads: self.heads.1.clone(),
            ladder: Ladder::Rollup,
            observer: Observer::default(),
            source: "scripted".into(),
        };
        let listening = Listening::bind(address.parse().unwrap(), Config::default()).await;
        let listening = listening.unwrap();
        let address = listening.address();
        let server = Server::new(self.context.child("serve"), listening, parts).await.unwrap();
        (address, Running::start(server))
    }

    /// The delivered block at `height`.
    pub(crate) fn at(&self, height: u64) -> BlockRef {
        assert!(height <= self.head);
        self.chain.at(height)
    }

    pub(crate) fn finalized(&self) -> Option<BlockRef> {
        self.tip(Tier::Finalized)
    }

    fn tip(&self, tier: Tier) -> Option<BlockRef> {
        self.log.watermarks().unwrap().tips.block(tier)
    }

    /// Delivers so many blocks in one event, and moves the tiers behind them.
    pub(crate) async fn grow(&mut self, count: u64) {
        let from = self.head + 1;
        self.head += count;
        let mut changes = vec![Change::Blocks(self.chain.range(from, self.head))];
        let checkpoint =
            |height: u64| CheckpointRef { number: height / 3, digest: Digest([height as u8; 32]) };
        for (tier, behind) in
            [(Tier::Proposed, 0), (Tier::Checkpointed, CHECKPOINTED), (Tier::Finalized, FINALIZED)]
        {
            let height = self.head.saturating_sub(behind);
            if height <= self.tip(tier).map_or(0, |tip| tip.height.get()) {
                continue;
            }
            let block = self.chain.at(height);
            let checkpoint = (tier == Tier::Checkpointed).then(|| checkpoint(height));
            changes.push(Change::Advanced { tier, tip: Tip { block, checkpoint }, proof: None });
        }
        self.view.commit(changes).await.unwrap();
    }

    /// Takes so many blocks away, and none that is final.
    pub(crate) async fn reorg(&mut self, depth: u64) {
        let finalized = self.tip(Tier::Finalized).map_or(0, |tip| tip.height.get());
        let to = self.head.saturating_sub(depth).max(finalized).max(1);
        if to >= self.head {
            return;
        }
        let block = self.chain.at(to);
        let mut tips = self.log.watermarks().unwrap().tips;
        for tier in [Tier::Proposed, Tier::Checkpointed] {
            if tips.block(tier).is_some_and(|tip| tip.height.get() > to) {
                tips = tips.with(tier, block);
            }
        }
        self.view.commit(vec![Change::Pruned { to: block, tips }]).await.unwrap();
        self.forks += 1;
        let fork = char::from_u32(0x100 + self.forks).unwrap();
        self.chain = self.chain.fork(to + 1, fork, LONGEST);
        (self.head, self.reorgs) = (to, self.reorgs + 1);
    }

    /// The checkpointed tier moves back by itself.
    async fn regress(&mut self) {
        let finalized = self.tip(Tier::Finalized).map_or(1, |tip| tip.height.get());
        let Some(tip) = self.tip(Tier::Checkpointed).filter(|tip| tip.height.get() > finalized)
        else {
            return;
        };
        let tip = Tip::from(self.chain.at(tip.height.get() - 1));
        let tier = Tier::Checkpointed;
        self.view.commit(vec![Change::Regressed { tier, tip, proof: None }]).await.unwrap();
    }

    /// Something happens: mostly a block or some, one time in four a reorg.
    #[allow(dead_code, reason = "not every test leaves it to chance")]
    pub(crate) async fn step(&mut self, rng: &mut StdRng) {
        match rng.random_range(0..16) {
            0..4 => self.reorg(rng.random_range(1..6)).await,
            4 => self.regress().await,
            5 => self.grow(rng.random_range(3..200)).await,
            _ => self.grow(rng.random_range(1..4)).await,
        }
    }
}
