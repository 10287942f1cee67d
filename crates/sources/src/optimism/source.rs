//! A rollup node, with its execution node, as a source.

use super::{
    OptimismError, PREFIX,
    heads::Heads,
    standing::{Standing, standing},
    wire::{SyncStatus, handshake, number, read_status, sync_status},
};
use crate::{
    error::fault,
    ethereum::{
        EthBlock,
        headers::Headers,
        rule::ETHEREUM,
        wire::{By, chain_name, handshake as execution_handshake},
    },
    rpc::{Config, NodeError, Rpc, Steady, Upstreams, Work},
    words::milliseconds,
};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{collections::BTreeSet, fmt, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Monitor,
    Snapshot, Source, Tier, TipSet,
};

/// Blocks that are asked for under a new tip which does not stand on the one before: a search for where
/// that chain left the other one begins with them, and a short absence is made up for.
const BELOW: u64 = 64;

/// Digests that one question may name: a search by so few stays among those blocks for as long as it
/// can, and costs no request there.
const DIGESTS_MAX: usize = 8;

/// An OP Stack chain, followed from rollup nodes and execution nodes. See the
/// [module](crate::optimism).
pub struct OptimismSource<E: Clock, R> {
    nodes: Upstreams<E, R>,
    headers: Headers<E, R>,
    heads: Heads,
    steady: Steady,
    /// The tips that the execution node was last seen to have.
    agreed: Mutex<TipSet>,
    name: String,
}

impl<E: Clock, R> fmt::Debug for OptimismSource<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptimismSource")
            .field("nodes", &self.nodes)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl<E: Clock + Metrics + Spawner, R: Rpc> OptimismSource<E, R> {
    /// A source over rollup `nodes` and `execution` nodes of one chain. Nothing is asked yet. What is
    /// refused on the way to an answer is told to `monitor`.
    ///
    /// # Errors
    ///
    /// `Setting`: there is no node of either kind.
    pub fn new(
        context: E,
        nodes: Vec<R>,
        execution: Vec<R>,
        heads: Heads,
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let nodes =
            Upstreams::new(context.child("rollup"), nodes, handshake(), monitor.clone(), config)?;
        let execution = Upstreams::new(context, execution, execution_handshake(), monitor, config)?;
        let name = format!("{} with {}", nodes.name(), execution.name());
        let headers = Headers::new(execution, ETHEREUM, config.recent_max);
        let steady = Steady::new(Ladder::Rollup, config);
        Ok(Self { nodes, headers, heads, steady, agreed: Mutex::default(), name })
    }
}

impl<E: Clock + Spawner, R: Rpc> OptimismSource<E, R> {
    /// What was asked and refused so far, of rollup nodes and of execution nodes.
    pub fn work(&self) -> [Work; 2] {
        [self.nodes.work(), self.headers.upstreams().work()]
    }

    async fn take(&self) -> Result<Snapshot, Fault> {
        let answers = self.nodes.ask(&[sync_status()]).await?;
        let [answer] = &answers[..] else {
            let error = NodeError::ShortAnswers { got: answers.len(), want: 1 };
            return Err(fault(&self.name, error));
        };
        let status = read_status(self.nodes.name(), answer);
        let status = status.map_err(|fault| self.nodes.refuse(fault))?;
        let tips = self.heads.tips(&status);
        self.agree(&tips, &status).await?;
        let time_ms = self.heads.proposed(&status).map(|head| milliseconds(head.timestamp));
        Ok(Snapshot { time_ms, ..tips.into() })
    }

