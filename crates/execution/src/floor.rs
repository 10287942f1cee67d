//! What a source may forget: final blocks that the client would still have after a crash.

use std::collections::VecDeque;
use tidewatch_core::{BlockRef, Height};

/// Final blocks that wait until they are durable. With a finality step every few minutes, this is days of them;
/// the oldest are dropped first, and a later one stands for them.
const CANDIDATES_MAX: usize = 1_024;

/// The floor, and the candidates for the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floor {
    candidates: VecDeque<BlockRef>,
    at: Option<BlockRef>,
}

impl Floor {
    /// The client was pointed at a chain on which `finalized` is final.
    pub(crate) fn offer(&mut self, finalized: BlockRef) {
        let newest = self.candidates.back().copied().or(self.at);
        if newest.is_some_and(|newest| finalized.height <= newest.height) {
            return;
        }
        if self.candidates.len() == CANDIDATES_MAX {
            self.candidates.pop_front();
        }
        self.candidates.push_back(finalized);
    }

    /// Whether anything waits for the durable height.
    pub(crate) fn waits(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// The client has everything up to `durable` for good: moves the floor to the highest candidate that is not
    /// above that, and says where it is if it moved.
    pub(crate) fn durable(&mut self, durable: Option<Height>) -> Option<BlockRef> {
        let durable = durable?;
        let mut moved = None;
        while let Some(first) = self.candidates.front().filter(|block| block.height <= durable) {
            moved = Some(*first);
            self.candidates.pop_front();
        }
        self.at = moved.or(self.at);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::Digest;

    const fn at(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    fn durable(floor: &mut Floor, height: u64) -> Option<u64> {
        floor.durable(Some(Height::new(height))).map(|block| block.height.get())
    }

    #[test]
    fn the_floor_goes_to_the_deepest_candidate_that_is_durable_and_no_further() {
        let mut floor = Floor::default();
        assert_eq!(durable(&mut floor, 9), None, "no candidate");
        [2, 4, 6, 8].into_iter().for_each(|height| floor.offer(at(height)));
        assert_eq!(floor.durable(None), None);
        let table = [(1, None), (2, Some(2)), (2, None), (7, Some(6)), (6, None), (8, Some(8))];
        for (height, moved) in table {
            assert_eq!(durable(&mut floor, height), moved, "at {height}");
        }
        assert!(!floor.waits());
        floor.offer(at(8));
        floor.offer(at(3));
        assert!(!floor.waits(), "it never goes back");
        floor.offer(at(9));
        assert_eq!(durable(&mut floor, 100), Some(9), "the next tip begins anew");
    }

    #[test]
    fn candidates_are_bounded_and_the_newest_are_kept() {
        let mut floor = Floor::default();
        let last = 2 * CANDIDATES_MAX as u64;
        (0..=last).for_each(|height| floor.offer(at(height)));
        assert_eq!(floor.candidates.len(), CANDIDATES_MAX);
        assert_eq!(durable(&mut floor, CANDIDATES_MAX as u64), None);
        assert_eq!(durable(&mut floor, last), Some(last));
    }
}
