//! The proofs of one tier, in rising order of the blocks that they prove.

use super::layout::{Held, Layout, PROOFS_PER_SECTION, Proofs, ProofsReader};
use crate::{
    Keep, Part,
    retention::{Files, file_start},
};
use commonware_runtime::Handle;
use commonware_storage::{Context, journal::contiguous::Contiguous};
use std::{sync::Arc, time::SystemTime};
use tidewatch_core::{BlockRef, Fault, Height, Tier, TierProof};

/// Where the certificates are, among the proofs of tiers, that history was taken in with: they are of delivered blocks,
/// whatever the finalized tier was announced at. The proofs of a tier are those of its events.
pub(super) const HISTORY: usize = Tier::ALL.len();

/// The proofs of one tier, or the certificates of history, open for writing.
pub(super) struct ProofLog<E: Context> {
    pub(super) journal: Proofs<E>,
    /// The height of the first stored proof.
    pub(super) first: Option<Height>,
    /// The block of the last stored proof.
    last: Option<BlockRef>,
    /// Whether something was appended since the last sync.
    dirty: bool,
    /// The last snapshot, until something changes.
    reader: Option<Arc<ProofsReader<E>>>,
    files: Files,
}

impl<E: Context> ProofLog<E> {
    /// Opens those called `name`, without those above `top`: what they came with did not become durable.
    pub(super) async fn open(
        context: &E,
        layout: &Layout,
        name: &'static str,
        top: Option<BlockRef>,
    ) -> Result<Self, Fault> {
        let journal = layout.proofs(context, name).await?;
        let files = layout.proof_files(context, name, journal.bounds()).await?;
        let (first, last, reader) = (None, None, None);
        let opened = Self { journal, first, last, dirty: false, reader, files };
        Ok(opened.cut(top).await?.find_first().await)
    }

    /// Keeps `proof`, unless one of its block or a block above it is kept.
    pub(super) async fn keep(mut self, proof: &TierProof, now: SystemTime) -> Result<Self, Fault> {
        if self.last.is_some_and(|last| last.height >= proof.block.height) {
            return Ok(self);
        }
        let held = Held::of_proof(proof);
        let appended = self.journal.append(&held).await;
        (self.journal, _) = appended.map_err(|error| Part::Proofs.failed(error))?;
        self.files.append(held.0.len() as u64, now);
        self.first = self.first.or(Some(proof.block.height));
        self.last = Some(proof.block);
        self.dirty = true;
        self.reader = None;
        Ok(self)
    }

    /// Whether there is a proof of a block above `top`, or of another block at its height.
    pub(super) fn stands_above(&self, top: BlockRef) -> bool {
        self.last.is_some_and(|last| last.height >= top.height && last != top)
    }

    /// Durably drops the proofs of blocks above `top`, or beside it.
    pub(super) async fn cut(mut self, top: Option<BlockRef>) -> Result<Self, Fault> {
        let above = top.map_or(0, |top| top.height.get().saturating_add(1));
        let mut keep = below(&self.journal, Height::new(above)).await?;
        self.last = self.before(keep).await?;
        if let (Some(last), Some(top)) = (self.last, top)
            && last.height == top.height
            && last != top
        {
            keep -= 1;
            self.last = self.before(keep).await?;
        }
        if keep < self.journal.size() {
            let failed = |error| Part::Proofs.failed(error);
            self.journal = self.journal.rewind(keep).await.map_err(failed)?;
            self.journal = self.journal.sync().await.map_err(failed)?;
            self.files.cut(keep);
            if self.journal.bounds().is_empty() {
                self.first = None;
            }
            self.dirty = false;
            self.reader = None;
        }
        debug_assert!(top.is_none_or(|top| !self.stands_above(top)), "a proof above its tier");
        Ok(self)
    }