    /// Makes sure that the execution node has every block of `tips`. Those that it was seen to have
    /// are not asked for again.
    async fn agree(&self, tips: &TipSet, status: &SyncStatus) -> Result<(), Fault> {
        let agreed = *self.agreed.lock();
        let moved: Vec<_> = Tier::ALL
            .into_iter()
            .filter(|tier| tips.block(*tier) != agreed.block(*tier))
            .filter_map(|tier| tips.block(tier))
            .collect();
        if !moved.is_empty() {
            let below = self.below(&agreed, status);
            let heights: BTreeSet<_> = moved.iter().map(|block| block.height).collect();
            let mut wanted = vec![By::Tag("latest")];
            wanted.extend(heights.union(&below).copied().map(By::Height));
            let found = self.headers.ask_from_genesis(&wanted).await?;
            // Blocks that were asked for on the side cost nothing where they are refused.
            let needed = |by: &By| !matches!(by, By::Height(at) if !heights.contains(at));
            let blocks = wanted.iter().zip(found).filter(|(by, _)| needed(by));
            let blocks = blocks.map(|(_, found)| self.headers.need(found));
            let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
            let found = || blocks.iter().flatten().map(EthBlock::reference);
            let top = blocks.first().and_then(Option::as_ref).map(|top| top.reference().height);
            for head in moved {
                let at = found().find(|block| block.height == head.height);
                self.judge(head, standing(Some(head), at.map(|block| block.digest), top))?;
            }
        }
        *self.agreed.lock() = *tips;
        Ok(())
    }

    /// Heights under a proposed head that does not stand on the one before, as many as one batch has
    /// room for.
    fn below(&self, agreed: &TipSet, status: &SyncStatus) -> BTreeSet<Height> {
        let before = agreed.block(Tier::Proposed);
        let Some((before, head)) = before.zip(self.heads.proposed(status)) else {
            return BTreeSet::new();
        };
        let parent = Digest(head.parent_hash.0);
        if head.block() == before || parent == before.digest {
            return BTreeSet::new();
        }
        // The highest block, the three heads, and genesis.
        let room = (self.headers.upstreams().batch_max() as u64).saturating_sub(5).min(BELOW);
        (head.number.saturating_sub(room)..head.number).map(Height::new).collect()
    }

    fn judge(&self, head: BlockRef, standing: Standing) -> Result<(), Fault> {
        let execution = self.headers.upstreams();
        let error = match standing {
            Standing::Agree | Standing::Behind => return Ok(()),
            Standing::Ahead => OptimismError::Ahead { head },
            Standing::Diverged(at) => OptimismError::Diverged { head, at },
            Standing::Unknown => OptimismError::Hole { head },
        };
        // Which of the two is wrong cannot be told: where there are others, others are asked next.
        self.nodes.move_on();
        execution.move_on();
        Err(execution.refuse(fault(&self.name, error)))
    }
}

impl<E: Clock + Spawner, R: Rpc> Source for OptimismSource<E, R> {
    type Block = EthBlock;

    fn name(&self) -> &str {
        &self.name
    }

    fn ladder(&self) -> Ladder {
        Ladder::Rollup
    }

    fn limits(&self) -> Limits {
        let limits = self.headers.limits();
        Limits { digests_max: limits.digests_max.min(NZUsize!(DIGESTS_MAX)), ..limits }
    }

    /// The rollup's number, and the execution node's block at height 0. Both nodes must be of one chain:
    /// the execution node has the block that the rollup begins at.
    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let rollup = self.nodes.chain_info().await?;
        let execution = self.headers.upstreams().chain_info().await?;
        let mut first = self.headers.ask(&[By::Height(rollup.genesis.height)]).await?;
        let first = first.pop().map(|found| self.headers.need(found)).transpose()?.flatten();
        let first = first.map(|block| block.reference());
        let theirs = number(&execution).unwrap_or_default();
        let agree = number(&rollup).is_none_or(|ours| ours == theirs);
        if agree && first == Some(rollup.genesis) {
            let id = chain_name(&format!("{PREFIX}:{theirs}"), &self.name)?;
            return Ok(ChainInfo { id, genesis: execution.genesis });
        }
        let error = OptimismError::OtherExecution {
            rollup: rollup.id,
            begins: rollup.genesis,
            execution: execution.id,
            there: first,
        };
        Err(fault(&self.name, error))
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.steady.snapshot(&self.nodes, || Box::pin(self.take())).await
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

    /// Which of the two nodes is to blame is not known: either may have another one beside it.
    fn judged(&self, verdict: Result<(), &Fault>) {
        self.nodes.judged(verdict);
        self.headers.upstreams().judged(verdict);
    }
}
