//! The one writer: everything that is open for writing, and the order in which it is written.
//!
//! Its methods take it by value and give it back: where they do not, a write failed or was cut off,
//! and nobody knows what the disk holds until it is opened again.

use super::{
    fault::Part,
    layout::{Events, Held, Layout, Proofs},
    log::{Log, Moment, misplaced},
    meta::{AsOf, Key, Meta, Run, Runs},
    run::OpenRun,
};
use crate::{
    anchors::Anchors,
    evidence::Evidence,
    known::{Known, RunStart, known},
    limits,
    resume::History,
    rules,
};
use commonware_codec::Codec;
use commonware_storage::{
    Context,
    journal::contiguous::{Contiguous as _, Many},
};
use std::{collections::BTreeSet, num::NonZeroU64};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Conflict, Cursor, Event, Fault, Height, Record, Rule, Tier,
    TierProof, Watermarks,
};

/// Anchors are written once in this many events; a restart rolls them forward from there.
pub(super) const ANCHORS_EVERY: u64 = 64;

pub(super) struct Writer<E: Context> {
    pub(super) context: E,
    pub(super) layout: Layout,
    pub(super) chain_info: ChainInfo,
    pub(super) retention: NonZeroU64,
    pub(super) meta: Meta<E>,
    pub(super) events: Events<E>,
    pub(super) proofs: Proofs<E>,
    /// The block of the last stored proof.
    pub(super) proven: Option<Height>,
    /// Whether proofs were appended since the last sync.
    pub(super) proofs_dirty: bool,
    pub(super) run: Option<OpenRun<E>>,
    /// The run before, until the first event of the current one is durable.
    pub(super) retired: Option<OpenRun<E>>,
    pub(super) anchors: Anchors,
    /// How many events the stored anchors know.
    pub(super) anchors_at: u64,
    pub(super) evidence: Evidence,
    /// Where the view stands, what is pending included.
    pub(super) watermarks: Watermarks,
    /// Events whose payload is not known to be durable yet.
    pub(super) pending: Vec<Record>,
}

impl<E: Context> Writer<E> {
    /// Applies changes in order until one is refused, and makes durable what was applied.
    pub(super) async fn commit<B: Block + Codec>(
        mut self,
        changes: Vec<Change<B>>,
        log: &Log<E>,
    ) -> Result<(Self, Result<(), Fault>), Fault> {
        let mut refused = Ok(());
        for change in changes {
            match self.check(&change).await {
                Ok(event) => self = self.apply(change, event, log).await?,
                Err(fault) => {
                    refused = Err(fault);
                    break;
                }
            }
        }
        self = self.flush(log).await?;
        Ok((self.trim(log).await?, refused))
    }

    async fn check<B: Block>(&self, change: &Change<B>) -> Result<Event, Fault> {
        let mut ours = None;
        if let Some(height) = rules::height_named(change)
            && self.watermarks.delivered.is_some()
        {
            let known = self.known_at(&[height]).await?.into_iter().next().flatten();
            ours = known.filter(|block| block.height == height);
        }
        rules::check(&self.chain_info, &self.watermarks, ours, change)
    }

    async fn apply<B: Block + Codec>(
        mut self,
        change: Change<B>,
        event: Event,
        log: &Log<E>,
    ) -> Result<Self, Fault> {
        match change {
            Change::Blocks(blocks) => self = self.append(&blocks, log).await?,
            Change::Moved { tier: Tier::Finalized, proof: Some(proof), .. } => {
                self = self.keep_proof(&proof).await?;
            }
            Change::Pruned { .. } | Change::Moved { .. } => {}
        }
        self.watermarks.apply(&event);
        self.anchors.apply(&event, &self.watermarks);
        let record = self.record_of(event).await?;
        self.pending.push(record);
        if let Event::Pruned { to, .. } = event {
            // The event first: after a crash, blocks above the delivered one are dropped anyway, but
            // blocks that a durable event speaks of must be there.
            self = self.flush(log).await?;
            if let Some(run) = self.run {
                let end = to.height.get().saturating_add(1).max(run.run.start.first.get());
                self.run = Some(run.cut(end).await?);
            }
        }
        Ok(self)
    }

    async fn append<B: Block + Codec>(mut self, blocks: &[B], log: &Log<E>) -> Result<Self, Fault> {
        let Some(first) = blocks.first() else { return Ok(self) };
        let at = first.reference().height;
        let goes_on = !rules::starts_run(&self.watermarks, at)
            && self.run.as_ref().is_some_and(|run| run.end() == at.get());
        if !goes_on {
            let start = RunStart { first: at, base: rules::base_of(first) };
            self = self.start_run(start, log).await?;
        }
        if let Some(run) = self.run {
            self.run = Some(run.append(blocks).await?);
        }
        Ok(self)
    }

