//! The durable store: one writer behind a lock, readers beside it.
//!
//! | file | holds |
//! |---|---|
//! | `layout` | where each part lies on disk, and the items of its journals |
//! | `open` | what a restart does |
//! | `writer` | what a commit does, and in which order |
//! | `run` | the blocks of one run and their digests |
//! | `log` | what readers of events see |
//! | `meta`, `consumers` | the small things, in two copies each |
//! | `fault` | storage errors as faults that name part and position |

mod consumers;
mod fault;
mod layout;
mod log;
mod meta;
mod open;
mod run;
mod writer;

use crate::{Config, limits, resume};
use commonware_codec::Codec;
use commonware_storage::Context;
use commonware_utils::sync::{AsyncMutex, Mutex};
use consumers::Consumers;
use fault::{Part, closed};
use log::Log;
use std::{collections::BTreeMap, fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Conflict, Cursor, EventLog, Fault, Height, LocalView,
    LogError, Record, Resume, ResumeError, TierProof, Watermarks,
};
use writer::Writer;

/// A durable local view, event log and block archive: see the [crate] for what it promises.
///
/// A handle: clones are the same store. One of them is the view of the driver, which alone commits;
/// any number of others read events.
///
/// # Cancel safety
///
/// Every read may be dropped at any await. [`commit`](LocalView::commit),
/// [`keep_evidence`](LocalView::keep_evidence) and [`acknowledge`](EventLog::acknowledge) may be
/// dropped before they begin to write; one that is dropped while it writes closes what it wrote to,
/// as a failed write does: every later call returns a [`Disk`](tidewatch_core::FaultKind::Disk)
/// fault, and opening the store again finds a consistent state.
pub struct Store<E: Context, B: Block + Codec> {
    shared: Arc<Shared<E, B>>,
}

struct Shared<E: Context, B: Block + Codec> {
    chain_info: ChainInfo,
    codec: B::Cfg,
    /// `None` once a write failed or was cut off.
    writer: AsyncMutex<Option<Writer<E>>>,
    /// `None` once a write failed or was cut off.
    consumers: AsyncMutex<Option<Consumers<E>>>,
    /// Positions that wait for the next write: however many wait, they are one.
    waiting: Mutex<BTreeMap<String, Cursor>>,
    log: Log<E>,
}

impl<E: Context, B: Block + Codec> Clone for Store<E, B> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<E: Context, B: Block + Codec> fmt::Debug for Store<E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("chain_info", &self.shared.chain_info).finish_non_exhaustive()
    }
}

