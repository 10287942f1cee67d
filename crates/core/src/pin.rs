//! Pins: blocks that somebody still needs, and that no retention may trim.

use crate::{BlockRef, Height};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Default)]
struct Held {
    next: u64,
    pins: BTreeMap<u64, (String, BlockRef)>,
}

impl Held {
    fn lowest(&self) -> Option<Height> {
        self.pins.values().map(|(_, block)| block.height).min()
    }
}

/// The pins of one archive. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<Mutex<Held>>);

impl Pins {
    /// What is held is right after every statement, so a poisoned lock is as good as any.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds `block`, everything above it, and their proofs, until the pin is dropped.
    pub fn pin(&self, name: impl Into<String>, block: BlockRef) -> Pin {
        let mut held = self.held();
        let id = held.next;
        held.next += 1;
        held.pins.insert(id, (name.into(), block));
        Pin { pins: self.clone(), id }
    }

    /// Every pin with its name, oldest first.
    pub fn list(&self) -> Vec<(String, BlockRef)> {
        self.held().pins.values().cloned().collect()
    }

    /// The height of the lowest block that is pinned.
    pub fn lowest(&self) -> Option<Height> {
        self.held().lowest()
    }

    /// Calls `decide` with the height of the lowest block that is pinned, while no pin can be made or moved:
    /// a pin is there either before the decision or after it.
    pub fn decide<T>(&self, decide: impl FnOnce(Option<Height>) -> T) -> T {
        let held = self.held();
        decide(held.lowest())
    }
}

/// Holds a block, everything above it, and their proofs against trimming, while it lives. Nothing is
/// held after a restart: pin again before you read.
pub struct Pin {
    pins: Pins,
    id: u64,
}

impl Pin {
    /// Holds `block` instead: what is below it may be trimmed from now on.
    pub fn advance(&self, block: BlockRef) {
        if let Some((_, pinned)) = self.pins.held().pins.get_mut(&self.id) {
            *pinned = block;
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.held().pins.remove(&self.id);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.pins.held();
        f.debug_tuple("Pin").field(&held.pins.get(&self.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([0; 32]))
    }

    #[test]
    fn the_lowest_pin_holds_until_it_is_advanced_or_dropped() {
        let pins = Pins::default();
        assert_eq!(pins.lowest(), None);
        let (prover, server) = (pins.pin("prover", block(7)), pins.pin("server", block(9)));
        assert_eq!(pins.lowest(), Some(Height::new(7)));
        prover.advance(block(12));
        assert_eq!(pins.lowest(), Some(Height::new(9)));
        assert_eq!(pins.decide(|lowest| lowest), pins.lowest());
        assert_eq!(pins.list(), [("prover".into(), block(12)), ("server".into(), block(9))]);
        drop(server);
        assert_eq!(pins.list(), [("prover".into(), block(12))]);
        drop(prover);
        assert_eq!(pins.lowest(), None);
    }
}
