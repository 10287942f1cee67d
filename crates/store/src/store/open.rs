//! Opening a directory: find the last event, and make everything else agree with it.
//!
//! What is read does not depend on the length of the history: the last event, the tail of each
//! journal, at most [`ROLL_MAX`] events for the anchors and [`PRUNES_MAX`] for the prunes, and a bisection
//! over the proofs of each tier.

use super::{
    committer::{ANCHORS_EVERY, Committer},
    layout::{Events, Layout},
    meta::{AsOf, Header, Key, Meta, Runs},
    moment::{Log, in_place},
    positions::Positions,
    proofs::{HISTORY, ProofLog},
    run::OpenRun,
    trim::{Floors, Gauges},
};
use crate::{
    Config, Damage, Error, Part,
    anchors::Anchors,
    error::Cause,
    known::RunStart,
    records::{PRUNES_MAX, Prunes, Stored},
    rules,
};
use commonware_codec::{Codec, varint::UInt};
use commonware_storage::{Context, journal::contiguous::Contiguous as _};
use std::sync::Arc;
use tidewatch_core::{Block, BlockRef, ChainInfo, Digest, Event, Fault, Height, Tier, Watermarks};
use tracing::{info, warn};

/// Events that anchors are rolled forward over: what the older of two copies can be behind, and one
/// large commit. Past that they are left out, which makes a prune deeper, never wrong.
const ROLL_MAX: u64 = 16 * ANCHORS_EVERY;

/// Blocks that digests are made from at once, where digests are gone.
const REDO_AT_ONCE: u64 = 1024;

/// Opens what is in `config.partition`, or starts it.
pub(super) async fn open<E: Context, B: Block + Codec>(
    context: E,
    config: &Config<B::Cfg>,
) -> Result<(Committer<E>, Log<E>), Fault> {
    let mut layout = Layout::new(&context, config);
    let meta = Meta::open(context.child("meta"), layout.partition(Part::Meta)).await?;
    let known = meta.header()?;
    if let Some(known) = &known {
        same_chain(&known.chain_info, &config.chain_info)?;
        layout.blocks_per_section = known.blocks_per_section;
    }
    let events = layout.events(&context).await?;
    let last = last_record(&events).await?;
    let meta = match known {
        Some(_) => meta,
        None if last.is_some() => {
            return Err(Part::Meta.corrupt(0, Damage::NoHeader));
        }
        None => {
            let chain_info = config.chain_info.clone();
            let header = Header { chain_info, blocks_per_section: layout.blocks_per_section };
            meta.put(Key::Header, &header).await?
        }
    };
    let cause = Cause::default();
    let consumers = layout.partition(Part::Consumers);
    let positions = Positions::open(context.child("consumers"), consumers, cause.clone()).await?;
    if events.size() == 0 && (had_events(&meta)? || positions.most() > 0) {
        return Err(Part::Events.corrupt(0, Damage::NoEvents));
    }
    let (prunes, pruned) = known_prunes(&events, last.as_ref()).await?;
    let watermarks = last.map_or_else(Watermarks::none, |record| record.watermarks);
    let (meta, run) = current_run(&context, &layout, meta, events.size()).await?;
    let mut proofs = Vec::with_capacity(Tier::ALL.len() + 1);
    for tier in Tier::ALL {
        // Proofs above the tip are of an event that did not become durable.
        let top = watermarks.tips.block(tier);
        proofs.push(ProofLog::open(&context, &layout, tier.as_str(), top).await?);
    }
    proofs.push(ProofLog::open(&context, &layout, "history", watermarks.delivered).await?);
    let evidence = meta.get(Key::Evidence)?.unwrap_or_default();
    let event_files = layout.event_files(&context, events.bounds()).await?;
    let mut committer = Committer {
        chain_info: Arc::new(config.chain_info.clone()),
        positions: Arc::new(positions),
        floors: Arc::new(Floors::default()),
        gauges: Gauges::new(&context.child("retention")),
        event_files,
        oldest: 0,
        retired: None,
        anchors: Arc::default(),
        anchors_at: 0,
        prunes: Arc::new(prunes),
        pruned,
        pending: Vec::new(),
        context,
        layout,
        meta,
        events,
        proofs,
        run,
        evidence,
        watermarks,
    };
    committer = committer.align_run::<B>(&config.codec).await?;
    committer = committer.align_history().await?;
    committer = committer.roll_anchors().await?;
    let (committer, moment) = committer.moment().await?;
    info!(events = moment.end, delivered = ?moment.watermarks.delivered, "opened store");
    let log = Log::new(moment, cause);
    Ok((committer, log))
}

fn same_chain(found: &ChainInfo, wanted: &ChainInfo) -> Result<(), Fault> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::WrongChain { found: found.clone(), wanted: wanted.clone() }.fault())
}