impl<E: Context, B: Block + Codec> Store<E, B> {
    /// Opens the store in `config.partition` of the context's storage, or starts it there, and
    /// repairs what a crash left. Reads no history: see the [crate].
    ///
    /// Nothing keeps a second process from opening the same directory; who composes the node does.
    ///
    /// # Errors
    ///
    /// [`WrongChain`](tidewatch_core::FaultKind::WrongChain) if another chain is there,
    /// [`Setting`](tidewatch_core::FaultKind::InvalidConfig) if it was written in another format,
    /// [`CorruptRecord`](tidewatch_core::FaultKind::CorruptRecord), naming part and position, if it
    /// holds something else than what was written, and [`Disk`](tidewatch_core::FaultKind::Disk).
    pub async fn open(context: E, config: Config<B::Cfg>) -> Result<Self, Fault> {
        let (writer, log) = open::open::<E, B>(context, &config).await?;
        let partition = writer.layout.partition(Part::Consumers);
        let consumers = Consumers::open(writer.context.child("consumers"), partition).await?;
        let shared = Shared {
            chain_info: config.chain_info,
            codec: config.codec,
            writer: AsyncMutex::new(Some(writer)),
            consumers: AsyncMutex::new(Some(consumers)),
            waiting: Mutex::default(),
            log,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The chain.
    pub fn chain_info(&self) -> &ChainInfo {
        &self.shared.chain_info
    }

    /// The delivered block at `height`; `None` above the delivered one and below the first.
    pub async fn block(&self, height: Height) -> Result<Option<B>, Fault> {
        let writer = self.shared.writer.lock().await;
        writer.as_ref().ok_or_else(closed)?.block(height, &self.shared.codec).await
    }

    /// The lowest stored finality proof at or above a height.
    pub async fn proof(&self, at_or_above: Height) -> Result<Option<TierProof>, Fault> {
        let writer = self.shared.writer.lock().await;
        writer.as_ref().ok_or_else(closed)?.proof(at_or_above).await
    }

    /// The contradictions that were kept, oldest first.
    pub async fn evidence(&self) -> Result<Vec<Conflict>, Fault> {
        let writer = self.shared.writer.lock().await;
        Ok(writer.as_ref().ok_or_else(closed)?.evidence.conflicts().to_vec())
    }

    /// Ends every use of the store, of all its handles, after the last commit. Nothing is lost without
    /// it; with it, the next start has nothing to repair, and waits for events end now.
    pub async fn close(&self) -> Result<(), Fault> {
        let writer = self.shared.writer.lock().await.take();
        self.shared.consumers.lock().await.take();
        self.shared.log.close();
        match writer {
            Some(writer) => writer.sync().await.map(drop),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.shared.log.parked()
    }
}

/// Closes the log of a writer that did not come back.
struct CutOff<'a, E: Context>(Option<&'a Log<E>>);

impl<E: Context> CutOff<'_, E> {
    fn came_back(mut self) {
        self.0 = None;
    }
}

impl<E: Context> Drop for CutOff<'_, E> {
    fn drop(&mut self) {
        if let Some(log) = self.0 {
            log.close();
        }
    }
}

impl<E: Context, B: Block + Codec> LocalView for Store<E, B> {
    type Block = B;

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        Ok(self.shared.log.moment()?.watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let writer = self.shared.writer.lock().await;
        writer.as_ref().ok_or_else(closed)?.known_at(heights).await
    }

    async fn commit(&mut self, changes: Vec<Change<B>>) -> Result<(), Fault> {
        let mut slot = self.shared.writer.lock().await;
        let writer = slot.take().ok_or_else(closed)?;
        let cut_off = CutOff(Some(&self.shared.log));
        let (writer, outcome) = writer.commit(changes, &self.shared.log).await?;
        *slot = Some(writer);
        cut_off.came_back();
        outcome
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        let mut slot = self.shared.writer.lock().await;
        let writer = slot.take().ok_or_else(closed)?;
        let cut_off = CutOff(Some(&self.shared.log));
        *slot = Some(writer.keep_evidence(conflict).await?);
        cut_off.came_back();
        Ok(())
    }
}

impl<E: Context, B: Block + Codec> EventLog for Store<E, B> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        self.shared.log.read(sequence, max).await
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        self.shared.log.wait(sequence).await
    }

    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        let writer = self.shared.writer.lock().await;
        resume::resume(writer.as_ref().ok_or_else(closed)?, cursor).await
    }

    async fn acknowledge(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        let end = self.shared.log.moment()?.end;
        limits::acknowledgement(&self.shared.chain_info, consumer, cursor, end)?;
        self.shared.waiting.lock().insert(consumer.into(), cursor.clone());
        let mut slot = self.shared.consumers.lock().await;
        // Whoever wrote meanwhile wrote this one too: it is there, or there was no room for it.
        let waiting = {
            let mut waiting = self.shared.waiting.lock();
            if waiting.contains_key(consumer) {
                std::mem::take(&mut *waiting)
            } else {
                BTreeMap::new()
            }
        };
        if !waiting.is_empty() {
            let consumers = slot.take().ok_or_else(closed)?;
            *slot = Some(consumers.put(waiting).await?);
        }
        slot.as_ref().ok_or_else(closed)?.admit(consumer)
    }

    async fn acknowledged(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let slot = self.shared.consumers.lock().await;
        slot.as_ref().ok_or_else(closed)?.get(consumer)
    }
}
