//! The in-memory twin of the store: the same answers, nothing survives it.

use crate::{
    Error, Retained, Retention, Slowest,
    anchors::Anchors,
    evidence::Evidence,
    known::{Known, RunStart, known},
    limits,
    records::{Prunes, Stored},
    retention::held_from,
    rules,
    waiters::Waiters,
};
use commonware_utils::{NZU64, sync::Mutex};
use futures::FutureExt as _;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    num::{NonZeroU64, NonZeroUsize},
    ops::Range,
    sync::Arc,
};
use tidewatch_core::{
    Archive, ArchiveError, Block, BlockRef, ChainInfo, Change, Conflict, Cursor, Dropped, Event,
    EventLog, Fault, Height, History, LocalView, Locator, Locators, LogError, Pin, Pins, Positions,
    Record, Records, Resume, ResumeError, Tier, TierProof, Watermarks, newest, resume,
};

/// A local view, event log and archive in memory, for tests and for consumers that keep nothing. It
/// answers exactly as [`Store`](crate::Store) does: one test suite runs against both.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

impl Memory {
    /// An empty view of the chain `chain_info`.
    #[expect(clippy::new_ret_no_self, reason = "its two halves are all that there is of it")]
    pub fn new<B: Block>(chain_info: ChainInfo) -> (MemoryWriter<B>, MemoryReader<B>) {
        Self::with_retention(chain_info, NZU64!(65_536))
    }

    /// An empty view that keeps as many events and blocks as the counts in `retention` say, one by one,
    /// whatever consumers have acknowledged; no other limit of it counts. Blocks that are trimmed are
    /// refused, and stay in memory.
    pub fn with_retention<B: Block>(
        chain_info: ChainInfo,
        retention: impl Into<Retention>,
    ) -> (MemoryWriter<B>, MemoryReader<B>) {
        let retention = retention.into();
        let state = State {
            chain_info: chain_info.clone(),
            retention,
            floor: Height::zero(),
            watermarks: Watermarks::none(),
            run: None,
            anchors: Anchors::default(),
            proofs: Default::default(),
            records: VecDeque::new(),
            prunes: Prunes::default(),
            pruned: None,
            end: 0,
            consumers: BTreeMap::new(),
            evidence: Evidence::default(),
            pins: Pins::default(),
            waiters: Waiters::default(),
        };
        let state = Arc::new(Mutex::new(state));
        (MemoryWriter { chain_info, state: state.clone() }, MemoryReader { state })
    }
}

/// The writer of a [`Memory`]: the local view of one driver.
pub struct MemoryWriter<B> {
    chain_info: ChainInfo,
    state: Arc<Mutex<State<B>>>,
}

/// A reader of a [`Memory`]. Clones read the same.
pub struct MemoryReader<B> {
    state: Arc<Mutex<State<B>>>,
}

impl<B> Clone for MemoryReader<B> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<B> fmt::Debug for MemoryWriter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWriter").field("chain_info", &self.chain_info).finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for MemoryReader<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReader").finish_non_exhaustive()
    }
}

struct State<B> {
    chain_info: ChainInfo,
    retention: Retention,
    /// Blocks below this height are trimmed.
    floor: Height,
    watermarks: Watermarks,
    run: Option<Run<B>>,
    anchors: Anchors,
    /// In the order of [`Tier::ALL`].
    proofs: [BTreeMap<Height, TierProof>; 4],
    /// The events from the one below the oldest readable on.
    records: VecDeque<Stored>,
    prunes: Prunes,
    /// Sequence of the newest prune.
    pruned: Option<u64>,
    /// How many events came.
    end: u64,
    consumers: BTreeMap<String, Cursor>,
    evidence: Evidence,
    pins: Pins,
    waiters: Waiters,
}

struct Run<B> {
    start: RunStart,
    blocks: Vec<B>,
}

impl<B> Run<B> {
    fn end(&self) -> u64 {
        self.start.first.get() + self.blocks.len() as u64
    }
}

