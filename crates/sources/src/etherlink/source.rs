//! An Etherlink node as a source.

use super::{
    levels::{Level, Levels, SEARCH_MAX, Said},
    wire::{blocks_of, handshake, read_blocks_of},
};
use crate::{
    error::fault,
    ethereum::{EthBlock, EthereumError, headers::Headers, rule::ETHERLINK, wire::By},
    rpc::{Answer, Config, Rpc, Steady, Upstreams, Work},
};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::sync::Mutex;
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, CheckpointRef, Digest, Doorbell, Fault, Height, Ladder,
    Limits, Monitor, Snapshot, Source, Tier, Tip, TipSet,
};

/// Etherlink, followed from its nodes. See the [module](crate::etherlink).
pub struct EtherlinkSource<E: Clock, R> {
    headers: Headers<E, R>,
    /// Connections that push levels of L1, where there are any.
    pushing: Option<Upstreams<E, R>>,
    levels: Mutex<Levels>,
    steady: Steady,
}

impl<E: Clock, R> fmt::Debug for EtherlinkSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtherlinkSource").field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl<E: Clock + Metrics + Spawner, R: Rpc> EtherlinkSource<E, R> {
    /// A source over `nodes`, which are several endpoints of one chain. Nothing is asked yet. `level` is a level
    /// of L1 that the nodes know, from which the newest is found; without one it is the first that is heard from
    /// `pushing`, connections whose subscription is to levels, and without that final blocks have no level. What
    /// is refused on the way to an answer is told to `monitor`.
    ///
    /// # Errors
    ///
    /// `Setting`: there is no node.
    pub fn new(
        context: E,
        nodes: Vec<R>,
        pushing: Vec<R>,
        level: Option<i32>,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let pushing = (!pushing.is_empty())
            .then(|| {
                let context = context.child("levels");
                Upstreams::new(context, pushing, handshake(), monitor.clone(), config)
            })
            .transpose()?;
        let upstreams = Upstreams::new(context, nodes, handshake(), monitor, config)?;
        let headers = Headers::new(upstreams, ETHERLINK, config.recent_max);
        let levels = Mutex::new(Levels::beginning_at(level));
        Ok(Self { headers, pushing, levels, steady: Steady::new(Ladder::Rollup, config) })
    }
}

impl<E: Clock + Spawner, R: Rpc> EtherlinkSource<E, R> {
    /// What was asked and refused so far, of the nodes and for pushes of levels.
    pub fn work(&self) -> [Work; 2] {
        let pushing = self.pushing.as_ref().map(Upstreams::work).unwrap_or_default();
        [self.headers.upstreams().work(), pushing]
    }

    async fn take(&self) -> Result<Snapshot, Fault> {
        let upstreams = self.headers.upstreams();
        // The next level is asked for before what is final: one that comes in between is found in a search then,
        // and is never one that no block belongs to yet.
        let heard = self.pushing.as_ref().and_then(Upstreams::pushed);
        let next = {
            let mut levels = self.levels.lock();
            let heard = heard.and_then(|level| Level::try_from(level).ok());
            heard.into_iter().for_each(|level| levels.heard(level));
            levels.next()
        };
        let calls: Vec<_> = next.into_iter().map(blocks_of).collect();
        let tags = ["latest", "finalized"].map(By::Tag);
        let (found, answers) = self.headers.ask_behind(&calls, &tags, &[]).await?;
        self.learn(next.as_slice(), &answers);
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap_or(Ok(None));
        let latest = next().map_err(|fault| upstreams.refuse(fault))?;
        let Some(latest) = latest else {
            return Err(upstreams.refuse(fault(self.name(), EthereumError::NoLatest)));
        };
        // Whatever is wrong with another tier, the proposed tip is not withheld for it.
        let finalized = next().unwrap_or_else(|fault| {
            upstreams.absorb(fault);
            None
        });
        let mut tips = TipSet::unknown().with(Tier::Proposed, latest.reference());
        if let Some(block) = finalized {
            tips.set(Tier::Finalized, Some(self.sealed(block.reference()).await?));
        }
        Ok(Snapshot { time_ms: Some(latest.time_ms()), ..tips.into() })
    }

    /// A final block with the level of L1 that made it final, where that is known or can be found.
    async fn sealed(&self, block: BlockRef) -> Result<Tip, Fault> {
        let mut unknown: Option<Level> = None;
        for _ in 0..SEARCH_MAX {
            let wanted = self.levels.lock().search(block.height, unknown);
            if wanted.is_empty() {
                break;
            }
            let calls: Vec<_> = wanted.iter().copied().map(blocks_of).collect();
            let answers = self.headers.upstreams().ask(&calls).await?;
            unknown = unknown.into_iter().chain(self.learn(&wanted, &answers)).min();
        }
        let mut levels = self.levels.lock();
        levels.found(block.height);
        let number = levels.of(block.height).and_then(|level| u64::try_from(level).ok());
        let checkpoint = number.map(|number| CheckpointRef { number, digest: block.digest });
        Ok(Tip { block, checkpoint })
    }

    /// Takes what was answered about these levels; the lowest that the node does not know.
    fn learn(&self, levels: &[Level], answers: &[Answer]) -> Option<Level> {
        let said = levels.iter().zip(answers).map(|(level, answer)| {
            let said = read_blocks_of(self.name(), *level, answer);
            let said = said.unwrap_or_else(|fault| {
                self.headers.upstreams().absorb(fault);
                Said::Unknown
            });
            (*level, said)
        });
        let said: Vec<_> = said.collect();
        self.levels.lock().learn(said)
    }
}

impl<E: Clock + Spawner, R: Rpc> Source for EtherlinkSource<E, R> {
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
        self.headers.upstreams().chain_info().await
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
        let levels = self.pushing.iter().map(Upstreams::doorbell);
        Doorbell::any([self.headers.upstreams().doorbell()].into_iter().chain(levels))
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.headers.upstreams().judged(verdict);
    }
}
