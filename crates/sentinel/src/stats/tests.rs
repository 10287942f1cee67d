//! ST-30 to ST-57: statistics, and which slots may be asked for.

use super::*;
use crate::{Epoch, history::tests::*};
use Proposal::*;

/// A history of one validator: what it did from slot 1 on.
fn alone(kept: usize, did: &[Did]) -> History {
    let mut history = empty(kept);
    for (slot, did) in (1..).zip(did) {
        add(&mut history, slot, *did);
    }
    history
}

fn everything(history: &History) -> ValidatorReport {
    let window = window(history, Asked::default(), None, None).unwrap();
    let report = one(history, &window, &id(1)).unwrap();
    let together = all(history, &window).into_iter().find(|report| report.validator == id(1));
    assert_eq!(together.as_ref(), Some(&report), "one by one and all at once");
    report
}

#[test]
fn st_30_rates_streaks_and_last_are_by_kind_of_duty() {
    let did = [
        Did::Proposed(Mined),
        Did::Proposed(Valid),
        Did::Proposed(Missed),
        Did::Proposed(BlocksMissed),
        Did::Attested,
        Did::AttestationMissed,
    ];
    let report = everything(&alone(10, &did));
    assert_eq!(report.slots, 6);
    let proposals =
        Duties { missed: 2, total: 4, missed_rate: Some(0.5), streak: 2, last: Some(Slot(2)) };
    assert_eq!(report.proposals, proposals);
    let attestations =
        Duties { missed: 1, total: 2, missed_rate: Some(0.5), streak: 1, last: Some(Slot(5)) };
    assert_eq!(report.attestations, attestations);
    assert_eq!(report.last_seen, Some(Slot(5)));
}

#[test]
fn st_31_and_st_32_four_statuses_are_faults_and_four_are_not() {
    let proposals = |of: &[Proposal]| {
        let did: Vec<_> = of.iter().map(|proposal| Did::Proposed(*proposal)).collect();
        everything(&alone(10, &did)).proposals
    };
    let found = proposals(&[Mined, Invalid, Unvalidated, Missed, BlocksMissed]);
    assert_eq!((found.missed, found.total), (4, 5), "ST-31");
    let found = proposals(&[Mined, Orphaned, Unpublished]);
    assert_eq!((found.missed, found.total, found.last), (0, 3, Some(Slot(3))), "ST-32");
    assert_eq!(proposals(&[Mined, Orphaned]).last, Some(Slot(2)), "ST-32");
}

#[test]
fn st_33_a_streak_is_counted_within_its_kind() {
    let did = [
        Did::Proposed(Mined),
        Did::AttestationMissed,
        Did::Proposed(Missed),
        Did::Attested,
        Did::Proposed(Mined),
        Did::Attested,
        Did::Proposed(BlocksMissed),
        Did::AttestationMissed,
    ];
    let report = everything(&alone(10, &did));
    assert_eq!((report.proposals.missed, report.proposals.streak), (2, 1));
    assert_eq!((report.attestations.missed, report.attestations.streak), (2, 1));
}

#[test]
fn st_34_and_st_35_only_the_slots_that_are_asked_for_count() {
    let history = alone(20, &[Did::AttestationMissed; 20]);
    let of = |from, to| {
        let window = window(&history, (Slot(from)..=Slot(to)).into(), None, None).unwrap();
        one(&history, &window, &id(1)).unwrap().attestations
    };
    assert_eq!(of(16, 20).missed, 5, "ST-34: 20 misses, the five from slot 15 on");
    let found = of(5, 10);
    assert_eq!((found.missed, found.missed_rate), (6, Some(1.0)), "ST-35");
}

#[test]
fn st_36_to_st_38_a_range_that_is_wider_than_what_is_kept_is_refused_with_both() {
    let history = alone(10, &[Did::Attested; 20]);
    let ask = |from, to| window(&history, (Slot(from)..=Slot(to)).into(), None, None);
    let refused = ask(5, 20).unwrap_err();
    assert!(matches!(refused, Error::TooWide { slots: 15, kept: 10, .. }), "ST-36: {refused}");
    assert_eq!(refused.to_string(), "slots 5 to 20 are 15 apart, and 10 are kept");
    assert!(ask(10, 20).is_ok(), "ST-37");
    assert!(ask(15, 20).is_ok(), "ST-38");
}

#[test]
fn slots_that_are_not_kept_are_refused_with_those_that_are() {
    let history = alone(10, &[Did::Attested; 20]);
    let ask = |from, to| window(&history, (Slot(from)..=Slot(to)).into(), None, None);
    for (from, to) in [(0, 3), (30, 31)] {
        let refused = ask(from, to).unwrap_err();
        assert!(
            matches!(refused, Error::OutOfRange { first: Slot(11), last: Slot(20), .. }),
            "{refused}"
        );
    }
}

#[test]
fn st_39_to_st_42_what_is_not_recorded_is_none_and_what_is_comes_with_its_window() {
    assert_eq!(of(&empty(10), &id(1), Asked::default()), None, "ST-39");
    let history = alone(10, &[Did::Attested; 10]);
    assert_eq!(of(&history, &id(9), Asked::default()), None, "ST-40");
    let found = of(&history, &id(1), (Slot(3)..=Slot(8)).into()).unwrap();
    let slots: Vec<u64> = found.history.iter().map(|(slot, _)| slot.get()).collect();
    assert_eq!(slots, [3, 4, 5, 6, 7, 8], "ST-42");
    let Window { processed, initial, kept, .. } = found.window;
    assert_eq!((processed, initial, kept), (Some(Slot(10)), Some(Slot(0)), 10), "ST-41");
}

