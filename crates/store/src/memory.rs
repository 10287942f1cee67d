//! The in-memory twin of the store: the same answers, nothing survives it.

use crate::{
    anchors::Anchors,
    config::RETENTION,
    evidence::Evidence,
    known::{Known, RunStart, known},
    limits,
    resume::{self, History},
    rules,
    waiters::Waiters,
};
use commonware_utils::sync::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Conflict, Cursor, Event, EventLog, Fault, FaultKind,
    Height, LocalView, LogError, Record, Resume, ResumeError, Tier, TierProof, Watermarks,
};

/// A local view, event log and block archive in memory, for tests and for consumers that keep
/// nothing. It answers exactly as [`Store`](crate::Store) does: one test suite runs against both.
pub struct Memory<B> {
    chain_info: Arc<ChainInfo>,
    retention: NonZeroU64,
    state: Arc<Mutex<State<B>>>,
}

impl<B> Clone for Memory<B> {
    fn clone(&self) -> Self {
        Self {
            chain_info: self.chain_info.clone(),
            retention: self.retention,
            state: self.state.clone(),
        }
    }
}

impl<B> fmt::Debug for Memory<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("chain_info", &self.chain_info).finish_non_exhaustive()
    }
}

struct State<B> {
    watermarks: Watermarks,
    run: Option<Run<B>>,
    anchors: Anchors,
    proofs: BTreeMap<Height, TierProof>,
    /// The events from the one below the oldest readable on.
    records: VecDeque<Record>,
    /// How many events came.
    end: u64,
    consumers: BTreeMap<String, Cursor>,
    evidence: Evidence,
    waiters: Waiters,
}

struct Run<B> {
    start: RunStart,
    blocks: Vec<B>,
}

impl<B: Block> Memory<B> {
    /// An empty view of the chain `chain_info`.
    pub fn new(chain_info: ChainInfo) -> Self {
        Self::with_retention(chain_info, RETENTION)
    }

    /// An empty view that keeps `retention` events.
    pub fn with_retention(chain_info: ChainInfo, retention: NonZeroU64) -> Self {
        let state = State {
            watermarks: Watermarks::none(),
            run: None,
            anchors: Anchors::default(),
            proofs: BTreeMap::new(),
            records: VecDeque::new(),
            end: 0,
            consumers: BTreeMap::new(),
            evidence: Evidence::default(),
            waiters: Waiters::default(),
        };
        Self { chain_info: Arc::new(chain_info), retention, state: Arc::new(Mutex::new(state)) }
    }

    /// The chain.
    pub fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    /// The delivered block at `height`.
    pub async fn block(&self, height: Height) -> Result<Option<B>, Fault> {
        let state = self.state.lock();
        let delivered =
            state.watermarks.delivered.is_some_and(|delivered| height <= delivered.height);
        Ok(state.run.as_ref().filter(|_| delivered).and_then(|run| run.at(height)).cloned())
    }

    /// The lowest stored finality proof at or above a height.
    pub async fn proof(&self, at_or_above: Height) -> Result<Option<TierProof>, Fault> {
        let state = self.state.lock();
        Ok(state.proofs.range(at_or_above..).next().map(|(_, proof)| proof.clone()))
    }

    /// The contradictions that were kept, oldest first.
    pub async fn evidence(&self) -> Result<Vec<Conflict>, Fault> {
        Ok(self.state.lock().evidence.conflicts().to_vec())
    }

    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.state.lock().waiters.parked()
    }
}

impl<B: Block> Run<B> {
    fn at(&self, height: Height) -> Option<&B> {
        let index = height.get().checked_sub(self.start.first.get())?;
        self.blocks.get(usize::try_from(index).ok()?)
    }
}

impl<B: Block> State<B> {
    fn known_at(&self, chain_info: &ChainInfo, height: Height) -> Option<BlockRef> {
        let start = self.run.as_ref().map(|run| run.start);
        match known(height, &self.watermarks, start, &self.anchors, chain_info.genesis) {
            Known::Is(block) => block,
            Known::Dense => self.run.as_ref().and_then(|run| run.at(height)).map(Block::reference),
        }
    }

    fn oldest(&self, retention: NonZeroU64) -> u64 {
        limits::oldest(0, self.end, retention)
    }

