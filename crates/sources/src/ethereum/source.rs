//! An execution node as a source.

use super::{
    EthBlock, EthBody, EthereumError,
    beacon::Beacons,
    body,
    headers::{Found, Headers},
    rule::ETHEREUM,
    wire::{By, handshake},
};
use crate::{
    error::{Error, fault},
    rpc::{Config, NodeError, Rpc, Steady, Upstreams, Work},
};
use commonware_runtime::{Clock, Metrics, Spawner};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, CheckpointRef, Digest, Doorbell, Fault, Height, Ladder,
    Limits, Monitor, Snapshot, Source, Tier, Tip, TipSet,
};

/// Snapshots for which `latest` is asked for by itself, after a node refused it together with other tags.
const ALONE: u32 = 64;

/// An Ethereum chain, followed from execution nodes. See the [module](crate::ethereum).
pub struct EthereumSource<E: Clock, R> {
    headers: Headers<E, R>,
    steady: Steady,
    /// Consensus clients beside the nodes, where there are any.
    beacons: Option<Beacons<E>>,
    /// Snapshots left of those.
    alone: AtomicU32,
}

impl<E: Clock, R> fmt::Debug for EthereumSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EthereumSource").field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl<E: Clock + Metrics + Spawner, R: Rpc> EthereumSource<E, R> {
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
        let headers = Headers::new(upstreams, ETHEREUM, config.recent_max);
        let steady = Steady::new(Ladder::Rollup, config);
        Ok(Self { headers, steady, beacons: None, alone: AtomicU32::default() })
    }
}

impl<E: Clock + Spawner, R: Rpc> EthereumSource<E, R> {
    /// The same, with consensus clients beside the nodes.
    pub(super) fn beside(self, beacons: Beacons<E>) -> Self {
        Self { beacons: Some(beacons), ..self }
    }

    /// What the nodes were asked, and refused, so far.
    pub fn work(&self) -> Work {
        self.headers.upstreams().work()
    }

    /// What the consensus clients beside the nodes were asked, and refused, so far; nothing where there are none.
    pub fn beacon_work(&self) -> Work {
        self.beacons.as_ref().map(Beacons::work).unwrap_or_default()
    }

    /// The bodies of `blocks`, in their order, each checked against its header: transactions and withdrawals
    /// are those which it commits to. They are asked for by digest, so blocks that were left are answered too,
    /// as long as a node keeps them. Few blocks at a time are right: a body may be megabytes.
    ///
    /// # Errors
    ///
    /// No node answers or has one of them (`Missing`), or what came is another block's (`WrongDigest`), or of
    /// no known kind of transaction (`Malformed`). The node is held to account for it as for any answer.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any await and called again.
    pub async fn bodies(&self, blocks: &[EthBlock]) -> Result<Vec<EthBody>, Fault> {
        let upstreams = self.headers.upstreams();
        let calls: Vec<_> = blocks.iter().map(body::call).collect();
        let answers = upstreams.ask(&calls).await?;
        let read = |(block, answer)| {
            let body = EthBody::read(self.name(), block, answer);
            body.map_err(|fault| upstreams.refuse(fault))
        };
        blocks.iter().zip(&answers).map(read).collect()
    }

    async fn take(&self) -> Result<Snapshot, Fault> {
        let upstreams = self.headers.upstreams();
        let mut answers = self.tags().await?.into_iter();
        // Whatever is wrong with another tier, the proposed tip is not withheld for it.
        let mut next = || answers.next().unwrap_or(Ok(None));
        let latest = next().map_err(|fault| upstreams.refuse(fault))?;
        let mut tier = || match next() {
            Ok(block) => block.as_ref().map(EthBlock::reference),
            Err(fault) => {
                upstreams.absorb(fault);
                None
            }
        };
        let (safe, finalized) = (tier(), tier());
        let Some(latest) = latest else {
            let fault = fault(self.name(), EthereumError::NoLatest);
            return Err(upstreams.refuse(fault));
        };
        let tips = tips(latest.reference(), safe, finalized);
        Ok(Snapshot { time_ms: Some(latest.time_ms()), ..tips.into() })
    }

    /// The blocks of `latest`, `safe` and `finalized`, as far as they were answered. Some nodes refuse the
    /// whole request for a tag in it: `latest` is asked for by itself then, for a while.
    async fn tags(&self) -> Result<Vec<Found>, Fault> {
        let tags = ["latest", "safe", "finalized"].map(By::Tag);
        let step = |alone: u32| alone.checked_sub(1);
        if self.alone.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok() {
            return self.headers.ask(&tags[..1]).await;
        }
        let all = self.headers.ask(&tags).await;
        if !may_be_for_the_tags(&all) {
            let absent = matches!(all.as_deref(), Ok([Ok(Some(_)), Ok(None), Ok(None)]));
            if absent && self.headers.upstreams().batch_max() < tags.len() {
                // Refused together, they were asked for one by one.
                self.alone.store(ALONE, Ordering::Relaxed);
            }
            return all;
        }
        let alone = self.headers.ask(&tags[..1]).await?;
        if matches!(alone.first(), Some(Ok(Some(_)))) {
            self.alone.store(ALONE, Ordering::Relaxed);
        }
        Ok(alone)
    }
}

/// Whether `latest` was not answered, and may be without the other tags.
fn may_be_for_the_tags(all: &Result<Vec<Found>, Fault>) -> bool {
    match all.as_deref() {
        Ok([Ok(None), ..]) => true,
        Ok([Err(fault), ..]) | Err(fault) => is_about_the_request(fault),
        Ok(_) => false,
    }
}

/// Whether a node refused a request, or a call of it, for what is in it, and not because it takes none now.
fn is_about_the_request(fault: &Fault) -> bool {
    match fault.reason::<Error>() {
        Some(Error::Node(NodeError::Request { .. } | NodeError::Batch(_))) => true,
        Some(Error::Node(NodeError::Call { error, .. })) => !error.is_limit(),
        _ => false,
    }
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

impl<E: Clock + Spawner, R: Rpc> Source for EthereumSource<E, R> {
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
        let snapshot = self.steady.snapshot(self.headers.upstreams(), || Box::pin(self.take()));
        let snapshot = snapshot.await?;
        Ok(match &self.beacons {
            Some(beacons) => Box::pin(beacons.review(&self.headers, snapshot)).await,
            None => snapshot,
        })
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
        let beacons = self.beacons.iter().map(Beacons::doorbell);
        Doorbell::any([self.headers.upstreams().doorbell()].into_iter().chain(beacons))
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.headers.upstreams().judged(verdict);
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