fn of(history: &History, validator: &ValidatorId, asked: Asked) -> Option<Detailed> {
    let window = window(history, asked, Some(Slot(10)), Some(Slot(0))).unwrap();
    detailed(history, window, validator, 0.8)
}

#[test]
fn st_43_to_st_47_without_bounds_the_newest_slots_that_are_kept_are_meant() {
    let bounds = |history: &History, passed| {
        let window = window(history, Asked::default(), passed, None).unwrap();
        (window.from.get(), window.to.get())
    };
    assert_eq!(bounds(&empty(10), Some(Slot(20))), (10, 20), "ST-43");
    assert_eq!(bounds(&alone(1000, &[Did::Attested; 5]), None), (0, 5), "ST-44, ST-46");
    let hundred = alone(10, &[Did::Attested; 100]);
    assert_eq!(bounds(&hundred, None), (90, 100), "ST-47");
    let window = window(&hundred, Asked::default(), None, None).unwrap();
    // The validator that attests, and the one that proposes beside it.
    assert_eq!(all(&hundred, &window).len(), 2, "ST-47");
}

#[test]
fn slot_0_is_a_bound_like_any_other() {
    let history = alone(10, &[Did::Attested; 5]);
    let window = window(&history, (Slot(0)..=Slot(0)).into(), None, None);
    assert!(matches!(window, Err(Error::OutOfRange { to: Slot(0), .. })));
}

#[test]
fn st_48_and_st_52_several_at_once_are_as_one_by_one_and_in_the_order_of_the_question() {
    let history = alone(10, &[Did::Attested, Did::AttestationMissed, Did::Proposed(Mined)]);
    let window = window(&history, Asked::default(), None, None).unwrap();
    let ask = |of: &[u8]| -> Vec<_> {
        let of: Vec<_> = of.iter().map(|n| id(*n)).collect();
        let found = several(&history, &window, &of);
        let alone: Vec<_> = of.iter().map(|id| one(&history, &window, id)).collect();
        assert_eq!(found, alone);
        found
    };
    for many in [1, ONE_BY_ONE] {
        let found = ask(&[1, 77, 2, 1].repeat(many));
        assert!(found[0].is_some() && found[1].is_none() && found[2].is_some());
        assert_eq!(found[3], found[0]);
    }
    assert!(ask(&[]).is_empty(), "ST-52");
}

#[test]
fn st_53_to_st_57_ranges_are_validated_before_anything_is_read() {
    for history in [empty(10), alone(10, &[Did::Attested; 3])] {
        let ask = |from, to| window(&history, (Slot(from)..=Slot(to)).into(), None, None);
        assert!(matches!(ask(0, 100_000), Err(Error::TooWide { .. })), "ST-53, ST-54");
        assert!(matches!(ask(10, 1), Err(Error::Reversed { .. })), "ST-55");
        assert!(ask(0, 10).is_ok(), "ST-56");
        assert!(matches!(ask(0, 11), Err(Error::TooWide { .. })), "ST-57");
    }
}

#[test]
fn all_at_once_is_what_it_is_one_by_one_over_committees_that_change() {
    let mut history = empty(1_000);
    // A small generator of its own: the same rows every time.
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for slot in 1..=600 {
        let size = [3, 64, 70, 130][random(4) as usize];
        let first = random(20) as u8;
        let members: Vec<_> = (first..first + size).map(id).collect();
        let attested = (0..u64::from(size)).filter(|_| random(3) > 0).collect::<Vec<_>>();
        let proposer = random(u64::from(size)) as u32;
        let proposal = Proposal::ALL[random(8) as usize];
        let contradicted = if random(9) == 0 { vec![proposer] } else { vec![] };
        let votes: Vec<usize> = attested.into_iter().map(|at| at as usize).collect();
        file(&mut history, slot, &members, proposer, proposal, &votes, random(4) > 0, contradicted);
    }
    let window = window(&history, Asked::default(), None, None).unwrap();
    let together = all(&history, &window);
    assert_eq!(together.len(), 149, "validators 0 to 148");
    for report in together {
        assert_eq!(one(&history, &window, &report.validator), Some(report));
    }
}

#[test]
fn one_who_proposed_last_and_attested_where_nobody_was_expected_to_is_counted() {
    let mut history = empty(10);
    let members = [id(1), id(2)];
    file(&mut history, 1, &members, 1, Proposal::Unvalidated, &[0], false, vec![]);
    file(&mut history, 2, &members, 0, Proposal::Mined, &[1], true, vec![]);
    let report = everything(&history);
    assert_eq!((report.attestations.total, report.attestations.missed), (1, 0));
}

#[test]
fn a_slot_is_listed_with_everybody_who_was_due() {
    let history = alone(10, &[Did::AttestationMissed]);
    let window = window(&history, Asked::default(), None, None).unwrap();
    let found = slots(&history, &window);
    let expected = Judgement::Judged {
        proposer: id(2),
        proposal: Mined,
        attested: vec![],
        missed: vec![id(1)],
        contradicted: vec![],
    };
    assert_eq!((found[0].epoch, &found[0].judgement), (Epoch(0), &expected));
    let line = serde_json::to_string(&found[0]).unwrap();
    let json = r#"{"slot":1,"epoch":0,"judgement":"judged","proposer":"02","proposal":"mined","attested":[],"missed":["01"],"contradicted":[]}"#;
    assert_eq!(line, json);
}
