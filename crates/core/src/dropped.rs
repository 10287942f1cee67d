//! How many delivered blocks a prune drops, counted from the events before it.

use crate::{Event, Height};

/// Counts the delivered blocks above the target of a prune. Heights that were skipped, or lie below the first
/// delivered block, were never delivered and do not count.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    to: u64,
    /// What was delivered above it was dropped before, or counted.
    cap: u64,
    count: u64,
}

impl Dropped {
    /// For a prune down to `to`; no event was gone back over.
    pub const fn by(to: Height) -> Self {
        Self { to: to.get(), cap: u64::MAX, count: 0 }
    }

    /// Goes back over `event`, the one before those that it was given so far. Whether older ones can still
    /// matter.
    fn back(&mut self, event: &Event) -> bool {
        match event {
            Event::Blocks { from, to } => {
                let top = to.height.get().min(self.cap);
                let low = from.height.get().max(self.to.saturating_add(1));
                self.count += (top + 1).saturating_sub(low);
                self.cap = self.cap.min(from.height.get().saturating_sub(1));
            }
            Event::Pruned { to, .. } => self.cap = self.cap.min(to.height.get()),
            Event::Advanced { .. } | Event::Regressed { .. } => {}
        }
        self.cap > self.to
    }

    /// Goes back over `events`, from the newest, as far as they matter. Whether older ones still can.
    pub fn back_over<'a>(&mut self, mut events: impl Iterator<Item = &'a Event>) -> bool {
        events.all(|event| self.back(event))
    }

    /// The blocks counted so far.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockRef, Digest, TipSet};

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    const fn blocks(from: BlockRef, to: BlockRef) -> Event {
        Event::Blocks { from, to }
    }

    fn pruned(to: u64) -> Event {
        Event::Pruned { to: block(to), depth: 0, tips: TipSet::unknown() }
    }

    /// Counted one by one, from the oldest event.
    fn simply(events: &[Event], to: u64) -> u64 {
        let mut held: Vec<u64> = Vec::new();
        for event in events {
            match event {
                Event::Blocks { from, to } => held.extend(from.height.get()..=to.height.get()),
                Event::Pruned { to, .. } => held.retain(|height| *height <= to.height.get()),
                Event::Advanced { .. } | Event::Regressed { .. } => {}
            }
        }
        held.into_iter().filter(|height| *height > to).count() as u64
    }

    #[test]
    fn only_delivered_blocks_count_whatever_was_skipped_and_pruned_before() {
        let histories = [
            vec![blocks(block(33), block(35))],
            vec![blocks(block(1), block(5)), blocks(block(50), block(52))],
            vec![blocks(block(1), block(5)), blocks(block(50), block(52)), pruned(20)],
            vec![
                blocks(block(1), block(9)),
                pruned(4),
                blocks(block(5), block(7)),
                blocks(block(20), block(30)),
                pruned(25),
                blocks(block(26), block(40)),
            ],
        ];
        let mut dropped = Dropped::by(Height::new(4));
        assert!(dropped.back_over([blocks(block(6), block(9))].iter()));
        assert!(!dropped.back_over([blocks(block(5), block(5))].iter()), "the rest is below");
        for events in histories {
            for to in 0..=60 {
                let mut dropped = Dropped::by(Height::new(to));
                dropped.back_over(events.iter().rev());
                assert_eq!(dropped.count(), simply(&events, to), "{events:?} to {to}");
            }
        }
    }
}