impl<B: Block> Run<B> {
    fn at(&self, height: Height) -> Option<&B> {
        let index = height.get().checked_sub(self.start.first.get())?;
        self.blocks.get(usize::try_from(index).ok()?)
    }
}

impl<B: Block> State<B> {
    fn known_at(&self, height: Height) -> Option<BlockRef> {
        let start = self.run.as_ref().map(|run| run.start);
        match known(height, &self.watermarks, start, &self.anchors, self.chain_info.genesis) {
            Known::Is(block) => block,
            Known::Dense => self.run.as_ref().and_then(|run| run.at(height)).map(Block::reference),
        }
    }

    fn exactly_at(&self, height: Height) -> Option<BlockRef> {
        self.known_at(height).filter(|known| known.height == height)
    }

    fn oldest(&self) -> u64 {
        let count = self.retention.events.count.map_or(u64::MAX, NonZeroU64::get);
        limits::oldest(0, self.end, self.end.saturating_sub(count))
    }

    /// The height of the oldest block that is held.
    fn oldest_block(&self) -> Option<Height> {
        self.watermarks.delivered?;
        self.run.as_ref().map(|run| self.oldest_of(run))
    }

    /// The height of the oldest block of `run` that is held.
    fn oldest_of(&self, run: &Run<B>) -> Height {
        run.start.first.max(self.floor)
    }

    /// Trims the blocks that are past retention.
    fn trim(&mut self) {
        let (Some(run), Some(count)) = (&self.run, self.retention.blocks.count) else { return };
        let held = held_from(
            self.pins.lowest(),
            self.watermarks.tips.block(Tier::Finalized).map(|block| block.height),
        );
        let past = run.end().saturating_sub(count.get());
        self.floor = self.floor.max(Height::new(past.min(held)));
    }

    fn apply(&mut self, change: Change<B>) -> Result<(), Fault> {
        let ours = rules::height_named(&change)
            .filter(|_| self.watermarks.delivered.is_some())
            .and_then(|height| self.exactly_at(height));
        let checked = rules::check(&self.chain_info, &self.watermarks, ours, &change)?;
        let Some(mut event) = checked else {
            if let Change::Certified(proof) = change {
                let proofs = &mut self.proofs[Tier::Finalized.index()];
                proofs.entry(proof.block.height).or_insert(proof);
            }
            return Ok(());
        };
        let first = self.run.as_ref().map(|run| run.start.first);
        if let Some(to) = rules::prunes_across(&change, self.watermarks.delivered, first) {
            let mut dropped = Dropped::by(to);
            dropped.back_over(self.records.iter().rev().map(|stored| &stored.event));
            event = rules::with_depth(event, dropped.count());
        }
        match change {
            Change::Blocks(blocks) => self.append(blocks),
            Change::Certified(_) => {}
            Change::Advanced { tier, proof, .. } => self.keep_proof(tier, proof),
            Change::Regressed { tier, tip, proof } => {
                self.cut_proofs(&[tier], tip.block);
                self.keep_proof(tier, proof);
            }
            Change::Pruned { to, .. } => {
                if let Some(run) = &mut self.run {
                    let end = to.height.get().saturating_add(1);
                    let kept = end.saturating_sub(run.start.first.get());
                    run.blocks.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                }
                self.cut_proofs(&Tier::ALL, to);
            }
        }
        self.record(event);
        Ok(())
    }

    fn keep_proof(&mut self, tier: Tier, proof: Option<TierProof>) {
        let Some(proof) = proof else { return };
        let proofs = &mut self.proofs[tier.index()];
        if proofs.last_key_value().is_none_or(|(last, _)| *last < proof.block.height) {
            proofs.insert(proof.block.height, proof);
        }
    }

