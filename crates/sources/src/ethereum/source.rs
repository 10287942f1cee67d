//! An execution node as a source.

use super::{
    EthBlock, EthereumError,
    headers::Headers,
    wire::{By, handshake},
};
use crate::{
    error::fault,
    rpc::{Config, NodeError, Rpc, Steady, Upstreams, Work},
};
use commonware_runtime::{Clock, Metrics};
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, CheckpointRef, Digest, Doorbell, Fault, Height, Ladder,
    Limits, Monitor, Snapshot, Source, Tier, Tip, TipSet,
};

/// An Ethereum chain, followed from execution nodes. See the [module](crate::ethereum).
pub struct EthereumSource<E: Clock, R> {
    headers: Headers<E, R>,
    steady: Steady,
}

impl<E: Clock, R> fmt::Debug for EthereumSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EthereumSource").field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl<E: Clock + Metrics, R: Rpc> EthereumSource<E, R> {
    /// A source over `nodes`, which are several endpoints of one chain. Nothing is asked yet. What is
    /// refused on the way to an answer is told to `monitor`.
    ///
    /// # Errors
    ///
    /// `Setting`: there is no node.
    pub fn new(
        context: E,
        nodes: Vec<R>,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let upstreams = Upstreams::new(context, nodes, handshake(), monitor, config)?;
        let headers = Headers::new(upstreams, config.recent_max);
        Ok(Self { headers, steady: Steady::new(Ladder::Rollup, config) })
    }
}

impl<E: Clock, R: Rpc> EthereumSource<E, R> {
    /// What was asked and refused so far.
    pub fn work(&self) -> Work {
        self.headers.upstreams().work()
    }

    async fn take(&self) -> Result<Snapshot, Fault> {
        let blocks = self.headers.ask(&["latest", "safe", "finalized"].map(By::Tag)).await?;
        let [latest, safe, finalized] = &blocks[..] else {
            let error = NodeError::ShortAnswers { got: blocks.len(), want: 3 };
            return Err(fault(self.name(), error));
        };
        let Some(latest) = latest else {
            let fault = fault(self.name(), EthereumError::NoLatest);
            return Err(self.headers.upstreams().refuse(fault));
        };
        let tips = tips(latest.reference(), reference(safe), reference(finalized));
        Ok(Snapshot { time_ms: Some(latest.time_ms()), ..tips.into() })
    }
}

fn reference(block: &Option<EthBlock>) -> Option<BlockRef> {
    block.as_ref().map(EthBlock::reference)
}

/// Every tier from its own tag. An execution node names no epochs: the checkpoint of a block that is
/// safe or finalized is that block itself.
fn tips(latest: BlockRef, safe: Option<BlockRef>, finalized: Option<BlockRef>) -> TipSet {
    let sealed = |block: BlockRef| {
        let BlockRef { height, digest } = block;
        Tip { block, checkpoint: Some(CheckpointRef { number: height.get(), digest }) }
    };
    let mut tips = TipSet::unknown().with(Tier::Proposed, latest);
    tips.set(Tier::Checkpointed, safe.map(sealed));
    tips.set(Tier::Finalized, finalized.map(sealed));
    tips
}

impl<E: Clock, R: Rpc> Source for EthereumSource<E, R> {
    type Block = EthBlock;

    fn name(&self) -> &str {
        self.headers.upstreams().name()
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    fn limits(&self) -> Limits {
        self.headers.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        Box::pin(self.headers.upstreams().chain_info()).await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.steady.snapshot(self.headers.upstreams(), || Box::pin(self.take())).await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        Box::pin(self.headers.digests(tip, heights)).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<EthBlock>, Fault> {
        Box::pin(self.headers.blocks(tip, from)).await
    }

    fn doorbell(&self) -> Doorbell {
        self.headers.upstreams().doorbell()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_is_from_its_own_tag_and_no_other() {
        let at = |height| Some(BlockRef::new(Height::new(height), Digest([height as u8; 32])));
        for (safe, finalized) in [(None, None), (at(5), None), (None, at(3)), (at(5), at(3))] {
            let tips = tips(at(9).unwrap(), safe, finalized);
            assert_eq!(tips.block(Tier::Proposed), at(9));
            assert_eq!(tips.block(Tier::Checkpointed), safe);
            assert_eq!(tips.block(Tier::Proven), None);
            assert_eq!(tips.block(Tier::Finalized), finalized);
            let checkpoint = tips.get(Tier::Checkpointed).and_then(|tip| tip.checkpoint);
            assert_eq!(checkpoint.map(|c| (c.number, c.digest)), safe.map(|b| (5, b.digest)));
        }
    }
}