    /// What `limits` let be removed, of proofs of blocks below `held`: the position that whole files are
    /// below, and the height of the last proof in them. The newest proof stays.
    pub(super) async fn past(
        &self,
        limits: &Keep,
        held: Height,
        now: SystemTime,
    ) -> Result<Option<(u64, Height)>, Fault> {
        let bounds = self.journal.bounds();
        let limit = self.files.limit(limits, now).min(bounds.end.saturating_sub(1));
        if file_start(limit, PROOFS_PER_SECTION) <= bounds.start {
            return Ok(None);
        }
        let limit = limit.min(below(&self.journal, held).await?);
        let from = file_start(limit, PROOFS_PER_SECTION);
        if from <= bounds.start {
            return Ok(None);
        }
        let last = read(&self.journal, from - 1).await?;
        Ok(Some((from, last.block.height)))
    }

    /// Removes the files of proofs that are wholly below `from`.
    pub(super) async fn trim(mut self, from: u64) -> Result<Self, Fault> {
        let trimmed = self.journal.prune(from).await;
        (self.journal, _) = trimmed.map_err(|error| Part::Proofs.failed(error))?;
        self.files.trim(self.journal.bounds().start);
        self.reader = None;
        Ok(self.find_first().await)
    }

    async fn find_first(mut self) -> Self {
        // For the status alone: one that cannot be read is refused when it is asked for.
        let first = read(&self.journal, self.journal.bounds().start).await;
        self.first = first.ok().map(|proof| proof.block.height);
        self
    }

    /// The block of the proof before the one at `end`.
    async fn before(&self, end: u64) -> Result<Option<BlockRef>, Fault> {
        match end.checked_sub(1).filter(|at| self.journal.bounds().contains(at)) {
            Some(at) => Ok(Some(read(&self.journal, at).await?.block)),
            None => Ok(None),
        }
    }

    /// What readers may see: taken again only where something changed since.
    pub(super) async fn snapshot(self) -> Result<(Self, Arc<ProofsReader<E>>), Fault> {
        if let Some(reader) = &self.reader {
            let reader = reader.clone();
            return Ok((self, reader));
        }
        let snapshot = self.journal.snapshot().await;
        let (journal, reader) = snapshot.map_err(|error| Part::Proofs.failed(error))?;
        let reader = Arc::new(reader);
        Ok((Self { journal, reader: Some(reader.clone()), ..self }, reader))
    }

    /// Makes everything durable, the watermarks that a restart begins from included.
    pub(super) async fn sync(self) -> Result<Self, Fault> {
        let journal = self.journal.sync().await.map_err(|error| Part::Proofs.failed(error))?;
        Ok(Self { journal, dirty: false, ..self })
    }

    /// Begins to make durable what was appended.
    pub(super) async fn start_sync(self) -> Result<(Self, Option<Handle<()>>), Fault> {
        if !self.dirty {
            return Ok((self, None));
        }
        let started = self.journal.start_sync().await;
        let (journal, handle) = started.map_err(|error| Part::Proofs.failed(error))?;
        Ok((Self { journal, dirty: false, ..self }, Some(handle)))
    }
}

/// The position of the first proof of a block at or above `height`: their heights rise, so it is a
/// bisection.
async fn below(proofs: &impl Contiguous<Item = Held>, height: Height) -> Result<u64, Fault> {
    let bounds = proofs.bounds();
    let (mut low, mut high) = (bounds.start, bounds.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if read(proofs, middle).await?.block.height < height {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

async fn read(proofs: &impl Contiguous<Item = Held>, at: u64) -> Result<TierProof, Fault> {
    let held = proofs.read(at).await.map_err(|error| Part::Proofs.unreadable(at, error))?;
    held.into_proof().map_err(|error| Part::Proofs.corrupt(at, error))
}

/// The lowest proof of a block at or above `height`, among those from position `from` on.
pub(super) async fn at_or_above(
    proofs: &impl Contiguous<Item = Held>,
    height: Height,
    from: u64,
) -> Result<Option<TierProof>, Fault> {
    let at = below(proofs, height).await?.max(from.min(proofs.bounds().end));
    if at == proofs.bounds().end { Ok(None) } else { read(proofs, at).await.map(Some) }
}