    /// Drops the proofs of `tiers` for blocks above `top`, or beside it.
    fn cut_proofs(&mut self, tiers: &[Tier], top: BlockRef) {
        for tier in tiers {
            self.proofs[tier.index()]
                .retain(|height, proof| *height < top.height || proof.block == top);
        }
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

    fn record(&mut self, event: Event) {
        self.watermarks.apply(&event);
        self.anchors.apply(&event, &self.watermarks);
        let mut locators = Vec::new();
        if let (None, Some(head)) = (self.watermarks.delivered, self.watermarks.head()) {
            let below =
                Cursor::heights_below(head.height).filter_map(|height| self.known_at(height));
            locators = below.map(|block| Locator::of(&block)).collect();
        }
        let (sequence, watermarks, pruned) = (self.end, self.watermarks, self.pruned);
        self.records.push_back(Stored { sequence, event, watermarks, pruned, locators });
        if let Event::Pruned { to, .. } = event {
            self.prunes.note(sequence, to.height);
            self.pruned = Some(sequence);
        }
        self.end += 1;
    }

    fn kept(&self, sequence: u64) -> Option<Record> {
        let start = self.end - self.records.len() as u64;
        let stored = self.records.get(usize::try_from(sequence.checked_sub(start)?).ok()?)?;
        debug_assert_eq!(stored.sequence, sequence, "records are consecutive");
        let chain = &self.chain_info.id;
        Some(self.prunes.record(chain, stored, |height| self.known_at(height)))
    }

    /// The run, if `wanted` is one of its blocks.
    fn on_chain(&self, wanted: BlockRef) -> Result<&Run<B>, ArchiveError> {
        let ours = self.watermarks.delivered;
        let delivered = ours.filter(|delivered| wanted.height <= delivered.height);
        let (Some(run), Some(_)) = (&self.run, delivered) else {
            return Err(ArchiveError::Ahead { wanted, ours });
        };
        match self.exactly_at(wanted.height) {
            Some(ours) if ours != wanted => Err(ArchiveError::OffChain { wanted, ours }),
            Some(_) if wanted.height >= self.oldest_of(run) => Ok(run),
            _ => Err(ArchiveError::Trimmed { wanted, oldest: self.oldest_of(run) }),
        }
    }
}

impl<B: Block> LocalView for MemoryWriter<B> {
    type Block = B;

    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        Ok(self.state.lock().watermarks)
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let state = self.state.lock();
        Ok(heights.iter().map(|height| state.known_at(*height)).collect())
    }

    async fn commit(&mut self, changes: Vec<Change<B>>) -> Result<(), Fault> {
        let mut state = self.state.lock();
        let applied = changes.into_iter().try_for_each(|change| state.apply(change));
        let keep = state.end - state.oldest().saturating_sub(1);
        while state.records.len() as u64 > keep {
            state.records.pop_front();
        }
        state.trim();
        let end = state.end;
        state.waiters.wake(end);
        applied
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.state.lock().evidence.keep(conflict);
        Ok(())
    }
}

impl<B: Block> MemoryReader<B> {
    /// The chain.
    pub fn chain_info(&self) -> ChainInfo {
        self.state.lock().chain_info.clone()
    }

    /// Where the view stands.
    pub fn watermarks(&self) -> Result<Watermarks, Fault> {
        Ok(self.state.lock().watermarks)
    }

    /// The position of a consumer that has handled every event, and where it stands there.
    pub async fn newest(&self) -> Result<(Cursor, Watermarks), Fault> {
        let state = self.state.lock();
        let newest = newest(&*state, &*state).now_or_never();
        newest.unwrap_or_else(|| Err(Error::MemoryWaited.fault()))
    }

    /// See [`LocalView::locate`].
    pub async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        let state = self.state.lock();
        Ok(heights.iter().map(|height| state.known_at(*height)).collect())
    }

    /// The contradictions that were kept, oldest first.
    pub fn evidence(&self) -> Result<Vec<Conflict>, Fault> {
        Ok(self.state.lock().evidence.conflicts().to_vec())
    }

    /// What is held, and what holds it.
    pub async fn retention(&self) -> Result<Retained, Fault> {
        let state = self.state.lock();
        let handled = state.consumers.iter().map(|(name, cursor)| (name, cursor.handled()));
        let oldest = |proofs: &BTreeMap<Height, TierProof>| proofs.keys().next().copied();
        Ok(Retained {
            oldest_event: state.oldest(),
            oldest_block: state.oldest_block(),
            oldest_proofs: state.proofs.each_ref().map(oldest),
            pins: state.pins.list(),
            slowest: Slowest::of(handled, state.end),
            unacknowledged_max: 0,
        })
    }

    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.state.lock().waiters.parked()
    }
}