    /// Starts a run in the other slot. The one before stays until the event of its first block is
    /// durable, so that a crash in between finds one of the two complete.
    async fn start_run(mut self, start: RunStart, log: &Log<E>) -> Result<Self, Fault> {
        self = self.flush(log).await?;
        let slot = self.run.as_ref().map_or(0, |run| 1 - run.run.slot);
        let run = Run { slot, start, sequence: self.events.size() };
        let runs = self.run.iter().map(|run| run.run).chain([run]).collect();
        self.meta = self.meta.put(Key::Runs, &Runs(runs)).await?;
        self.retired = self.run.take();
        self.run = Some(OpenRun::start(&self.context, &self.layout, run).await?);
        Ok(self)
    }

    async fn keep_proof(mut self, proof: &TierProof) -> Result<Self, Fault> {
        if self.proven.is_some_and(|proven| proven >= proof.block.height) {
            return Ok(self);
        }
        let appended = self.proofs.append(&Held::of_proof(proof)).await;
        (self.proofs, _) = appended.map_err(|error| Part::Proofs.failed(error))?;
        self.proven = Some(proof.block.height);
        self.proofs_dirty = true;
        Ok(self)
    }

    pub(super) async fn record_of(&self, event: Event) -> Result<Record, Fault> {
        let heights: Vec<_> = self
            .watermarks
            .head()
            .into_iter()
            .flat_map(|head| Cursor::heights_below(head.height))
            .collect();
        let below: Vec<_> = self.known_at(&heights).await?.into_iter().flatten().collect();
        let handled = self.events.size() + self.pending.len() as u64 + 1;
        let cursor = Cursor::new(&self.chain_info.id, handled, &self.watermarks, &below);
        Ok(Record { event, watermarks: self.watermarks, cursor })
    }

    /// Makes the payload durable, all of it at once, and then the events that speak of it.
    pub(super) async fn flush(mut self, log: &Log<E>) -> Result<Self, Fault> {
        let mut syncing = Vec::new();
        if let Some(run) = self.run.take_if(|_| Rule::PayloadFirst.kept()) {
            let (run, handles) = run.start_sync().await?;
            self.run = Some(run);
            syncing = handles;
        }
        if self.proofs_dirty {
            let started = self.proofs.start_sync().await;
            let (proofs, handle) = started.map_err(|error| Part::Proofs.failed(error))?;
            self.proofs = proofs;
            self.proofs_dirty = false;
            syncing.push((Part::Proofs, handle));
        }
        // All are under way already: waiting for one after the other takes as long as the slowest.
        for (part, handle) in syncing {
            handle.await.map_err(|error| part.failed(error))?;
        }
        if self.pending.is_empty() {
            return Ok(self);
        }
        let appended = self.events.append_many(Many::Flat(&self.pending)).await;
        (self.events, _) = appended.map_err(|error| Part::Events.failed(error))?;
        self.pending.clear();
        if Rule::EventsSynced.kept() {
            let started = self.events.start_sync().await;
            let (events, handle) = started.map_err(|error| Part::Events.failed(error))?;
            self.events = events;
            handle.await.map_err(|error| Part::Events.failed(error))?;
        }
        self.publish(log).await?.tidy().await
    }

    async fn publish(self, log: &Log<E>) -> Result<Self, Fault> {
        let (writer, moment) = self.moment().await?;
        log.publish(moment);
        Ok(writer)
    }

    /// What readers may see now.
    pub(super) async fn moment(mut self) -> Result<(Self, Moment<E>), Fault> {
        let snapshot = self.events.snapshot().await;
        let (events, reader) = snapshot.map_err(|error| Part::Events.failed(error))?;
        self.events = events;
        let (oldest, end) = self.bounds();
        let moment = Moment { watermarks: self.watermarks, oldest, end, reader };
        Ok((self, moment))
    }

    /// Work that durable events allow: the end of a retired run, a new copy of the anchors.
    async fn tidy(mut self) -> Result<Self, Fault> {
        if let Some(retired) = self.retired.take() {
            retired.destroy().await?;
            let runs = self.run.iter().map(|run| run.run).collect();
            self.meta = self.meta.put(Key::Runs, &Runs(runs)).await?;
        }
        let sequence = self.events.size();
        if self.watermarks.delivered.is_none() && sequence >= self.anchors_at + ANCHORS_EVERY {
            let anchors = AsOf { sequence, value: self.anchors.clone() };
            self.meta = self.meta.put(Key::Anchors, &anchors).await?;
            self.anchors_at = sequence;
        }
        Ok(self)
    }

    /// Removes whole files of events that are past retention.
    async fn trim(mut self, log: &Log<E>) -> Result<Self, Fault> {
        let keep_from = self.bounds().0.saturating_sub(1);
        let (events, trimmed) =
            self.events.prune(keep_from).await.map_err(|error| Part::Events.failed(error))?;
        self.events = events;
        if trimmed { self.publish(log).await } else { Ok(self) }
    }

