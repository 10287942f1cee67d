//! What a commit does, and in which order things become durable.
//!
//! ```text
//!  changes ─▶ checked ─▶ payload written ─▶ payload synced ─▶ events written ─▶ synced ─▶ published
//!                              └── a prune: its event synced and published ─▶ cut announced ─▶ blocks above it cut
//! ```
//!
//! All methods that change something take the committer by value and give it back: where they do not, a
//! write failed or was cut off, and nobody knows what the disk holds until it is opened again.

use super::{
    layout::{Events, Layout},
    meta::{AsOf, Key, Meta, Run, Runs},
    moment::{Log, Moment, locate},
    positions::Positions,
    proofs::{HISTORY, ProofLog},
    run::OpenRun,
    trim::{Floors, Gauges},
};
use crate::{
    Part,
    anchors::Anchors,
    evidence::Evidence,
    known::RunStart,
    records::{Prunes, Stored},
    retention::Files,
    rules,
};
use commonware_codec::{Codec, EncodeSize as _};
use commonware_storage::{
    Context,
    journal::contiguous::{Contiguous as _, Many},
};
use std::{ops::Range, sync::Arc};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Conflict, Cursor, Dropped, Event, Fault, Height, Locator,
    Tier, TierProof, Watermarks,
};

/// Anchors are written once in this many events; a restart rolls them forward from there.
pub(super) const ANCHORS_EVERY: u64 = 64;

pub(super) struct Committer<E: Context> {
    pub(super) context: E,
    pub(super) layout: Layout,
    pub(super) chain_info: Arc<ChainInfo>,
    pub(super) positions: Arc<Positions<E>>,
    pub(super) floors: Arc<Floors>,
    pub(super) gauges: Gauges,
    pub(super) meta: Meta<E>,
    pub(super) events: Events<E>,
    pub(super) event_files: Files,
    /// The oldest event that can be read. It never moves back while the store is open.
    pub(super) oldest: u64,
    /// One for each tier, in the order of [`Tier::ALL`], and that of [`HISTORY`].
    pub(super) proofs: Vec<ProofLog<E>>,
    pub(super) run: Option<OpenRun<E>>,
    /// The run before, until the first event of the current one is durable.
    pub(super) retired: Option<OpenRun<E>>,
    /// Shared with the published moment, as are `prunes`: copied only where they change.
    pub(super) anchors: Arc<Anchors>,
    /// How many events the stored anchors know.
    pub(super) anchors_at: u64,
    pub(super) prunes: Arc<Prunes>,
    /// Sequence of the newest prune.
    pub(super) pruned: Option<u64>,
    pub(super) evidence: Evidence,
    /// Where the view stands, what is pending included.
    pub(super) watermarks: Watermarks,
    /// Events whose payload is not known to be durable yet.
    pub(super) pending: Vec<Stored>,
}

impl<E: Context> Committer<E> {
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

    async fn check<B: Block>(&self, change: &Change<B>) -> Result<Option<Event>, Fault> {
        let mut ours = None;
        if let Some(height) = rules::height_named(change)
            && self.watermarks.delivered.is_some()
        {
            let known = self.known_at(&[height]).await?.into_iter().next().flatten();
            ours = known.filter(|block| block.height == height);
        }
        let event = rules::check(&self.chain_info, &self.watermarks, ours, change)?;
        let Some(event) = event else { return Ok(None) };
        let first = self.run.as_ref().map(|run| run.run.start.first);
        match rules::prunes_across(change, self.watermarks.delivered, first) {
            Some(to) => Ok(Some(rules::with_depth(event, self.dropped(to).await?))),
            None => Ok(Some(event)),
        }
    }

    /// The delivered blocks that a prune to `to` drops, as far back as events are kept.
    async fn dropped(&self, to: Height) -> Result<u64, Fault> {
        /// Events that are read at once.
        const CHUNK: u64 = 256;
        let mut dropped = Dropped::by(to);
        if !dropped.back_over(self.pending.iter().rev().map(|stored| &stored.event)) {
            return Ok(dropped.count());
        }
        let Range { start, mut end } = self.events.bounds();
        while end > start {
            let from = end.saturating_sub(CHUNK).max(start);
            let positions: Vec<_> = (from..end).collect();
            let read = self.events.read_many(&positions).await;
            let stored = read.map_err(|error| Part::Events.unreadable(from, error))?;
            if !dropped.back_over(stored.iter().rev().map(|stored| &stored.event)) {
                break;
            }
            end = from;
        }
        Ok(dropped.count())
    }

