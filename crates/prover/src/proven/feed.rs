//! Has every delivered block proven.

use crate::{
    Error,
    plan::NotAdded,
    scheduler::{Mailbox, NewBlock},
};
use bytes::Bytes;
use commonware_utils::NZUsize;
use std::{fmt, num::NonZeroUsize};
use tidewatch_core::{
    Ack, Archive, ArchiveError, Block, BlockRef, Consumer, Event, Fault, FaultKind, Pin, Record,
};
use tracing::{debug, warn};

/// Blocks that are read and added at once.
const BATCH: NonZeroUsize = NZUsize!(64);

/// A consumer that has every delivered block proven: see the [module](super). Its position moves once the
/// inputs are durable, and what it has not taken in is pinned in the archive.
pub struct Feed<A: Archive, I> {
    archive: A,
    scheduler: Mailbox,
    inputs: I,
    pin: Pin,
}

impl<A: Archive, I> fmt::Debug for Feed<A, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl<A, I> Feed<A, I>
where
    A: Archive<Block: Block>,
    I: FnMut(&A::Block) -> Result<Bytes, Fault> + Send + 'static,
{
    /// Reads blocks from `archive` and hands them to `scheduler` with what `inputs` makes of them.
    pub fn new(archive: A, scheduler: Mailbox, inputs: I) -> Self {
        let committed = scheduler.proven().current().committed;
        let pin = archive.pin("prover", committed);
        Self { archive, scheduler, inputs, pin }
    }

    fn committed(&self) -> BlockRef {
        self.scheduler.proven().current().committed
    }

    /// Forgets what is not on the archive's chain: everything above the highest block that both have.
    async fn realign(&mut self) -> Result<(), Fault> {
        let tip = self.scheduler.proven().current().tip;
        let mut on_chain = is_held(&self.archive, tip).await?;
        let (mut common, mut from) = (on_chain.then_some(tip), tip.height.next());
        while on_chain {
            let jobs = self.scheduler.jobs(from, BATCH.get()).await.unwrap_or_default();
            let Some(last) = jobs.last() else { break };
            from = last.block.height.next();
            for job in jobs {
                on_chain = on_chain && is_held(&self.archive, job.block).await?;
                if on_chain {
                    common = Some(job.block);
                }
            }
        }
        let Some(common) = common else {
            let detail = format!(
                "the proven tip {tip} is not on this chain: prune it, or use another directory"
            );
            return Err(FaultKind::NotLinked.fault("the prover's feed", detail));
        };
        warn!(%common, "the chain went another way: what is above is forgotten");
        self.scheduler.prune(common).await
    }

    async fn blocks(&mut self, from: BlockRef, to: BlockRef) -> Result<(), Fault> {
        loop {
            let committed = self.committed();
            if to.height <= committed.height {
                return Ok(());
            }
            // After the highest block that it has; the first one of all is named by the event.
            let from = if from.height == committed.height.next() { from } else { committed };
            let blocks = match self.archive.range(from, to, BATCH).await {
                Ok(blocks) => blocks,
                // The log may have been begun anew since, so that no prune says it.
                Err(ArchiveError::OffChain { wanted, .. }) if wanted == committed => {
                    self.realign().await?;
                    continue;
                }
                // A prune that comes later in the log says so: what it leaves is read then.
                Err(error @ (ArchiveError::OffChain { .. } | ArchiveError::Ahead { .. })) => {
                    debug!(%error, "left to the prune that follows");
                    return Ok(());
                }
                Err(ArchiveError::Fault(fault)) => return Err(fault),
                Err(error @ ArchiveError::Trimmed { .. }) => {
                    return Err(FaultKind::TooOld.fault("the prover's feed", error));
                }
            };
            let mut new = Vec::with_capacity(blocks.len());
            for block in blocks.iter().filter(|block| block.reference().height > committed.height) {
                let (reference, parent) = (block.reference(), block.parent());
                new.push(NewBlock { block: reference, parent, inputs: (self.inputs)(block)? });
            }
            if new.is_empty() {
                return Err(FaultKind::Missing
                    .fault("the prover's feed", format!("no block after {committed}")));
            }
            if let Err(fault) = self.scheduler.add(new).await {
                let beside = |error: &Error| {
                    matches!(
                        error,
                        Error::NotAdded(NotAdded::Unlinked { .. } | NotAdded::Other { .. })
                    )
                };
                if !fault.reason::<Error>().is_some_and(beside) {
                    return Err(fault);
                }
                self.realign().await?;
                if self.committed() == committed {
                    return Err(fault);
                }
            }
            self.pin.advance(self.committed());
        }
    }
}

async fn is_held(archive: &impl Archive, block: BlockRef) -> Result<bool, Fault> {
    match archive.block(block).await {
        Ok(_) => Ok(true),
        Err(ArchiveError::Fault(fault)) => Err(fault),
        Err(_) => Ok(false),
    }
}

impl<A, I> Consumer for Feed<A, I>
where
    A: Archive<Block: Block>,
    I: FnMut(&A::Block) -> Result<Bytes, Fault> + Send + 'static,
{
    fn name(&self) -> &str {
        "prover"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        for record in records {
            match record.event {
                Event::Blocks { from, to } => self.blocks(from, to).await?,
                Event::Pruned { to, .. } => {
                    self.scheduler.prune(to).await?;
                    self.pin.advance(self.committed());
                }
                Event::Advanced { .. } | Event::Regressed { .. } => {}
            }
        }
        Ok(Ack::Durable)
    }
}
