//! Ranges in pieces.

use super::*;
use crate::Class;

const fn range(first: u64, last: u64) -> Range {
    Range { first, last }
}

fn pieces(whole: Range, found: &[Range]) -> Pieces {
    Pieces::new(whole, found.iter().copied(), std::num::NonZeroU32::MIN.saturating_add(1))
}

fn open(pieces: &Pieces) -> Vec<Range> {
    pieces.open().collect()
}

/// PS-26.
#[test]
fn a_range_that_fails_too_often_is_split_once_into_two_that_are_it_and_one_block_is_poisoned() {
    for whole in [range(5, 6), range(5, 7), range(5, 14)] {
        let mut pieces = pieces(whole, &[]);
        assert_eq!(pieces.failed(whole, Class::Logical), AfterFailure::Again);
        for class in [Class::Flow, Class::Infrastructure, Class::Infrastructure] {
            assert_eq!(pieces.failed(whole, class), AfterFailure::Again, "it says nothing of it");
        }
        let split = pieces.failed(whole, Class::Logical);
        let AfterFailure::Split(low, high) = split else { panic!("{split:?}") };
        assert_eq!((low.first, low.last + 1, high.last), (whole.first, high.first, whole.last));
        assert_eq!(open(&pieces), [low, high]);
        assert_eq!(pieces.failed(whole, Class::Logical), AfterFailure::Stale, "once");
        assert!(!pieces.proved(whole), "what was split is no piece any more");
        assert!(pieces.proved(high) && pieces.proved(low));
        assert_eq!(pieces.whole(), Some(vec![low, high]));
    }
    let mut one = pieces(range(5, 5), &[]);
    assert_eq!(one.failed(range(5, 5), Class::Logical), AfterFailure::Again);
    assert_eq!(one.failed(range(5, 5), Class::Logical), AfterFailure::Poisoned);
    assert_eq!((open(&one), one.whole()), (vec![], None));
    assert!(one.proved(range(5, 5)), "however late a proof comes, it counts");
}

/// PS-55.
#[test]
fn ranges_are_joined_only_without_a_gap_and_an_overlap_is_seen_at_both_edges() {
    let mut joined = pieces(range(1, 9), &[range(7, 9), range(1, 5)]);
    assert_eq!(joined.spans(), [range(1, 5), range(7, 9)]);
    assert_eq!((open(&joined), joined.whole()), (vec![range(6, 6)], None));
    assert!(joined.proved(range(6, 6)));
    assert_eq!(joined.spans(), [range(1, 9)]);
    assert_eq!(joined.whole(), Some(vec![range(1, 5), range(6, 6), range(7, 9)]));
    for (found, covered) in [
        // The last of one is the first of the other, or it is not.
        (vec![range(1, 5), range(5, 9)], vec![range(1, 5)]),
        (vec![range(1, 5), range(6, 9)], vec![range(1, 9)]),
        (vec![range(1, 9), range(1, 5)], vec![range(1, 9)]),
        (vec![range(2, 4), range(1, 9)], vec![range(1, 9)]),
        (vec![range(0, 3), range(8, 10)], vec![]),
        (vec![range(9, 9), range(1, 1)], vec![range(1, 1), range(9, 9)]),
        (vec![range(4, 3)], vec![]),
    ] {
        let pieces = pieces(range(1, 9), &found);
        assert_eq!(pieces.spans(), covered, "{found:?}");
        let open = open(&pieces);
        let there: u64 =
            covered.iter().chain(&open).map(|range| range.last - range.first + 1).sum();
        assert_eq!(there, 9, "{found:?} leaves {open:?}");
    }
}

#[test]
fn a_proof_that_is_lost_is_made_again() {
    let mut pieces = pieces(range(1, 4), &[range(1, 2)]);
    pieces.lost(range(1, 2));
    assert_eq!(open(&pieces), [range(1, 2), range(3, 4)]);
}