/// Whether what is written beside the events says that there were some. A partition that the system could
/// not list looks like an empty one: what belongs to its events is not removed then.
fn had_events<E: Context>(meta: &Meta<E>) -> Result<bool, Fault> {
    let Runs(runs) = meta.get(Key::Runs)?.unwrap_or_default();
    let anchors: Option<AsOf<Anchors>> = meta.get(Key::Anchors)?;
    let trimmed: Option<UInt<u64>> = meta.get(Key::Trimmed)?;
    Ok(runs.iter().any(|run| run.sequence > 0)
        || anchors.is_some_and(|anchors| anchors.sequence > 0)
        || trimmed.is_some())
}

async fn last_record<E: Context>(events: &Events<E>) -> Result<Option<Stored>, Fault> {
    let bounds = events.bounds();
    let Some(at) = bounds.end.checked_sub(1) else { return Ok(None) };
    if bounds.is_empty() {
        return Err(Part::Events.corrupt(at, Damage::NoLastEvent));
    }
    stored_at(events, at).await.map(Some)
}

async fn stored_at<E: Context>(events: &Events<E>, at: u64) -> Result<Stored, Fault> {
    let read = events.read(at).await;
    let stored = read.map_err(|error| Part::Events.unreadable(at, error))?;
    in_place(&stored, at)?;
    Ok(stored)
}

/// The newest prunes, found one by one from the last record, and the sequence of the newest. Older
/// ones are left out: a record from before them trusts less of the chain than it could.
async fn known_prunes<E: Context>(
    events: &Events<E>,
    last: Option<&Stored>,
) -> Result<(Prunes, Option<u64>), Fault> {
    let Some(last) = last else { return Ok((Prunes::default(), None)) };
    let newest = match last.event {
        Event::Pruned { .. } => Some(last.sequence),
        _ => last.pruned,
    };
    let (mut next, mut found) = (newest, Vec::new());
    while let Some(at) = next.filter(|at| *at >= events.bounds().start) {
        if found.len() == PRUNES_MAX {
            break;
        }
        let stored = stored_at(events, at).await?;
        let Event::Pruned { to, .. } = stored.event else {
            return Err(Part::Events.corrupt(at, Damage::NotAPrune));
        };
        if stored.pruned.is_some_and(|before| before >= at) {
            return Err(Part::Events.corrupt(at, Damage::PruneOrder));
        }
        found.push((at, to.height));
        next = stored.pruned;
    }
    // What lies between the first prune that was left out and the next one is not told apart.
    let mut prunes = Prunes::since(next.map_or(0, |left_out| left_out + 1));
    for (sequence, to) in found.into_iter().rev() {
        prunes.note(sequence, to);
    }
    Ok((prunes, newest))
}

/// The run that the events speak of: one that was started but not delivered from does not count, and
/// one that was left behind is removed.
async fn current_run<E: Context>(
    context: &E,
    layout: &Layout,
    mut meta: Meta<E>,
    events: u64,
) -> Result<(Meta<E>, Option<OpenRun<E>>), Fault> {
    let Runs(stored) = meta.get(Key::Runs)?.unwrap_or_default();
    let current = stored.iter().rev().find(|run| run.sequence < events).copied();
    for left in stored.iter().filter(|run| Some(**run) != current) {
        warn!(first = %left.start.first, slot = left.slot, "removing a run of blocks that does not count");
        OpenRun::start(context, layout, *left).await?.destroy().await?;
    }
    if stored.len() != usize::from(current.is_some()) {
        meta = meta.put(Key::Runs, &Runs(current.into_iter().collect())).await?;
    }
    let run = match current {
        Some(run) => Some(OpenRun::open(context, layout, run).await?),
        None => None,
    };
    Ok((meta, run))
}

impl<E: Context> Committer<E> {
    /// Makes the blocks end where the last event says that they do.
    async fn align_run<B: Block + Codec>(mut self, codec: &B::Cfg) -> Result<Self, Fault> {
        let Some(delivered) = self.watermarks.delivered else { return Ok(self) };
        let Some(run) = self.run else {
            return Err(Part::Meta.corrupt(Key::Runs as u64, Damage::NoRun(delivered)));
        };
        let start = run.run.start;
        let end = delivered.height.get().saturating_add(1).max(start.first.get());
        let mut run = run.cut(end).await?;
        let (first, held) = (start.first.get(), run.blocks.bounds().start);
        let UInt(trimmed) = self.meta.get(Key::Trimmed)?.unwrap_or(UInt(0));
        if held < first || held > trimmed.max(first) {
            return Err(misplaced(Part::Blocks, held, start));
        }
        let digests = run.digests.bounds();
        // The second is a restart that ended before the run was written down with its new start.
        let lost = held > first && (digests.end < held || digests.start == held);
        if !lost && digests.start != first {
            return Err(misplaced(Part::Digests, digests.start, start));
        }
        if lost && digests.end < held {
            run = run.restart_digests(&self.context, &self.layout, held).await?;
        }
        if run.digests.size() < run.end() {
            run = redo_digests::<E, B>(run, codec).await?;
        }
        if lost && run.end() > held {
            (self.meta, run) = start_later::<E, B>(self.meta, run, held, codec).await?;
        }
        let start = run.run.start;
        let have = run.end();
        run = run.cut(have).await?;
        if have < end {
            return Self { run: Some(run), ..self }.give_up_blocks(have, delivered, start).await;
        }
        if delivered.height >= start.first {
            let found = digest_at(&run, delivered.height).await?;
            if found != delivered.digest {
                let damage = Damage::OtherDigest { found, delivered: delivered.digest };
                return Err(Part::Digests.corrupt(delivered.height.get(), damage));
            }
        }
        self.run = Some(run);
        Ok(self)
    }

