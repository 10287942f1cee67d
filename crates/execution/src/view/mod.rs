//! A local view that is an execution client.
//!
//! # Overview
//!
//! Blocks of a commit are prepared (their bodies fetched and checked) while those before them are executed; tiers
//! move with the last of them. A commit returns when the client stands where it says, so the next pass reads that
//! back from the client itself.
//!
//! # State
//!
//! None but one note: what the client is to leave, after a prune. Should the process end before the next block is
//! there, the client's head is the fork that was to be left, and the next pass prunes again.
//!
//! # Reorg safety
//!
//! A client is pointed from one fork to the other in one step, as consensus clients do it: a prune is noted, and
//! the blocks after it are given and pointed at. Where none come, because the source became shorter, the client is
//! pointed back. It may say that this is valid and stay, as the Engine API allows; the note holds until the next
//! block. Below what the client holds to be final nothing is pruned:
//! [`BelowFinalized`](crate::ExecutionError::BelowFinalized).
//!
//! # Restart safety
//!
//! After a crash of either process the client's word is the truth. What it lost is given again; what it has and was
//! not acknowledged is not given again. Clients write behind: what they would have after a crash is the executor's
//! floor.

mod steps;
#[cfg(test)]
mod tests;

use crate::{Execution, Forkchoice, Order, Standing, Target, evidence, executor::Mailbox};
use futures::future::join;
use std::{path::PathBuf, sync::Arc};
use steps::{Step, steps};
use tidewatch_core::{
    BlockRef, ChainInfo, Change, Conflict, Fault, Height, LocalView, Tier, TipSet, Watermarks,
};

/// Blocks that are prepared at once, and acknowledged together. Bodies may be megabytes.
const CHUNK: usize = 16;

/// What the client is to leave, and may still stand on.
#[derive(Clone, Copy, Debug)]
struct Pruned {
    left: BlockRef,
    to: Forkchoice,
    /// It was pointed there, and may have stayed.
    pointed: bool,
}

/// What an execution client has taken in: see the [module](self).
pub struct View<X: Execution> {
    execution: Arc<X>,
    executor: Mailbox<X::Payload>,
    chain_info: ChainInfo,
    evidence: Option<PathBuf>,
    /// Targets so far.
    version: u64,
    pruned: Option<Pruned>,
    /// Means nothing to a client, so it is announced again after a restart.
    proven: Option<BlockRef>,
}

impl<X: Execution> std::fmt::Debug for View<X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("client", &self.execution.name()).finish_non_exhaustive()
    }
}

impl<X: Execution> View<X> {
    /// The view of the client of `chain_info` that `executor` makes the calls of. Conflicts about what is final
    /// are kept in the directory `evidence`, where there is one.
    pub const fn new(
        execution: Arc<X>,
        executor: Mailbox<X::Payload>,
        chain_info: ChainInfo,
        evidence: Option<PathBuf>,
    ) -> Self {
        Self { execution, executor, chain_info, evidence, version: 0, pruned: None, proven: None }
    }

    /// Where the client stands, or is to; and whether it was told.
    async fn stands(&self) -> Result<(Forkchoice, bool), Fault> {
        let Standing { forkchoice, .. } = self.execution.standing().await?;
        Ok(match self.pruned {
            Some(Pruned { left, to, pointed }) if forkchoice.head == left => (to, pointed),
            _ => (forkchoice, true),
        })
    }

    const fn target(&mut self, forkchoice: Forkchoice) -> Target {
        self.version += 1;
        Target { order: Order::version(self.version), forkchoice }
    }

    /// Notes what the client is to leave. It stands there until it is given another block, or is pointed back.
    async fn prune(&mut self, to: Forkchoice) -> Result<(), Fault> {
        let left = self.execution.standing().await?.forkchoice.head;
        self.pruned = Some(Pruned { left, to, pointed: false });
        Ok(())
    }

    async fn point(&mut self, to: Forkchoice) -> Result<(), Fault> {
        let target = self.target(to);
        self.executor.point(target).await?;
        if let Some(pruned) = &mut self.pruned {
            (pruned.to, pruned.pointed) = (to, true);
        }
        Ok(())
    }