    pub(super) async fn keep_evidence(mut self, conflict: Conflict) -> Result<Self, Fault> {
        if self.evidence.keep(conflict) {
            self.meta = self.meta.put(Key::Evidence, &self.evidence).await?;
        }
        Ok(self)
    }

    /// Makes everything durable, the watermarks that a restart begins from included.
    pub(super) async fn sync(mut self) -> Result<Self, Fault> {
        if let Some(run) = self.run {
            self.run = Some(run.sync().await?);
        }
        self.proofs = self.proofs.sync().await.map_err(|error| Part::Proofs.failed(error))?;
        self.events = self.events.sync().await.map_err(|error| Part::Events.failed(error))?;
        Ok(self)
    }

    /// See [`known`].
    pub(super) async fn known_at(
        &self,
        heights: &[Height],
    ) -> Result<Vec<Option<BlockRef>>, Fault> {
        let start = self.run.as_ref().map(|run| run.run.start);
        let (anchors, genesis) = (&self.anchors, self.chain_info.genesis);
        let known: Vec<_> = heights
            .iter()
            .map(|height| (*height, known(*height, &self.watermarks, start, anchors, genesis)))
            .collect();
        let dense: BTreeSet<_> =
            known.iter().filter(|(_, known)| *known == Known::Dense).map(|(at, _)| *at).collect();
        let mut digests = Vec::new();
        if let Some(run) = &self.run {
            digests = run.digests_at(&dense).await?;
        }
        let dense: Vec<_> = dense.into_iter().zip(digests).collect();
        let digest_at = |height| {
            let at = dense.binary_search_by_key(&height, |(height, _)| *height).ok()?;
            dense.get(at).map(|(height, digest)| BlockRef::new(*height, *digest))
        };
        let block = |(height, known)| match known {
            Known::Is(block) => block,
            Known::Dense => digest_at(height),
        };
        Ok(known.into_iter().map(block).collect())
    }

    /// The delivered block at `height`, checked against its digest.
    pub(super) async fn block<B: Block + Codec>(
        &self,
        height: Height,
        codec: &B::Cfg,
    ) -> Result<Option<B>, Fault> {
        let Some(run) = &self.run else { return Ok(None) };
        let delivered =
            self.watermarks.delivered.is_some_and(|delivered| height <= delivered.height);
        if !delivered || height < run.run.start.first {
            return Ok(None);
        }
        let at = height.get();
        let block = run.block::<B>(at, codec).await?;
        let digests = run.digests_at(&BTreeSet::from([height])).await?;
        let found = block.reference();
        if digests.first() != Some(&found.digest) {
            return Err(Part::Blocks.corrupt(at, format!("holds block {found}")));
        }
        Ok(Some(block))
    }

    /// The lowest stored finality proof at or above a height.
    pub(super) async fn proof(&self, at_or_above: Height) -> Result<Option<TierProof>, Fault> {
        let at = proofs_below(&self.proofs, at_or_above).await?;
        if at == self.proofs.size() {
            Ok(None)
        } else {
            read_proof(&self.proofs, at).await.map(Some)
        }
    }
}

/// How many proofs there are of blocks below `height`: their heights rise, so it is a bisection.
pub(super) async fn proofs_below<E: Context>(
    proofs: &Proofs<E>,
    height: Height,
) -> Result<u64, Fault> {
    let bounds = proofs.bounds();
    let (mut low, mut high) = (bounds.start, bounds.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if read_proof(proofs, middle).await?.block.height < height {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

pub(super) async fn read_proof<E: Context>(
    proofs: &Proofs<E>,
    at: u64,
) -> Result<TierProof, Fault> {
    let held = proofs.read(at).await.map_err(|error| Part::Proofs.unreadable(at, &error))?;
    held.into_proof().map_err(|error| Part::Proofs.corrupt(at, error))
}

impl<E: Context> History for Writer<E> {
    fn chain_info(&self) -> &ChainInfo {
        &self.chain_info
    }

    fn watermarks(&self) -> Watermarks {
        self.watermarks
    }

    fn bounds(&self) -> (u64, u64) {
        let kept = self.events.bounds();
        (limits::oldest(kept.start, kept.end, self.retention), kept.end)
    }

    fn first(&self) -> Option<Height> {
        self.run.as_ref().map(|run| run.run.start.first)
    }

    async fn record(&self, sequence: u64) -> Result<Option<Record>, Fault> {
        if !self.events.bounds().contains(&sequence) {
            return Ok(None);
        }
        let read = self.events.read(sequence).await;
        let record = read.map_err(|error| Part::Events.unreadable(sequence, &error))?;
        if record.sequence() == sequence {
            Ok(Some(record))
        } else {
            Err(misplaced(sequence, &record))
        }
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.known_at(heights).await
    }
}