    async fn apply<B: Block + Codec>(
        mut self,
        change: Change<B>,
        event: Option<Event>,
        log: &Log<E>,
    ) -> Result<Self, Fault> {
        match change {
            Change::Blocks(blocks) => self = self.append(&blocks, log).await?,
            Change::Certified(proof) => self = self.keep_proof(HISTORY, Some(proof)).await?,
            Change::Advanced { tier, proof, .. } => {
                self = self.keep_proof(tier.index(), proof).await?;
            }
            Change::Regressed { tier, tip, proof } => {
                // Before the event: proofs are kept in rising order, and the new one is its payload.
                self = self.cut_proofs(&[tier.index()], tip.block, log).await?;
                self = self.keep_proof(tier.index(), proof).await?;
            }
            Change::Pruned { .. } => {}
        }
        let Some(event) = event else { return Ok(self) };
        self = self.record(event).await?;
        if let Event::Pruned { to, .. } = event {
            // The event first: after a crash, blocks above the delivered one are dropped anyway, but
            // blocks that a durable event speaks of must be there.
            self = self.flush(log).await?.cut(to, log).await?;
        }
        Ok(self)
    }

    /// Drops what stands above `to`, where a durable prune went.
    async fn cut(mut self, to: BlockRef, log: &Log<E>) -> Result<Self, Fault> {
        debug_assert!(self.pending.is_empty(), "a cut before its prune is durable");
        if let Some(run) = self.run.take() {
            let end = to.height.get().saturating_add(1).max(run.run.start.first.get());
            log.announce_cut();
            self.run = Some(run.cut(end).await?);
            self = self.publish(log).await?;
        }
        self.cut_proofs(&[0, 1, 2, 3, HISTORY], to, log).await
    }

