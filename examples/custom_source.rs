//! Following a chain of your own: implement `Source`, and everything after it is there.
//!
//! The chain is a toy rollup that makes a block a second: checkpointed 2 blocks behind, proven 4, and
//! finalized 8. It runs in the deterministic runtime, so two minutes of it pass at once.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Clock, Runner as _, Supervisor as _, deterministic};
use commonware_utils::NZUsize;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Block, BlockRef, ChainId, ChainInfo, Digest, EventLog as _, Fault, FaultKind, Height, Ladder,
    Limits, Snapshot, Source, Tier, TipSet,
};
use tidewatch_node::{Config, Follower};
use tidewatch_store::Memory;

/// A block of the toy chain: its digest is the hash of its height and its parent.
#[derive(Clone)]
struct ToyBlock {
    height: Height,
    parent: Digest,
}

impl Block for ToyBlock {
    fn reference(&self) -> BlockRef {
        let height = self.height.get().to_be_bytes();
        BlockRef::new(self.height, Sha256::hash(&[&height, &self.parent]))
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

/// The upstream: a real one would ask a node here, and verify what it answers.
struct ToyChain<E> {
    clock: E,
    blocks: Vec<ToyBlock>,
}

impl<E: Clock> ToyChain<E> {
    fn new(clock: E, length: u64) -> Self {
        let mut blocks = vec![ToyBlock { height: Height::zero(), parent: Digest([0; 32]) }];
        for height in 1..=length {
            let parent = blocks[blocks.len() - 1].reference().digest;
            blocks.push(ToyBlock { height: Height::new(height), parent });
        }
        Self { clock, blocks }
    }

    /// Height of the newest block by now.
    fn newest(&self) -> Height {
        let now = self.clock.current().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Height::new(now.as_secs().min(self.blocks.len() as u64 - 1))
    }

    fn block(&self, height: Height) -> Option<&ToyBlock> {
        self.blocks.get(usize::try_from(height.get()).ok()?)
    }
}

impl<E: Clock> Source for ToyChain<E> {
    type Block = ToyBlock;

    fn name(&self) -> &str {
        "toy"
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: NZUsize!(64), blocks_max: NZUsize!(32) }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let chain =
            ChainId::new("toy:1").map_err(|e| FaultKind::InvalidConfig.fault(self.name(), e))?;
        Ok(ChainInfo { id: chain, genesis: self.blocks[0].reference() })
    }

    /// All tiers from one look at the clock: never from two.
    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let newest = self.newest().get();
        let behind =
            [(Tier::Proposed, 0), (Tier::Checkpointed, 2), (Tier::Proven, 4), (Tier::Finalized, 8)];
        let tips = behind.into_iter().fold(TipSet::unknown(), |tips, (tier, behind)| {
            match self.block(Height::new(newest.saturating_sub(behind))) {
                Some(block) => tips.with(tier, block.reference()),
                None => tips,
            }
        });
        Ok(tips.into())
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        // Digests of another chain would make the follower drop the wrong blocks: refuse instead.
        if self.block(tip.height).map(Block::reference) != Some(tip) {
            let detail = format!("{tip} is not on this chain");
            return Err(FaultKind::Torn.fault(self.name(), detail));
        }
        let at = |height: &Height| self.block(*height).filter(|block| block.height <= tip.height);
        Ok(heights.iter().map(|height| Some(at(height)?.reference().digest)).collect())
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<ToyBlock>, Fault> {
        // No block of this chain leads to a tip that is not on it.
        if self.block(tip.height).map(Block::reference) != Some(tip) {
            return Ok(Vec::new());
        }
        let wanted = self.blocks.iter().filter(|b| b.height >= from && b.height <= tip.height);
        Ok(wanted.take(self.limits().blocks_max.get()).cloned().collect())
    }
}

fn main() -> eyre::Result<()> {
    deterministic::Runner::default().start(|context| async move {
        let source = Arc::new(ToyChain::new(context.child("clock"), 1_000));
        let (view, log) = Memory::new(source.chain_info().await?);
        let config = Config {
            source: source.clone(),
            view,
            log,
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);

        context.sleep(Duration::from_secs(120)).await;
        follower.sync().await?;
        let log = follower.log();
        for record in log.read(0, NZUsize!(16)).await? {
            println!("{:>3}  {}", record.sequence(), record.event);
        }
        let watermarks = log.watermarks()?;
        for tier in source.ladder().tiers() {
            println!(
                "{tier} after two minutes: {:?}",
                watermarks.tips.block(tier).map(|b| b.height.get())
            );
        }
        follower.stop(Duration::from_secs(1)).await?;
        Ok(())
    })
}
