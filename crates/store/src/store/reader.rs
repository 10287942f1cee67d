//! The reading half: events, archive, positions, and where to go on from a cursor.

use super::Shared;
use crate::{Retained, limits};
use commonware_codec::Codec;
use commonware_storage::Context;
use std::{fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    Archive, ArchiveError, Block, BlockRef, ChainInfo, Conflict, Cursor, EventLog, Fault, Height,
    History, Locators as _, LogError, Pin, Positions, Record, Resume, ResumeError, Tier, TierProof,
    Watermarks, newest, resume,
};

/// A reader of a [`Store`](crate::Store). Clones read the same store.
///
/// Everything is read of the last moment that is durable, and nothing waits for a commit. Only a read
/// that meets the cut of a prune, which overwrites what it was reading, is made again of the moment
/// after it.
///
/// # Cancel safety
///
/// Every read may be dropped at any await. [`store`](Positions::store) and
/// [`forget`](Positions::forget) may be dropped before they begin to write; one that is dropped while it
/// writes closes the positions, as a failed write does.
pub struct Reader<E: Context, B: Block + Codec> {
    pub(super) shared: Arc<Shared<E, B>>,
}

impl<E: Context, B: Block + Codec> Clone for Reader<E, B> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<E: Context, B: Block + Codec> fmt::Debug for Reader<E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("chain_info", &self.shared.chain_info)
            .finish_non_exhaustive()
    }
}

/// Reads of the published moment, again and again until no cut has spoilt the answer.
macro_rules! of_moment {
    ($log:expr, |$moment:ident| $read:expr) => {
        loop {
            let $moment = $log.moment()?;
            let answer = $read;
            if $log.stood(&$moment).await? {
                break answer;
            }
        }
    };
}

impl<E: Context, B: Block + Codec> Reader<E, B> {
    /// The chain.
    pub fn chain_info(&self) -> &ChainInfo {
        &self.shared.chain_info
    }

    /// Where the store stands durably.
    pub fn watermarks(&self) -> Result<Watermarks, Fault> {
        Ok(self.shared.log.moment()?.watermarks)
    }

    /// The position of a consumer that has handled every event, and where it stands there.
    pub async fn newest(&self) -> Result<(Cursor, Watermarks), Fault> {
        of_moment!(self.shared.log, |moment| newest(&*moment, &*moment).await)
    }

    /// See [`LocalView::locate`](tidewatch_core::LocalView::locate).
    pub async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        of_moment!(self.shared.log, |moment| moment.locate(heights).await)
    }

    /// The contradictions that were kept, oldest first.
    pub fn evidence(&self) -> Result<Vec<Conflict>, Fault> {
        Ok(self.shared.log.moment()?.evidence.to_vec())
    }

    /// What is held, and what holds it.
    pub async fn retention(&self) -> Result<Retained, Fault> {
        let Shared { log, positions, floors, retention, .. } = &*self.shared;
        let moment = log.moment()?;
        Ok(Retained {
            oldest_event: moment.oldest,
            oldest_block: moment.oldest_block(),
            oldest_proofs: moment.oldest_proofs,
            pins: floors.pins.list(),
            slowest: positions.slowest(moment.end),
            unacknowledged_max: retention.unacknowledged_max,
        })
    }

    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.shared.log.parked()
    }
}

impl<E: Context, B: Block + Codec> EventLog for Reader<E, B> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        of_moment!(self.shared.log, |moment| moment.read(sequence, max).await)
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        self.shared.log.wait(sequence).await
    }
}

impl<E: Context, B: Block + Codec> History for Reader<E, B> {
    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        of_moment!(self.shared.log, |moment| resume(&*moment, &*moment, cursor).await)
    }
}

impl<E: Context, B: Block + Codec> Archive for Reader<E, B> {
    type Block = B;

    async fn block(&self, wanted: BlockRef) -> Result<B, ArchiveError> {
        let Shared { log, codec, .. } = &*self.shared;
        of_moment!(log, |moment| moment.block(wanted, codec).await)
    }

    async fn range(
        &self,
        from: BlockRef,
        to: BlockRef,
        max: NonZeroUsize,
    ) -> Result<Vec<B>, ArchiveError> {
        let Shared { log, codec, .. } = &*self.shared;
        of_moment!(log, |moment| moment.range((from, to), max, codec).await)
    }

    async fn proof(&self, tier: Tier, block: BlockRef) -> Result<Option<TierProof>, ArchiveError> {
        of_moment!(self.shared.log, |moment| moment.proof(tier, block).await)
    }

    fn pin(&self, name: &str, block: BlockRef) -> Pin {
        self.shared.floors.pins.pin(name, block)
    }
}

impl<E: Context, B: Block + Codec> Positions for Reader<E, B> {
    async fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        self.shared.positions.load(consumer)
    }

    async fn store(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        let Shared { chain_info, log, positions, .. } = &*self.shared;
        limits::acknowledgement(chain_info, consumer, cursor, log.moment()?.end)?;
        positions.replace(consumer, Some(cursor.clone())).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        self.shared.positions.list()
    }

    async fn forget(&self, consumer: &str) -> Result<bool, Fault> {
        self.shared.positions.replace(consumer, None).await
    }
}
