//! From the cursor to the tip, checkpoint by checkpoint.

use super::{EpochAt, Geometry, ProvenAt};
use std::{collections::BTreeMap, future::Future};
use tidewatch_core::{Fault, FaultKind};
use tracing::warn;

/// What is known of a checkpoint without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Light {
    /// Its number.
    pub number: u64,
    /// Its slot.
    pub slot: u64,
}

/// The port to the chain's checkpoints.
pub trait Chain: Send + Sync {
    /// The content of a checkpoint, with everything that proving it needs.
    type Heavy: Send;

    /// Metadata of consecutive checkpoints from `from` on, at most `max`; fewer if there are not so many.
    fn light(&self, from: u64, max: u64) -> impl Future<Output = Result<Vec<Light>, Fault>> + Send;

    /// The content of checkpoint `number`.
    fn heavy(&self, number: u64) -> impl Future<Output = Result<Self::Heavy, Fault>> + Send;

    /// How far the chain is proven; `None` if nothing is, or it is not known.
    fn proven(&self) -> impl Future<Output = Result<Option<ProvenAt>, Fault>> + Send;

    /// The slot that the source is synced to; `None` if it is not known.
    fn slot(&self) -> impl Future<Output = Result<Option<u64>, Fault>> + Send;

    /// What the chain has of `epoch`: nothing, where it has none of its blocks.
    fn epoch(&self, epoch: u64) -> impl Future<Output = Result<EpochAt, Fault>> + Send;

    /// The checkpoint that block `height` lies in; `None` if the block is not known.
    fn checkpoint_of(&self, height: u64)
    -> impl Future<Output = Result<Option<u64>, Fault>> + Send;
}

/// Takes checkpoints: the store and the sessions. Both have it when this returns.
pub trait Take<H>: Send {
    /// Takes one in. It may be one that is there already.
    fn take(&mut self, light: Light, heavy: H) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// What a walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Checkpoints that were taken.
    pub taken: u64,
    /// Checkpoints of epochs that were skipped as a whole.
    pub skipped: u64,
    /// Checkpoints that were too many: they are never walked.
    pub dropped: u64,
}

/// The cursor: every checkpoint up to it was taken, skipped or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUp {
    geometry: Geometry,
    cursor: u64,
}

impl CatchUp {
    /// A walk that begins after checkpoint `cursor`: the last one of the last epoch that is proven as a whole, or
    /// 0. So an epoch that is proven in part is walked again.
    pub const fn new(geometry: Geometry, cursor: u64) -> Self {
        Self { geometry, cursor }
    }

    /// The last checkpoint that is behind the walk.
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Walks up to checkpoint `target`, the newest tip: a tip says everything that older ones said.
    ///
    /// # Errors
    ///
    /// A read or the taker failed. What was taken before that is behind the cursor, and the rest is walked when
    /// this is called again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, at most the checkpoint at hand is taken again.
    pub async fn advance<C: Chain>(
        &mut self,
        target: u64,
        chain: &C,
        taker: &mut impl Take<C::Heavy>,
    ) -> Result<Progress, Fault> {
        let mut progress = Progress::default();
        let missing = target.saturating_sub(self.cursor);
        if missing == 0 {
            return Ok(progress);
        }
        let cap = self.geometry.cap();
        if missing > cap {
            progress.dropped = missing - cap;
            warn!(
                dropped = progress.dropped,
                from = self.cursor + 1,
                "too many checkpoints behind"
            );
            self.cursor = target - cap;
        }
        let from = self.cursor + 1;
        let limit = target - self.cursor;
        let lights = chain.light(from, limit).await?;
        let consecutive =
            lights.iter().map(|light| light.number).eq(from..from + lights.len() as u64);
        if !consecutive || lights.len() as u64 > limit {
            let detail = format!("checkpoints that do not follow {}", self.cursor);
            return Err(FaultKind::WrongPosition.fault("the checkpoints", detail));
        }
        let (proven, slot) = (chain.proven().await?, chain.slot().await?);
        let mut skips = BTreeMap::new();
        for light in lights {
            let epoch = self.geometry.epoch(light.slot);
            let skip = *skips.entry(epoch).or_insert_with(|| self.skip(epoch, proven, slot));
            if skip {
                progress.skipped += 1;
            } else {
                let heavy = chain.heavy(light.number).await?;
                taker.take(light, heavy).await?;
                progress.taken += 1;
            }
            self.cursor = light.number;
        }
        Ok(progress)
    }

    /// Whether nothing of `epoch` needs to be proven here. Asked once for each epoch of a walk, so that the answer
    /// is the same for all of it.
    fn skip(&self, epoch: u64, proven: Option<ProvenAt>, slot: Option<u64>) -> bool {
        let past = slot.is_some_and(|slot| slot >= self.geometry.deadline(epoch));
        past || self.geometry.fully_proven(epoch, proven)
    }

    /// Everything above block `height` is gone. Returns the new cursor; the caller drops what it took above the
    /// block.
    ///
    /// # Errors
    ///
    /// The target is not known, or a read failed. Nothing has changed then.
    pub async fn prune(&mut self, height: u64, chain: &impl Chain) -> Result<u64, Fault> {
        let floor = match height {
            0 => 0,
            height => {
                let checkpoint = chain.checkpoint_of(height).await?.ok_or_else(|| {
                    let detail = format!("no block at {height}, which a prune goes back to");
                    FaultKind::Missing.fault("the checkpoints", detail)
                })?;
                checkpoint.saturating_sub(1)
            }
        };
        self.cursor = self.cursor.min(floor);
        Ok(self.cursor)
    }
}
