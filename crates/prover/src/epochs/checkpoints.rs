//! Checkpoints that are being proven.

use super::Geometry;
use std::{collections::BTreeMap, ops::RangeInclusive};
use tidewatch_core::Digest;

/// What a checkpoint is: two with the same number and other content are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointId {
    /// Its number.
    pub number: u64,
    /// Its slot.
    pub slot: u64,
    /// The state after it.
    pub root: Digest,
}

/// A checkpoint that is being proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which one.
    pub id: CheckpointId,
    /// The height of its last block.
    pub last_block: u64,
    /// Tells two provings of one content apart: one that was pruned is never used again.
    pub instance: u64,
    /// Proving it failed.
    pub failed: bool,
}

/// Another checkpoint is in that slot: prune it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint {} already occupies slot {}", ours.number, ours.slot)]
pub struct Occupied {
    /// The one that is there.
    pub ours: CheckpointId,
}

/// The checkpoints, by slot.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    geometry: Geometry,
    entries: BTreeMap<u64, Entry>,
    instances: u64,
}

impl Checkpoints {
    /// None.
    pub const fn new(geometry: Geometry) -> Self {
        Self { geometry, entries: BTreeMap::new(), instances: 0 }
    }

    /// Adds a checkpoint. One that is there is that one: `false`, and nothing is proven again.
    ///
    /// # Errors
    ///
    /// [`Occupied`].
    pub fn add(&mut self, id: CheckpointId, last_block: u64) -> Result<bool, Occupied> {
        match self.entries.get(&id.slot) {
            Some(entry) if entry.id == id => Ok(false),
            Some(entry) => Err(Occupied { ours: entry.id }),
            None => {
                self.instances += 1;
                let instance = self.instances;
                self.entries.insert(id.slot, Entry { id, last_block, instance, failed: false });
                Ok(true)
            }
        }
    }

    /// Proving `instance` failed. `false` if it had before, or is not there.
    pub fn failed(&mut self, instance: u64) -> bool {
        let entry = self.entries.values_mut().find(|entry| entry.instance == instance);
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.failed, true))
    }

    /// Removes every checkpoint whose last block is above `height`, and returns them: their proving is cancelled.
    pub fn prune(&mut self, height: u64) -> Vec<Entry> {
        self.entries
            .extract_if(.., |_, entry| entry.last_block > height)
            .map(|(_, entry)| entry)
            .collect()
    }

    /// Removes the failed checkpoints of `epoch`, and returns them: proving them may begin anew.
    pub fn take_failed(&mut self, epoch: u64) -> Vec<Entry> {
        let slots = self.geometry.first_slot(epoch)..=self.geometry.last_slot(epoch);
        self.entries.extract_if(slots, |_, entry| entry.failed).map(|(_, entry)| entry).collect()
    }

    /// Removes every checkpoint of `epoch` and of those before it.
    pub fn reap(&mut self, epoch: u64) -> Vec<Entry> {
        let last = self.geometry.last_slot(epoch);
        self.entries.extract_if(..=last, |_, _| true).map(|(_, entry)| entry).collect()
    }

    /// Checkpoints in a range of slots, in order.
    pub fn within(&self, slots: RangeInclusive<u64>) -> Vec<Entry> {
        self.entries.range(slots).map(|(_, entry)| *entry).collect()
    }

    /// How slots make epochs.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}
