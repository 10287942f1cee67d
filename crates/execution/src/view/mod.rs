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
//! None but one note. The Engine API lets a client skip a move to a block below its head and say that it is valid.
//! A prune is such a move: until the next block is there, the view remembers that the client was pruned, and where
//! to. Should the process end before, the client's head is the fork that was left, and the next pass prunes again.
//!
//! # Reorg safety
//!
//! A prune points the client at the common ancestor, the blocks after it at the new head. Below what the client
//! holds to be final nothing is pruned: [`BelowFinalized`](crate::ExecutionError::BelowFinalized).
//!
//! # Restart safety
//!
//! After a crash of either process the client's word is the truth. What it lost is given again; what it has and was
//! not acknowledged is not given again. Clients write behind: what they would have after a crash is the executor's
//! floor.

mod steps;

use crate::{Execution, Forkchoice, Order, Standing, Target, evidence, executor::Mailbox};
use futures::future::join;
use std::{path::PathBuf, sync::Arc};
use steps::{Step, steps};
use tidewatch_core::{
    BlockRef, ChainInfo, Change, Conflict, Fault, Height, LocalView, Tier, TipSet, Watermarks,
};

/// Blocks that are prepared at once, and acknowledged together. Bodies may be megabytes.
const CHUNK: usize = 16;

/// The client was pruned, and may still stand on what it was to leave.
#[derive(Clone, Copy, Debug)]
struct Pruned {
    left: BlockRef,
    to: Forkchoice,
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
        Self { execution, executor, chain_info, evidence, version: 0, pruned: None }
    }

    /// Where the client stands, or was told to.
    async fn stands(&self) -> Result<Forkchoice, Fault> {
        let Standing { forkchoice, .. } = self.execution.standing().await?;
        Ok(match self.pruned {
            Some(Pruned { left, to }) if forkchoice.head == left => to,
            _ => forkchoice,
        })
    }

    const fn target(&mut self, forkchoice: Forkchoice) -> Target {
        self.version += 1;
        Target { order: Order::version(self.version), forkchoice }
    }

    /// Points at what is left after a prune, and remembers what the client may still stand on.
    async fn prune(&mut self, to: Forkchoice) -> Result<(), Fault> {
        let left = self.execution.standing().await?.forkchoice.head;
        let target = self.target(to);
        self.executor.point(target).await?;
        self.pruned = Some(Pruned { left, to });
        Ok(())
    }

    async fn take(&mut self, step: Step<X::Block>, from: Forkchoice) -> Result<(), Fault> {
        let Step { blocks, to } = step;
        if blocks.is_empty() {
            if to.head != from.head {
                return self.prune(to).await;
            }
            let target = self.target(to);
            self.executor.point(target).await?;
            // A client that has skipped the prune has skipped this too.
            if let Some(pruned) = &mut self.pruned {
                pruned.to = to;
            }
            return Ok(());
        }
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
        Ok(watermarks(&self.stands().await?))
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let head = self.stands().await?.head;
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
        let mut from = self.stands().await?;
        let steps =
            steps(from, changes).map_err(|error| Fault::new(self.execution.name(), error))?;
        for step in steps {
            let to = step.to;
            self.take(step, from).await?;
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
fn watermarks(at: &Forkchoice) -> Watermarks {
    let below = |block: &BlockRef| block.height < at.head.height || *block == at.head;
    let finalized = at.finalized.filter(below);
    let safe = at.safe.filter(below);
    let safe = safe.filter(|safe| finalized.is_none_or(|it| it.height <= safe.height));
    let mut tips = TipSet::unknown().with(Tier::Proposed, at.head);
    tips.set(Tier::Checkpointed, safe.map(Into::into));
    tips.set(Tier::Finalized, finalized.map(Into::into));
    Watermarks { delivered: Some(at.head), tips }
}
