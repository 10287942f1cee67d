//! Has every delivered block proven.

use crate::scheduler::{Mailbox, NewBlock};
use bytes::Bytes;
use commonware_utils::NZUsize;
use std::{fmt, num::NonZeroUsize};
use tidewatch_core::{
    Ack, Archive, ArchiveError, Block, BlockRef, Consumer, Event, Fault, FaultKind, Pin, Record,
};
use tracing::debug;

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
                new.push(NewBlock { block: block.reference(), inputs: (self.inputs)(block)? });
            }
            if new.is_empty() {
                return Err(FaultKind::Missing
                    .fault("the prover's feed", format!("no block after {committed}")));
            }
            self.scheduler.add(new).await?;
            self.pin.advance(self.committed());
        }
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
