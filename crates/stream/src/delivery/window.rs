//! The batches that are out: handed over, and not acknowledged.

use std::collections::VecDeque;

/// One batch, by the order in which it was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Batch(u64);

#[derive(Debug)]
struct Slot<P> {
    /// The first event of the batch.
    first: u64,
    /// The consumer's position once it is acknowledged.
    position: P,
    acknowledged: bool,
}

/// The batches that are out, in the order in which they were handed over. The front one is not
/// acknowledged: acknowledged ones leave with the contiguous prefix.
#[derive(Debug)]
pub(super) struct Window<P> {
    front: u64,
    slots: VecDeque<Slot<P>>,
}

impl<P> Default for Window<P> {
    fn default() -> Self {
        Self { front: 0, slots: VecDeque::new() }
    }
}

impl<P> Window<P> {
    /// How many batches are out.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A batch was handed over whose first event is `first`.
    pub(super) fn push(&mut self, first: u64, position: P) -> Batch {
        let batch = Batch(self.front + self.slots.len() as u64);
        self.slots.push_back(Slot { first, position, acknowledged: false });
        batch
    }

    /// `batch` was acknowledged. Returns the position that is durable now, if that moved.
    pub(super) fn acknowledge(&mut self, batch: Batch) -> Option<P> {
        let at = batch.0.checked_sub(self.front).and_then(|at| usize::try_from(at).ok());
        let slot = self.slots.get_mut(at?)?;
        debug_assert!(!slot.acknowledged, "{batch:?} was acknowledged before");
        slot.acknowledged = true;
        let mut position = None;
        while self.slots.front().is_some_and(|slot| slot.acknowledged) {
            position = self.slots.pop_front().map(|slot| slot.position);
            self.front += 1;
        }
        debug_assert!(self.slots.front().is_none_or(|slot| !slot.acknowledged));
        position
    }

    /// Forgets every batch that is out. Returns the first event that is not acknowledged, and the
    /// position of its batch, if any is out.
    pub(super) fn rewind(&mut self) -> Option<(u64, P)> {
        self.front += self.slots.len() as u64;
        let first = self.slots.pop_front();
        self.slots.clear();
        first.map(|slot| (slot.first, slot.position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of `items`.
    fn orders(items: &[usize]) -> Vec<Vec<usize>> {
        if items.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let rest: Vec<_> = items[..at].iter().chain(&items[at + 1..]).copied().collect();
            all.extend(
                orders(&rest).into_iter().map(|order| [&[*item], order.as_slice()].concat()),
            );
        }
        all
    }

    /// How many batches from the first on are in `acknowledged`.
    fn prefix(acknowledged: &[usize]) -> usize {
        (0..).take_while(|batch| acknowledged.contains(batch)).count()
    }

    #[test]
    fn in_every_order_of_up_to_six_the_position_is_the_end_of_the_contiguous_prefix() {
        for count in 0..=6 {
            for order in orders(&(0..count).collect::<Vec<_>>()) {
                let mut window = Window::default();
                let batches: Vec<_> =
                    (0..count).map(|batch| window.push(10 * batch as u64, batch + 1)).collect();
                let mut durable = 0;
                for (done, batch) in order.iter().enumerate() {
                    let moved = window.acknowledge(batches[*batch]);
                    let reached = prefix(&order[..=done]);
                    assert_eq!(moved, (reached > durable).then_some(reached), "{order:?}, {done}");
                    durable = reached;
                    assert_eq!(window.len(), count - durable, "{order:?}, {done}");
                }
                assert_eq!(durable, count);
            }
        }
    }

    #[test]
    fn after_every_prefix_of_every_order_a_rewind_goes_to_the_first_that_is_not_acknowledged() {
        for order in orders(&[0, 1, 2, 3, 4]) {
            for done in 0..=order.len() {
                let mut window = Window::default();
                let batches: Vec<_> =
                    (0..5_u64).map(|batch| window.push(10 * batch, batch)).collect();
                for batch in &order[..done] {
                    window.acknowledge(batches[*batch]);
                }
                let reached = prefix(&order[..done]) as u64;
                assert_eq!(window.rewind(), (reached < 5).then_some((10 * reached, reached)));
                assert_eq!((window.len(), window.rewind()), (0, None));
                // Acknowledgements of what was forgotten change nothing.
                let again = window.push(10 * reached, reached);
                for batch in &batches {
                    assert_eq!(window.acknowledge(*batch), None);
                }
                assert_eq!(window.acknowledge(again), Some(reached));
            }
        }
    }

    #[test]
    fn batches_come_and_go_in_every_interleaving_of_four() {
        // At each step either the next batch is handed over or one that is out is acknowledged.
        fn walk(
            pushed: usize,
            acknowledged: &mut Vec<usize>,
            steps: &mut Vec<Option<usize>>,
        ) -> usize {
            if acknowledged.len() == 4 {
                replay(steps);
                return 1;
            }
            let mut paths = 0;
            if pushed < 4 {
                steps.push(None);
                paths += walk(pushed + 1, acknowledged, steps);
                steps.pop();
            }
            for batch in
                (0..pushed).filter(|batch| !acknowledged.contains(batch)).collect::<Vec<_>>()
            {
                steps.push(Some(batch));
                acknowledged.push(batch);
                paths += walk(pushed, acknowledged, steps);
                acknowledged.pop();
                steps.pop();
            }
            paths
        }
        fn replay(steps: &[Option<usize>]) {
            let (mut window, mut batches, mut done) = (Window::default(), Vec::new(), Vec::new());
            let mut durable = 0;
            for step in steps {
                match step {
                    None => batches.push(window.push(batches.len() as u64, batches.len() + 1)),
                    Some(batch) => {
                        done.push(*batch);
                        durable = window.acknowledge(batches[*batch]).unwrap_or(durable);
                    }
                }
                assert_eq!(durable, prefix(&done), "{steps:?}");
            }
        }
        assert_eq!(walk(0, &mut Vec::new(), &mut Vec::new()), 105, "seven double factorial");
    }
}