    /// Drops the proofs in `logs` of blocks above `top`, or beside it.
    async fn cut_proofs(
        mut self,
        logs: &[usize],
        top: BlockRef,
        log: &Log<E>,
    ) -> Result<Self, Fault> {
        let above = |at: &usize| self.proofs[*at].stands_above(top);
        let above: Vec<_> = logs.iter().copied().filter(above).collect();
        if above.is_empty() {
            return Ok(self);
        }
        self = self.flush(log).await?;
        log.announce_cut();
        for at in above {
            let proofs = self.proofs.remove(at).cut(Some(top)).await?;
            self.proofs.insert(at, proofs);
        }
        self.publish(log).await
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
            self.run = Some(run.append(blocks, self.context.current()).await?);
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

    async fn keep_proof(mut self, log: usize, proof: Option<TierProof>) -> Result<Self, Fault> {
        let Some(proof) = proof else { return Ok(self) };
        let proofs = self.proofs.remove(log).keep(&proof, self.context.current()).await?;
        self.proofs.insert(log, proofs);
        Ok(self)
    }

    /// Follows `event`, and leaves its record pending.
    pub(super) async fn record(mut self, event: Event) -> Result<Self, Fault> {
        self.watermarks.apply(&event);
        self.follow_anchors(&event);
        let sequence = self.events.size() + self.pending.len() as u64;
        let mut locators = Vec::new();
        if let (None, Some(head)) = (self.watermarks.delivered, self.watermarks.head()) {
            let heights: Vec<_> = Cursor::heights_below(head.height).collect();
            let below = self.known_at(&heights).await?.into_iter().flatten();
            locators = below.map(|block| Locator::of(&block)).collect();
        }
        let (watermarks, pruned) = (self.watermarks, self.pruned);
        self.pending.push(Stored { sequence, event, watermarks, pruned, locators });
        if let Event::Pruned { to, .. } = event {
            Arc::make_mut(&mut self.prunes).note(sequence, to.height);
            self.pruned = Some(sequence);
        }
        Ok(self)
    }

    fn follow_anchors(&mut self, event: &Event) {
        // Nothing to follow where blocks are delivered: what is shared need not be copied.
        if self.watermarks.delivered.is_none() || *self.anchors != Anchors::default() {
            Arc::make_mut(&mut self.anchors).apply(event, &self.watermarks);
        }
    }

    /// Makes the payload durable, all of it at once, and then the events that speak of it.
    pub(super) async fn flush(mut self, log: &Log<E>) -> Result<Self, Fault> {
        let mut syncing = Vec::new();
        if let Some(run) = self.run.take() {
            let (run, handles) = run.start_sync().await?;
            self.run = Some(run);
            syncing = handles;
        }
        for tier in 0..self.proofs.len() {
            let (proofs, handle) = self.proofs.remove(tier).start_sync().await?;
            self.proofs.insert(tier, proofs);
            syncing.extend(handle.map(|handle| (Part::Proofs, handle)));
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
        self.note_appended();
        let started = self.events.start_sync().await;
        let (events, handle) = started.map_err(|error| Part::Events.failed(error))?;
        self.events = events;
        handle.await.map_err(|error| Part::Events.failed(error))?;
        self.publish(log).await?.tidy().await
    }

    pub(super) async fn publish(self, log: &Log<E>) -> Result<Self, Fault> {
        let (committer, moment) = self.moment().await?;
        log.publish(moment);
        Ok(committer)
    }

    /// What readers may see now.
    pub(super) async fn moment(mut self) -> Result<(Self, Moment<E>), Fault> {
        debug_assert!(self.pending.is_empty(), "readers see only what is durable");
        let snapshot = self.events.snapshot().await;
        let (events, reader) = snapshot.map_err(|error| Part::Events.failed(error))?;
        self.events = events;
        let mut run = None;
        if let Some(open) = self.run.take() {
            let (open, reader) = open.snapshot().await?;
            self.run = Some(open);
            run = Some(reader);
        }
        let mut proofs = Vec::with_capacity(self.proofs.len());
        for tier in 0..self.proofs.len() {
            let (open, reader) = self.proofs.remove(tier).snapshot().await?;
            self.proofs.insert(tier, open);
            proofs.push(reader);
        }
        self.oldest = self.oldest();
        let mut oldest_proofs = [None; 4];
        for (oldest, proofs) in oldest_proofs.iter_mut().zip(&self.proofs) {
            *oldest = proofs.first;
        }
        let finalized = &mut oldest_proofs[Tier::Finalized.index()];
        *finalized = finalized.iter().copied().chain(self.proofs[HISTORY].first).min();
        let moment = Moment {
            chain_info: self.chain_info.clone(),
            watermarks: self.watermarks,
            oldest: self.oldest,
            end: self.events.size(),
            events: reader,
            run,
            proofs,
            oldest_proofs,
            floors: self.floors.clone(),
            anchors: self.anchors.clone(),
            prunes: self.prunes.clone(),
            evidence: self.evidence.conflicts().into(),
            cuts: 0,
        };
        let Layout { retention, .. } = &self.layout;
        self.gauges.show(&moment, &self.positions, retention);
        Ok((self, moment))
    }

    /// What was pending is in the journal.
    pub(super) fn note_appended(&mut self) {
        let now = self.context.current();
        for record in self.pending.drain(..) {
            self.event_files.append(record.encode_size() as u64, now);
        }
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
            let anchors = AsOf { sequence, value: Anchors::clone(&self.anchors) };
            self.meta = self.meta.put(Key::Anchors, &anchors).await?;
            self.anchors_at = sequence;
        }
        Ok(self)
    }

    pub(super) async fn keep_evidence(
        mut self,
        conflict: Conflict,
        log: &Log<E>,
    ) -> Result<Self, Fault> {
        if !self.evidence.keep(conflict) {
            return Ok(self);
        }
        self.meta = self.meta.put(Key::Evidence, &self.evidence).await?;
        self.publish(log).await
    }

    /// Makes everything durable, the watermarks that a restart begins from included.
    pub(super) async fn sync(mut self) -> Result<Self, Fault> {
        if let Some(run) = self.run {
            self.run = Some(run.sync().await?);
        }
        for tier in 0..self.proofs.len() {
            let proofs = self.proofs.remove(tier).sync().await?;
            self.proofs.insert(tier, proofs);
        }
        self.events = self.events.sync().await.map_err(|error| Part::Events.failed(error))?;
        Ok(self)
    }

    /// See [`known`](crate::known::known).
    pub(super) async fn known_at(
        &self,
        heights: &[Height],
    ) -> Result<Vec<Option<BlockRef>>, Fault> {
        let run = self.run.as_ref().map(|run| (run.run.start, &run.digests));
        locate(heights, &self.watermarks, run, &self.anchors, self.chain_info.genesis).await
    }
}
