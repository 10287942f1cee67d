//! What is published when.

use super::*;
use Outcome::{Expired, Failed, Published, Superseded, Withdrawn};

fn range(epoch: u64, first: u64, last: u64, full: bool) -> Candidate {
    Candidate { epoch, first, last, deadline: 100, full }
}

fn submits(decided: &[Decided]) -> Option<CandidateId> {
    decided.iter().find_map(|decided| match decided {
        Decided::Submit(id) => Some(*id),
        Decided::Ended(..) => None,
    })
}

#[test]
fn the_longest_range_that_follows_the_proven_tip_goes_first_and_epochs_go_in_order() {
    let mut publishing = Publishing::new();
    let later = publishing.add(range(2, 11, 20, true));
    let short = publishing.add(range(1, 1, 5, false));
    let long = publishing.add(range(1, 1, 10, true));
    assert_eq!(publishing.drain(0, 1), [Decided::Submit(long)]);
    assert_eq!(publishing.drain(0, 1), [], "one at a time");
    let landed = publishing.submitted(Some(true));
    assert_eq!(landed, [Decided::Ended(long, Published), Decided::Ended(short, Superseded)]);
    assert_eq!(publishing.drain(9, 1), [], "its first block does not follow yet");
    assert_eq!(publishing.drain(10, 1), [Decided::Submit(later)]);
}

#[test]
fn a_range_is_superseded_only_once_the_longer_one_has_landed() {
    let mut publishing = Publishing::new();
    let short = publishing.add(range(1, 1, 5, false));
    let long = publishing.add(range(1, 1, 10, true));
    assert_eq!(publishing.drain(0, 1), [Decided::Submit(long)]);
    assert_eq!(publishing.submitted(Some(false)), [Decided::Ended(long, Failed)]);
    assert_eq!(publishing.drain(0, 1), [Decided::Submit(short)], "it is what is left");
}

#[test]
fn a_part_that_is_proven_is_superseded_and_a_whole_epoch_never_is() {
    let mut publishing = Publishing::new();
    let part = publishing.add(range(1, 1, 5, false));
    let full = publishing.add(range(1, 1, 5, true));
    let decided = publishing.drain(5, 1);
    assert_eq!(decided, [Decided::Ended(part, Superseded), Decided::Submit(full)]);
}

#[test]
fn what_is_past_its_deadline_expires_and_what_is_being_submitted_does_not() {
    let mut publishing = Publishing::new();
    let first = publishing.add(range(1, 1, 10, true));
    let second = publishing.add(range(2, 11, 20, true));
    assert_eq!(submits(&publishing.drain(0, 99)), Some(first));
    assert_eq!(publishing.drain(0, 100), [Decided::Ended(second, Expired)]);
    assert!(!publishing.withdraw(first), "it is on its way");
    assert_eq!(publishing.submitted(Some(true)), [Decided::Ended(first, Published)]);
}

#[test]
fn without_a_publisher_a_candidate_waits_and_its_deadline_bounds_that() {
    let mut publishing = Publishing::new();
    let only = publishing.add(range(1, 1, 10, true));
    for slot in 0..10 {
        assert_eq!(publishing.drain(0, slot), [Decided::Submit(only)]);
        assert_eq!(publishing.submitted(None), []);
    }
    assert_eq!(publishing.drain(0, 100), [Decided::Ended(only, Expired)]);
    assert_eq!(publishing.waiting(), 0);
}

#[test]
fn after_a_stop_what_waits_is_withdrawn_and_what_is_on_its_way_ends_as_it_does() {
    let mut publishing = Publishing::new();
    let first = publishing.add(range(1, 1, 10, true));
    assert_eq!(submits(&publishing.drain(0, 1)), Some(first));
    publishing.stop();
    let late = publishing.add(range(2, 11, 20, true));
    assert_eq!(publishing.drain(10, 1), [Decided::Ended(late, Withdrawn)]);
    assert_eq!(publishing.submitted(Some(true)), [Decided::Ended(first, Published)]);
}

/// PB-1 to PB-11, PB-13, PB-14: what a chain accepts, by how far it is proven, and what is not even submitted. (PB-12,
/// beyond the chain's tip, is the manager's.)
#[test]
fn a_whole_epoch_is_submitted_wherever_the_proven_tip_is_and_a_part_only_above_it() {
    for (proven, first, last, part) in [
        (32, 33, 64, true),
        (32, 33, 33, true),
        (32, 33, 38, true),
        (64, 33, 64, false),
        (40, 41, 64, true),
        (40, 33, 64, true),
        (40, 41, 45, true),
        (40, 33, 45, true),
        (40, 35, 45, true),
        (40, 33, 40, false),
        (64, 33, 35, false),
        (40, 33, 39, false),
    ] {
        for (full, submitted) in [(true, true), (false, part)] {
            let mut publishing = Publishing::new();
            let id = publishing.add(range(1, first, last, full));
            let expected =
                if submitted { Decided::Submit(id) } else { Decided::Ended(id, Superseded) };
            let decided = publishing.drain(proven, 1);
            assert_eq!(decided, [expected], "{first} to {last}, proven {proven}, full: {full}");
        }
    }
}
