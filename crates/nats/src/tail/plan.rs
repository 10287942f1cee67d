//! What follows from what is at a reader's place.

use super::{Bounds, Place};
use crate::{Marked, MessageId};
use std::collections::VecDeque;

/// What became of a reader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing: read on after it.
    Follow,
    /// What comes after it is kept no more.
    Trimmed {
        /// The message after it.
        wanted: u64,
        /// The oldest that is kept.
        oldest: u64,
    },
    /// The cluster forgot it, or the stream is another one.
    Forgotten,
}

/// What became of the place `sequence` of the message `id`, where the stream has `bounds`, and `found` at that place.
pub fn look(sequence: u64, id: &MessageId, bounds: &Bounds, found: Option<&Marked>) -> Look {
    match found {
        Some(found) if found.id == *id => Look::Follow,
        Some(_) => Look::Forgotten,
        None if sequence >= bounds.first => Look::Forgotten,
        // It is gone by age, and the next one is not: its name says whether it follows.
        None if sequence + 1 == bounds.first => Look::Follow,
        None => Look::Trimmed { wanted: sequence + 1, oldest: bounds.first },
    }
}

/// Of the places that were `taken`, the oldest first, those to look at for one that is still there in a stream that ends
/// with `last`: further back by twice as much each time.
pub(super) fn older(taken: &VecDeque<Place>, last: u64) -> impl Iterator<Item = &Place> {
    let mut step = 1_usize;
    let mut at = taken.len().checked_sub(1);
    std::iter::from_fn(move || {
        while let Some(place) = at.and_then(|at| taken.get(at)) {
            let before = at?;
            at = match before.checked_sub(step) {
                Some(next) => Some(next),
                // The oldest of them is looked at too.
                None if before > 0 => Some(0),
                None => None,
            };
            step *= 2;
            if place.sequence <= last {
                return Some(place);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Leader, PublisherId};
    use tidewatch_core::{ChainId, Cursor};

    fn marked(sequence: u64, number: u64) -> Marked {
        let leader = Leader { publisher: PublisherId::read("p"), token: 1 };
        let cursor = Cursor::start(&ChainId::new("c").unwrap());
        let id = MessageId::new(&leader, number);
        Marked { sequence, id, after: None, record: None, leader, leads: false, cursor }
    }

    #[test]
    fn a_place_is_followed_forgotten_or_past_what_is_kept() {
        let mine = marked(9, 4);
        let other = marked(9, 5);
        let table = [
            ((1, 20), Some(&mine), Look::Follow),
            ((9, 9), Some(&mine), Look::Follow),
            ((1, 20), Some(&other), Look::Forgotten),
            // The stream ends below it: forgotten, or made anew.
            ((1, 8), None, Look::Forgotten),
            ((1, 0), None, Look::Forgotten),
            // Gone by age, and nothing that comes after it is.
            ((10, 20), None, Look::Follow),
            ((10, 9), None, Look::Follow),
            ((11, 20), None, Look::Trimmed { wanted: 10, oldest: 11 }),
            ((500, 600), None, Look::Trimmed { wanted: 10, oldest: 500 }),
        ];
        for ((first, last), found, wanted) in table {
            let bounds = Bounds { first, last };
            assert_eq!(look(9, &mine.id, &bounds, found), wanted, "{bounds:?} {found:?}");
        }
    }

    #[test]
    fn older_places_are_looked_at_further_and_further_back_to_the_oldest() {
        let place = |sequence| {
            let Marked { id, cursor, .. } = marked(sequence, sequence);
            Place { sequence, id, cursor }
        };
        let looked = |taken: u64, last| {
            let taken: VecDeque<_> = (1..=taken).map(place).collect();
            older(&taken, last).map(|place| place.sequence).collect::<Vec<_>>()
        };
        assert_eq!(looked(20, 100), [20, 19, 17, 13, 5, 1]);
        assert_eq!(looked(20, 15), [13, 5, 1]);
        assert_eq!(looked(1, 100), [1]);
        assert_eq!(looked(2, 1), [1]);
        assert_eq!(looked(0, 100), [0; 0]);
        assert_eq!(looked(256, 1_000).len(), 9);
    }
}