    /// Drops the certificates of blocks that were given up.
    async fn align_history(mut self) -> Result<Self, Fault> {
        let history = self.proofs.remove(HISTORY).cut(self.watermarks.delivered).await?;
        self.proofs.insert(HISTORY, history);
        Ok(self)
    }

    /// Blocks that were delivered are gone from the disk: says so with a prune, so that they are
    /// fetched again, unless one of them is finalized.
    async fn give_up_blocks(
        mut self,
        have: u64,
        delivered: BlockRef,
        start: RunStart,
    ) -> Result<Self, Fault> {
        let to = match (have.checked_sub(1), &self.run) {
            (Some(last), Some(run)) if have > start.first.get() => {
                let height = Height::new(last);
                Some(BlockRef::new(height, digest_at(run, height).await?))
            }
            _ => start.base,
        };
        let finalized = self.watermarks.tips.block(Tier::Finalized);
        let Some(to) =
            to.filter(|to| finalized.is_none_or(|finalized| finalized.height <= to.height))
        else {
            return Err(Part::Blocks.corrupt(have, Damage::FinalizedGone { delivered }));
        };
        warn!(%delivered, from = have, %to, "delivered blocks are gone: pruning to fetch them again");
        let mut tips = self.watermarks.tips;
        for tier in Tier::ALL {
            if tips.block(tier).is_some_and(|tip| tip.height > to.height) {
                tips.set(tier, Some(to.into()));
            }
        }
        let depth = delivered.height.get() - to.height.get();
        self = self.record(Event::Pruned { to, depth, tips }).await?;
        let failed = |error| Part::Events.failed(error);
        for record in &self.pending {
            (self.events, _) = self.events.append(record).await.map_err(failed)?;
        }
        self.note_appended();
        self.events = self.events.sync().await.map_err(failed)?;
        Ok(self)
    }

    /// Takes the stored anchors and follows the events since.
    async fn roll_anchors(mut self) -> Result<Self, Fault> {
        if self.watermarks.delivered.is_some() {
            return Ok(self);
        }
        let stored =
            self.meta.get(Key::Anchors)?.unwrap_or(AsOf { sequence: 0, value: Anchors::default() });
        let kept = self.events.bounds();
        let since = stored.sequence..kept.end;
        let known = kept.start <= since.start && since.start <= since.end;
        if known && since.end - since.start <= ROLL_MAX {
            let mut anchors = stored.value;
            self.anchors_at = stored.sequence;
            for sequence in since {
                let record = stored_at(&self.events, sequence).await?;
                anchors.apply(&record.event, &record.watermarks);
            }
            self.anchors = Arc::new(anchors);
        } else if self.events.size() > 0 {
            warn!(
                stored = stored.sequence,
                events = kept.end,
                "anchors are too old: leaving them out"
            );
        }
        Arc::make_mut(&mut self.anchors).note_tips(&self.watermarks.tips);
        Ok(self)
    }
}

fn misplaced(part: Part, found: u64, start: RunStart) -> Fault {
    part.corrupt(found, Damage::RunStart { found, first: start.first })
}

/// Digests of trimmed blocks are gone and cannot be made again: the run starts at `held`, its oldest block,
/// from now on, and cursors locate nothing below.
async fn start_later<E: Context, B: Block + Codec>(
    meta: Meta<E>,
    mut run: OpenRun<E>,
    held: u64,
    codec: &B::Cfg,
) -> Result<(Meta<E>, OpenRun<E>), Fault> {
    let oldest = run.block::<B>(held, codec).await?;
    warn!(from = %run.run.start.first, to = held, "digests of trimmed blocks are gone");
    run.run.start = RunStart { first: Height::new(held), base: rules::base_of(&oldest) };
    let meta = meta.put(Key::Runs, &Runs(vec![run.run])).await?;
    Ok((meta, run))
}

async fn digest_at<E: Context>(run: &OpenRun<E>, height: Height) -> Result<Digest, Fault> {
    let at = height.get();
    run.digests.read(at).await.map_err(|error| Part::Digests.unreadable(at, error))
}

/// Makes digests that are gone again, from the blocks.
async fn redo_digests<E: Context, B: Block + Codec>(
    mut run: OpenRun<E>,
    codec: &B::Cfg,
) -> Result<OpenRun<E>, Fault> {
    warn!(from = run.digests.size(), to = run.end(), "making digests again from blocks");
    while run.digests.size() < run.end() {
        let from = run.digests.size();
        let mut digests = Vec::new();
        for at in from..run.end().min(from.saturating_add(REDO_AT_ONCE)) {
            let block = run.block::<B>(at, codec).await?;
            digests.push(block.reference().digest);
        }
        run = run.append_digests(&digests).await?;
    }
    run.sync().await
}
