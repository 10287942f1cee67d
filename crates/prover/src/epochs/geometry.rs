//! Epochs as numbers.

use super::CheckpointId;
use std::num::NonZeroU64;

/// How slots make epochs, and how long a proof of one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Slots in an epoch.
    pub epoch_slots: NonZeroU64,
    /// Epochs after its own in which a proof of an epoch may still be submitted.
    pub submission_epochs: u64,
}

/// How far the chain is proven, as the source reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenAt {
    /// The height of the proven tip's block.
    pub height: u64,
    /// The slot of the proven tip's block.
    pub slot: u64,
    /// The slot of the block after it, if there is one.
    pub next: Option<u64>,
    /// Whether the source says that no more blocks come in the proven block's epoch.
    pub complete: bool,
}

/// What the chain has of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochAt {
    /// No more blocks come in it.
    pub complete: bool,
    /// Its checkpoints, in order.
    pub checkpoints: Vec<CheckpointId>,
}

impl Geometry {
    /// The epoch of `slot`.
    pub const fn epoch(&self, slot: u64) -> u64 {
        slot / self.epoch_slots.get()
    }

    /// The first slot of `epoch`.
    pub const fn first_slot(&self, epoch: u64) -> u64 {
        epoch.saturating_mul(self.epoch_slots.get())
    }

    /// The last slot of `epoch`.
    pub const fn last_slot(&self, epoch: u64) -> u64 {
        self.first_slot(epoch).saturating_add(self.epoch_slots.get() - 1)
    }

    const fn offset(&self) -> u64 {
        self.submission_epochs.saturating_add(1)
    }

    /// The first slot at which a proof of `epoch` does not count any more.
    pub const fn deadline(&self, epoch: u64) -> u64 {
        self.first_slot(epoch.saturating_add(self.offset()))
    }

    /// The newest epoch that has expired at `slot`.
    pub const fn expired(&self, slot: u64) -> Option<u64> {
        self.epoch(slot).checked_sub(self.offset())
    }

    /// Whether all of `epoch` is proven. Nothing known is not proven.
    pub fn fully_proven(&self, epoch: u64, proven: Option<ProvenAt>) -> bool {
        let Some(ProvenAt { slot, next, complete, .. }) = proven else { return false };
        let at = self.epoch(slot);
        epoch < at || epoch == at && next.map_or(complete, |next| self.epoch(next) > at)
    }

    /// The last epoch that is proven as a whole.
    pub fn last_fully_proven(&self, proven: Option<ProvenAt>) -> Option<u64> {
        let at = self.epoch(proven?.slot);
        if self.fully_proven(at, proven) { Some(at) } else { at.checked_sub(1) }
    }

    /// How many checkpoints a catch-up walks at the most: as many as could still be proven.
    pub const fn cap(&self) -> u64 {
        self.offset().saturating_mul(self.epoch_slots.get())
    }
}