    fn apply(&mut self, chain_info: &ChainInfo, change: Change<B>) -> Result<(), Fault> {
        let ours =
            rules::height_named(&change).filter(|_| self.watermarks.delivered.is_some()).and_then(
                |height| self.known_at(chain_info, height).filter(|ours| ours.height == height),
            );
        let event = rules::check(chain_info, &self.watermarks, ours, &change)?;
        match change {
            Change::Blocks(blocks) => self.append(blocks),
            Change::Moved { tier: Tier::Finalized, proof: Some(proof), .. } => {
                self.proofs.entry(proof.block.height).or_insert(proof);
            }
            Change::Pruned { .. } | Change::Moved { .. } => {}
        }
        self.watermarks.apply(&event);
        self.anchors.apply(&event, &self.watermarks);
        if let (Event::Pruned { to, .. }, Some(run)) = (event, &mut self.run) {
            let kept = to.height.get().saturating_add(1).saturating_sub(run.start.first.get());
            run.blocks.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        }
        self.record(chain_info, event);
        Ok(())
    }

    fn append(&mut self, blocks: Vec<B>) {
        let Some(first) = blocks.first() else { return };
        let at = first.reference().height;
        match &mut self.run {
            Some(run) if !rules::starts_run(&self.watermarks, at) && run.end() == at.get() => {
                run.blocks.extend(blocks);
            }
            run => {
                let start = RunStart { first: at, base: rules::base_of(first) };
                *run = Some(Run { start, blocks });
            }
        }
    }

    fn record(&mut self, chain_info: &ChainInfo, event: Event) {
        let below: Vec<_> = self.watermarks.head().map_or_else(Vec::new, |head| {
            Cursor::heights_below(head.height)
                .filter_map(|height| self.known_at(chain_info, height))
                .collect()
        });
        self.end += 1;
        let cursor = Cursor::new(&chain_info.id, self.end, &self.watermarks, &below);
        self.records.push_back(Record { event, watermarks: self.watermarks, cursor });
    }

    fn kept(&self, sequence: u64) -> Option<&Record> {
        let start = self.end - self.records.len() as u64;
        self.records.get(usize::try_from(sequence.checked_sub(start)?).ok()?)
    }
}

impl<B> Run<B> {
    fn end(&self) -> u64 {
        self.start.first.get() + self.blocks.len() as u64
    }
}

impl<B: Block> LocalView for Memory<B> {
    type Block = B;

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        Ok(self.state.lock().watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let state = self.state.lock();
        Ok(heights.iter().map(|height| state.known_at(&self.chain_info, *height)).collect())
    }

    async fn commit(&mut self, changes: Vec<Change<B>>) -> Result<(), Fault> {
        let mut state = self.state.lock();
        let applied =
            changes.into_iter().try_for_each(|change| state.apply(&self.chain_info, change));
        let keep = state.end - state.oldest(self.retention).saturating_sub(1);
        while state.records.len() as u64 > keep {
            state.records.pop_front();
        }
        let end = state.end;
        state.waiters.wake(end);
        applied
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.state.lock().evidence.keep(conflict);
        Ok(())
    }
}

impl<B: Block> EventLog for Memory<B> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        let state = self.state.lock();
        let range = limits::readable(sequence, max, state.oldest(self.retention), state.end)?;
        Ok(range.filter_map(|sequence| state.kept(sequence).cloned()).collect())
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        let parked = {
            let mut state = self.state.lock();
            if sequence < state.end {
                return Ok(());
            }
            state.waiters.park(sequence)
        };
        parked.await.map_err(|_| FaultKind::Stopped.fault("store", "the log is gone").into())
    }

    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        resume::resume(self, cursor).await
    }

    async fn acknowledge(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        let mut state = self.state.lock();
        limits::acknowledgement(&self.chain_info, consumer, cursor, state.end)?;
        let known = state.consumers.contains_key(consumer);
        limits::consumers(consumer, known, state.consumers.len())?;
        state.consumers.insert(consumer.into(), cursor.clone());
        Ok(())
    }

    async fn acknowledged(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        Ok(self.state.lock().consumers.get(consumer).cloned())
    }
}

impl<B: Block> History for Memory<B> {
    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    fn watermarks(&self) -> Watermarks {
        self.state.lock().watermarks
    }

    fn bounds(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.oldest(self.retention), state.end)
    }

    fn first(&self) -> Option<Height> {
        self.state.lock().run.as_ref().map(|run| run.start.first)
    }

    async fn record(&self, sequence: u64) -> Result<Option<Record>, Fault> {
        Ok(self.state.lock().kept(sequence).cloned())
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        LocalView::locate(self, heights).await
    }
}
