//! The chain that comes out, as a source.

use crate::{Applier, Block, Publisher, coordinator::Status};
use commonware_utils::NZUsize;
use futures::stream::unfold;
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height, Ladder, Limits,
    Snapshot, Source, Tier, TipSet, watch::Receiver,
};

const LIMITS: Limits = Limits { digests_max: NZUsize!(64), blocks_max: NZUsize!(64) };

/// A sequencer's own chain, to be followed like any other: what was applied is proposed, what was published is
/// checkpointed.
///
/// # Reorg safety
///
/// The chain has none. A tip that is not on it belongs to another directory, and is answered as one that the source
/// moved away from.
pub struct Sequenced<A, U> {
    info: ChainInfo,
    applier: Arc<A>,
    publisher: Arc<U>,
    status: Receiver<Status>,
}

impl<A, U> fmt::Debug for Sequenced<A, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequenced").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<A: Applier, U: Publisher> Sequenced<A, U> {
    /// The chain of `applier`, as far as `publisher` has it. A doorbell rings when the coordinator's `status` changes.
    pub const fn new(
        info: ChainInfo,
        applier: Arc<A>,
        publisher: Arc<U>,
        status: Receiver<Status>,
    ) -> Self {
        Self { info, applier, publisher, status }
    }

    /// The block at `height`, which is not above the head.
    async fn at(&self, height: Height) -> Result<BlockRef, Fault> {
        let head = self.applier.head().block;
        if height == head.height {
            return Ok(head);
        }
        if height == Height::zero() {
            return Ok(self.info.genesis);
        }
        Ok(self.applier.block(height).await?.reference())
    }

    async fn has(&self, tip: BlockRef) -> Result<bool, Fault> {
        let there = tip.height <= self.applier.head().block.height;
        Ok(there && self.at(tip.height).await? == tip)
    }
}

impl<A: Applier, U: Publisher> Source for Sequenced<A, U> {
    type Block = Block;

    fn name(&self) -> &str {
        "sequencer"
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        Ok(self.info.clone())
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        // In this order: neither goes back, and what is published was applied.
        let published = self.publisher.published();
        let head = self.applier.head();
        let published = self.at(published).await?;
        let tips =
            TipSet::unknown().with(Tier::Proposed, head.block).with(Tier::Checkpointed, published);
        Ok(Snapshot { tips, time_ms: Some(head.time_ms), ..Snapshot::default() })
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        if !self.has(tip).await? {
            return Err(FaultKind::Torn.fault(self.name(), format!("{tip} is not on the chain")));
        }
        let mut digests = Vec::with_capacity(heights.len());
        for height in heights {
            let below = *height <= tip.height;
            digests.push(if below { Some(self.at(*height).await?.digest) } else { None });
        }
        Ok(digests)
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<Block>, Fault> {
        let first = from.get().max(1);
        let last = first.saturating_add(LIMITS.blocks_max.get() as u64 - 1).min(tip.height.get());
        if first > last || !self.has(tip).await? {
            return Ok(Vec::new());
        }
        let mut blocks = Vec::new();
        for number in first..=last {
            blocks.push(self.applier.block(Height::new(number)).await?);
        }
        Ok(blocks)
    }

    fn doorbell(&self) -> Doorbell {
        Doorbell::new(unfold(self.status.clone(), |mut status| async move {
            status.changed().await.ok()?;
            Some(((), status))
        }))
    }
}