impl<B: Block> EventLog for MemoryReader<B> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        let state = self.state.lock();
        let range = limits::readable(sequence, max, state.oldest(), state.end)?;
        Ok(range.filter_map(|sequence| state.kept(sequence)).collect())
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        let parked = {
            let mut state = self.state.lock();
            if sequence < state.end {
                return Ok(());
            }
            state.waiters.park(sequence)
        };
        parked.await.map_err(|_| Error::Gone.fault().into())
    }
}

impl<B: Block> Positions for MemoryReader<B> {
    async fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        Ok(self.state.lock().consumers.get(consumer).cloned())
    }

    async fn store(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        let mut state = self.state.lock();
        limits::acknowledgement(&state.chain_info, consumer, cursor, state.end)?;
        let known = state.consumers.contains_key(consumer);
        limits::consumers(consumer, known, state.consumers.len())?;
        state.consumers.insert(consumer.into(), cursor.clone());
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        let state = self.state.lock();
        let list = state.consumers.iter();
        Ok(list.map(|(consumer, cursor)| (consumer.clone(), cursor.clone())).collect())
    }

    async fn forget(&self, consumer: &str) -> Result<bool, Fault> {
        Ok(self.state.lock().consumers.remove(consumer).is_some())
    }
}

impl<B: Block> Archive for MemoryReader<B> {
    type Block = B;

    async fn block(&self, wanted: BlockRef) -> Result<B, ArchiveError> {
        let state = self.state.lock();
        let run = state.on_chain(wanted)?;
        let trimmed = || ArchiveError::Trimmed { wanted, oldest: run.start.first };
        run.at(wanted.height).cloned().ok_or_else(trimmed)
    }

    async fn range(
        &self,
        from: BlockRef,
        to: BlockRef,
        max: NonZeroUsize,
    ) -> Result<Vec<B>, ArchiveError> {
        let state = self.state.lock();
        let run = state.on_chain(from)?;
        state.on_chain(to)?;
        let heights = limits::range(from.height, to.height, max);
        Ok(heights.filter_map(|height| run.at(Height::new(height)).cloned()).collect())
    }

    async fn proof(&self, tier: Tier, block: BlockRef) -> Result<Option<TierProof>, ArchiveError> {
        let state = self.state.lock();
        let ours = state.watermarks.head();
        if ours.is_none_or(|head| block.height > head.height) {
            return Err(ArchiveError::Ahead { wanted: block, ours });
        }
        if let Some(ours) = state.exactly_at(block.height).filter(|ours| *ours != block) {
            return Err(ArchiveError::OffChain { wanted: block, ours });
        }
        let mut above = state.proofs[tier.index()].range(block.height..);
        Ok(above.next().map(|(_, proof)| proof.clone()))
    }

    fn pin(&self, name: &str, block: BlockRef) -> Pin {
        self.state.lock().pins.pin(name, block)
    }
}

impl<B: Block> History for MemoryReader<B> {
    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        let state = self.state.lock();
        // Under one lock, so that all of it is of one moment; nothing in memory is waited for.
        let resumed = resume(&*state, &*state, cursor).now_or_never();
        resumed.unwrap_or_else(|| Err(Error::MemoryWaited.fault().into()))
    }
}

impl<B: Block> Locators for State<B> {
    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    fn watermarks(&self) -> Watermarks {
        self.watermarks
    }

    fn first(&self) -> Option<Height> {
        self.run.as_ref().map(|run| run.start.first)
    }

    fn oldest_block(&self) -> Option<Height> {
        self.oldest_block()
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        Ok(heights.iter().map(|height| self.known_at(*height)).collect())
    }
}

impl<B: Block> Records for State<B> {
    fn bounds(&self) -> Range<u64> {
        self.oldest()..self.end
    }

    async fn record(&self, sequence: u64) -> Result<Option<Record>, Fault> {
        Ok(self.kept(sequence))
    }
}
