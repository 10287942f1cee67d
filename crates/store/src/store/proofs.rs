//! The proofs of one tier, in rising order of the blocks that they prove.

use super::{
    fault::Part,
    layout::{Held, Proofs, ProofsReader},
};
use commonware_runtime::Handle;
use commonware_storage::{Context, journal::contiguous::Contiguous};
use std::sync::Arc;
use tidewatch_core::{BlockRef, Fault, Height, TierProof};

/// The proofs of one tier, open for writing.
pub(super) struct ProofLog<E: Context> {
    pub(super) journal: Proofs<E>,
    /// The block of the last stored proof.
    last: Option<BlockRef>,
    /// Whether something was appended since the last sync.
    dirty: bool,
    /// The last snapshot, until something changes.
    reader: Option<Arc<ProofsReader<E>>>,
}

impl<E: Context> ProofLog<E> {
    /// Takes `journal` over, without the proofs above `top`, the tier's tip: their event did not become
    /// durable.
    pub(super) async fn align(journal: Proofs<E>, top: Option<BlockRef>) -> Result<Self, Fault> {
        let opened = Self { journal, last: None, dirty: false, reader: None };
        opened.cut(top).await
    }

    /// Keeps `proof`, unless one of its block or a block above it is kept.
    pub(super) async fn keep(mut self, proof: &TierProof) -> Result<Self, Fault> {
        if self.last.is_some_and(|last| last.height >= proof.block.height) {
            return Ok(self);
        }
        let appended = self.journal.append(&Held::of_proof(proof)).await;
        (self.journal, _) = appended.map_err(|error| Part::Proofs.failed(error))?;
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
            self.dirty = false;
            self.reader = None;
        }
        debug_assert!(top.is_none_or(|top| !self.stands_above(top)), "a proof above its tier");
        Ok(self)
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

/// How many proofs there are of blocks below `height`: their heights rise, so it is a bisection.
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
    let held = proofs.read(at).await.map_err(|error| Part::Proofs.unreadable(at, &error))?;
    held.into_proof().map_err(|error| Part::Proofs.corrupt(at, error))
}

/// The lowest proof of a block at or above `height`.
pub(super) async fn at_or_above(
    proofs: &impl Contiguous<Item = Held>,
    height: Height,
) -> Result<Option<TierProof>, Fault> {
    let at = below(proofs, height).await?;
    if at == proofs.bounds().end { Ok(None) } else { read(proofs, at).await.map(Some) }
}