    /// Gives `blocks` to a client that stands at `from`, and points it at `to` with the last of them.
    async fn give(
        &mut self,
        blocks: &[X::Block],
        from: Forkchoice,
        to: Forkchoice,
    ) -> Result<(), Fault> {
        let execution = self.execution.clone();
        let mut chunks = blocks.chunks(CHUNK).peekable();
        let first = chunks.next().unwrap_or_default();
        let mut prepared = execution.prepare(first).await?;
        loop {
            let Some(last) = prepared.last().map(crate::Payload::reference) else { return Ok(()) };
            let next = chunks.next();
            let target = self.target(if next.is_none() { to } else { from.with_head(last) });
            let given = self.executor.give(prepared, target);
            let Some(next) = next else {
                given.await?;
                self.pruned = None;
                return Ok(());
            };
            // Fetching goes on while the client executes.
            let (given, fetched) = join(given, execution.prepare(next)).await;
            given?;
            self.pruned = None;
            prepared = fetched?;
        }
    }
}

impl<X: Execution> LocalView for View<X> {
    type Block = X::Block;

    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        let (at, told) = self.stands().await?;
        let mut watermarks = watermarks(&at, self.proven);
        if !told {
            // Not announced yet: a pass that finds nothing else to do announces it, and the client is told.
            watermarks.tips.set(Tier::Proposed, None);
        }
        Ok(watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let head = self.stands().await?.0.head;
        let below: Vec<_> =
            heights.iter().copied().filter(|height| *height < head.height).collect();
        let mut found = self.execution.at(&below).await?.into_iter();
        let locate = |height: &Height| match *height < head.height {
            true => found.next().flatten(),
            false => Some(head),
        };
        Ok(heights.iter().map(locate).collect())
    }

    async fn commit(&mut self, changes: Vec<Change<X::Block>>) -> Result<(), Fault> {
        let (mut from, _) = self.stands().await?;
        let moves =
            |change: &Change<_>| matches!(change, Change::Blocks(_) | Change::Pruned { .. });
        // No block has followed a prune: the source became shorter.
        let back = self.pruned.is_some() && !changes.iter().any(moves);
        let proven = changes.iter().fold(self.proven, proven);
        let mut steps =
            steps(from, changes).map_err(|error| Fault::new(self.execution.name(), error))?;
        if back && steps.is_empty() {
            steps.push(Step::Point(from));
        }
        self.proven = proven;
        for step in steps {
            let to = step.to();
            match step {
                Step::Prune(to) => self.prune(to).await?,
                Step::Give(blocks, to) => self.give(&blocks, from, to).await?,
                Step::Point(to) => self.point(to).await?,
            }
            from = to;
        }
        Ok(())
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        let Some(directory) = &self.evidence else { return Ok(()) };
        let kept = evidence::conflict(directory, conflict);
        kept.map_err(|error| Fault::new(self.execution.name(), error))
    }
}

/// The watermarks of a client that stands at `at`. What it says of tiers above its head is no news: clients keep
/// their finalized block over a crash that cost them blocks below it.
fn watermarks(at: &Forkchoice, proven: Option<BlockRef>) -> Watermarks {
    let below = |block: &BlockRef| block.height < at.head.height || *block == at.head;
    let finalized = at.finalized.filter(below);
    let safe = at.safe.filter(below);
    let safe = safe.filter(|safe| finalized.is_none_or(|it| it.height <= safe.height));
    let mut tips = TipSet::unknown().with(Tier::Proposed, at.head);
    tips.set(Tier::Checkpointed, safe.map(Into::into));
    let lowest = |proven: &BlockRef| finalized.is_none_or(|it| it.height <= proven.height);
    let highest = |proven: &BlockRef| safe.is_none_or(|it| proven.height <= it.height);
    let proven = proven.filter(below).filter(lowest).filter(highest);
    tips.set(Tier::Proven, proven.map(Into::into));
    tips.set(Tier::Finalized, finalized.map(Into::into));
    Watermarks { delivered: Some(at.head), tips }
}

/// Where the proven tier stands after a change.
fn proven<B>(before: Option<BlockRef>, change: &Change<B>) -> Option<BlockRef> {
    match change {
        Change::Pruned { tips, .. } => tips.block(Tier::Proven),
        Change::Advanced { tier: Tier::Proven, tip, .. }
        | Change::Regressed { tier: Tier::Proven, tip, .. } => Some(tip.block),
        _ => before,
    }
}
