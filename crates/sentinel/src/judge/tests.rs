//! ST-3 to ST-29: a committee of four, of which validator 0 proposes in slot 10.

use super::*;
use crate::{Act, Conflict, Contradiction, Observation, Signed, Slot};
use Proposal::*;
use bytes::Bytes;
use tidewatch_core::{BlockRef, Height};

const SLOT: Slot = Slot(10);
/// What is proposed, and another one.
const A: Digest = Digest([0xA; 32]);
const B: Digest = Digest([0xB; 32]);
/// Checkpoint 4, and another one.
const BELOW: Digest = Digest([4; 32]);
const OTHER: Digest = Digest([5; 32]);

fn id(n: u8) -> ValidatorId {
    ValidatorId::new(vec![n; 20]).unwrap()
}

fn signed(n: u8, act: Act) -> Observation {
    let bytes = Bytes::copy_from_slice(format!("{n} {act:?}").as_bytes());
    Observation::Signed(Signed { slot: SLOT, validator: id(n), act, bytes })
}

fn seen(observations: impl IntoIterator<Item = Observation>) -> Seen {
    let mut seen = Seen::default();
    observations.into_iter().for_each(|observation| seen.add(observation));
    seen
}

fn votes(of: &[u8]) -> Vec<Observation> {
    of.iter().map(|n| signed(*n, Act::Attestation(A))).collect()
}

fn checked(verdict: Verdict) -> Observation {
    Observation::Checked { slot: SLOT, payload: A, verdict }
}

fn landed(attestors: &[u8]) -> Landed {
    let block = BlockRef::new(Height::new(5), A);
    let attestors = attestors.iter().map(|n| id(*n)).collect();
    Landed { block, payload: A, proposer: None, attestors, trimmed: false }
}

/// What the proposer did, who attested, who missed it.
type Found = (Proposal, Vec<usize>, Vec<usize>);

fn found(landed: Option<&Landed>, seen: &Seen, below: Below) -> Found {
    let members: Vec<ValidatorId> = (0..4).map(id).collect();
    let judged = judge(&Due { members: &members, proposer: 0 }, landed, seen, below);
    let missed = (1..4).filter(|at| judged.expected && !judged.attested.has(*at));
    (judged.proposal, judged.attested.iter().collect(), missed.collect())
}

fn plain(landed: Option<&Landed>, observations: Vec<Observation>) -> Found {
    found(landed, &seen(observations), Below::NotAsked)
}

fn with(observation: Observation, votes_of: &[u8]) -> Vec<Observation> {
    votes(votes_of).into_iter().chain([observation]).collect()
}

#[test]
fn st_3_to_st_9_a_proposer_is_judged_by_the_most_that_is_known() {
    let proposal = |n| signed(n, Act::Proposal(A));
    let block = |n| signed(n, Act::Block(B));
    let on_chain = landed(&[]);
    let table = [
        ("ST-3", plain(Some(&on_chain), vec![]), Mined),
        ("ST-4", plain(None, vec![checked(Verdict::Valid(None))]), Valid),
        ("ST-5", plain(None, vec![checked(Verdict::Invalid)]), Invalid),
        ("ST-6", plain(None, vec![checked(Verdict::Unvalidated)]), Unvalidated),
        ("ST-6, never executed", plain(None, vec![proposal(0)]), Unvalidated),
        ("ST-7", plain(None, vec![]), BlocksMissed),
        ("ST-7, another one's proposal", plain(None, vec![proposal(1), block(2)]), BlocksMissed),
        ("ST-8", plain(None, vec![block(0)]), Missed),
        ("ST-9", plain(Some(&on_chain), vec![checked(Verdict::Invalid)]), Mined),
    ];
    for (case, found, expected) in table {
        assert_eq!(found.0, expected, "{case}");
    }
}

#[test]
fn st_10_to_st_17_attestors_are_those_that_were_seen_and_those_that_landed() {
    let (none, few) = (landed(&[]), landed(&[0, 1]));
    let valid = || checked(Verdict::Valid(None));
    let table = [
        ("ST-10", plain(Some(&few), votes(&[2])), (Mined, vec![1, 2], vec![3])),
        ("ST-11", plain(Some(&few), vec![]), (Mined, vec![1], vec![2, 3])),
        ("ST-12", plain(Some(&none), votes(&[0, 1, 2])), (Mined, vec![1, 2], vec![3])),
        ("ST-13", plain(None, with(valid(), &[0, 1, 2])), (Valid, vec![1, 2], vec![3])),
        ("ST-14", plain(None, vec![]), (BlocksMissed, vec![], vec![])),
        ("ST-15", plain(None, vec![signed(0, Act::Block(B))]), (Missed, vec![], vec![])),
        (
            "ST-16",
            plain(None, with(checked(Verdict::Unvalidated), &[1, 2])),
            (Unvalidated, vec![1, 2], vec![]),
        ),
        (
            "ST-17",
            plain(None, with(checked(Verdict::Invalid), &[1, 2])),
            (Invalid, vec![1, 2], vec![]),
        ),
    ];
    for (case, found, expected) in table {
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn whose_signature_was_trimmed_off_is_not_absent_unless_the_others_were_heard() {
    let trimmed = Landed { trimmed: true, ..landed(&[0, 1]) };
    assert_eq!(plain(Some(&trimmed), votes(&[2])), (Mined, vec![1, 2], vec![]));
    let heard = with(checked(Verdict::Valid(None)), &[2]);
    assert_eq!(plain(Some(&trimmed), heard.clone()), (Mined, vec![1, 2], vec![3]));
    // A reorg put another proposal there than the one that was heard.
    let other = Landed { payload: B, ..trimmed };
    assert_eq!(plain(Some(&other), heard), (Mined, vec![1], vec![]));
}

#[test]
fn where_attestations_may_have_been_missed_the_proposal_is_judged_and_nobody_is_absent() {
    let partial = || Observation::Partial(SLOT);
    let few = landed(&[0, 1]);
    assert_eq!(plain(Some(&few), with(partial(), &[2])), (Mined, vec![1, 2], vec![]));
    let valid = vec![partial(), checked(Verdict::Valid(None)), signed(1, Act::Attestation(A))];
    assert_eq!(plain(None, valid), (Valid, vec![1], vec![]));
    assert_eq!(plain(None, vec![partial()]), (BlocksMissed, vec![], vec![]));
    // However it was merged, and when it is judged again.
    let mut merged = Seen::default();
    let mut later = Seen::default();
    later.add(partial());
    merged.merge(later);
    assert!(merged.partial);
    let members: Vec<ValidatorId> = (0..4).map(id).collect();
    let kept = crate::history::Kept::of(&merged, &members).unwrap();
    assert!(kept.restore(SLOT, &members).partial);
}

#[test]
fn a_vote_for_a_fork_is_none_for_what_landed_and_one_to_finalize_is_a_vote() {
    let observations =
        vec![signed(1, Act::Attestation(B)), signed(2, Act::Commit(A)), signed(3, Act::Skip)];
    assert_eq!(plain(Some(&landed(&[])), observations), (Mined, vec![2], vec![1, 3]));
}

#[test]
fn whoever_voted_to_skip_a_slot_in_which_nothing_landed_took_part_in_it() {
    let votes = [signed(1, Act::Attestation(A)), signed(2, Act::Skip)];
    let observations = [checked(Verdict::Valid(None))].into_iter().chain(votes).collect();
    assert_eq!(plain(None, observations), (Valid, vec![1, 2], vec![3]));
}

#[test]
fn a_vote_for_both_counts_for_what_landed_whichever_came_first() {
    for order in [[A, B], [B, A]] {
        let observations = order.map(|payload| signed(1, Act::Attestation(payload)));
        let members: Vec<ValidatorId> = (0..4).map(id).collect();
        let seen = seen(observations);
        let judged = judge(
            &Due { members: &members, proposer: 0 },
            Some(&landed(&[])),
            &seen,
            Below::NotAsked,
        );
        assert!(judged.attested.has(1) && judged.contradicted == [1]);
    }
}

#[test]
fn a_stranger_is_neither_an_attestor_nor_absent() {
    let observations = with(signed(9, Act::Attestation(A)), &[1, 2, 3]);
    assert_eq!(plain(Some(&landed(&[8])), observations), (Mined, vec![1, 2, 3], vec![]));
}

#[test]
fn st_18_a_slot_whose_proposal_is_invalid_here_makes_nobody_absent() {
    let observations = with(checked(Verdict::Invalid), &[1, 2]);
    assert_eq!(plain(Some(&landed(&[])), observations), (Mined, vec![1, 2], vec![]));
}

fn equivocation() -> [Observation; 2] {
    [signed(0, Act::Proposal(A)), signed(0, Act::Proposal(B))]
}

#[test]
fn st_19_a_slot_with_two_proposals_makes_nobody_absent() {
    let observations = votes(&[1, 2]).into_iter().chain(equivocation()).collect();
    assert_eq!(plain(Some(&landed(&[])), observations), (Mined, vec![1, 2], vec![]));
}

/// Checkpoint 5 stands on checkpoint 4, which landed; `of` attest.
fn refined(on: Option<Lineage>, below: Option<Digest>, of: &[u8]) -> Found {
    found(None, &seen(with(checked(Verdict::Valid(on)), of)), Below::Canonical(below))
}

#[test]
fn st_20_to_st_29_what_is_valid_and_did_not_land_is_told_by_what_it_stands_on() {
    let on = Some(Lineage::On { number: 4, digest: BELOW });
    let everyone = [0, 1, 2, 3];
    let (all, nobody) = (vec![1, 2, 3], vec![]);
    let table = [
        ("ST-20", refined(on, Some(BELOW), &[0, 1, 2]), (Unpublished, vec![1, 2], vec![3])),
        ("ST-21", refined(on, None, &[0, 1, 2]), (Orphaned, vec![1, 2], vec![3])),
        ("ST-22", refined(on, Some(OTHER), &everyone), (Orphaned, all.clone(), nobody.clone())),
        ("ST-23", refined(on, Some(BELOW), &everyone), (Unpublished, all.clone(), nobody.clone())),
        (
            "ST-24",
            refined(Some(Lineage::First), None, &everyone),
            (Unpublished, all.clone(), nobody.clone()),
        ),
        ("ST-25", refined(on, Some(BELOW), &[0, 1]), (Valid, vec![1], vec![2, 3])),
        ("ST-26", refined(on, Some(BELOW), &[0, 1, 1, 9]), (Valid, vec![1], vec![2, 3])),
        ("ST-28", refined(None, Some(BELOW), &everyone), (Valid, all, nobody)),
    ];
    for (case, found, expected) in table {
        assert_eq!(found, expected, "{case}");
    }
    let both = votes(&everyone).into_iter().chain(equivocation());
    let both = seen(both.chain([checked(Verdict::Valid(on))]));
    assert_eq!(found(None, &both, Below::Canonical(Some(BELOW))).0, Valid, "ST-27");
    let whole = seen(with(checked(Verdict::Valid(on)), &everyone));
    assert_eq!(found(Some(&landed(&[])), &whole, Below::NotAsked).0, Mined, "ST-29");
}

#[test]
fn nothing_is_asked_about_what_does_not_depend_on_it() {
    let members: Vec<ValidatorId> = (0..4).map(id).collect();
    let due = Due { members: &members, proposer: 0 };
    let on = Lineage::On { number: 4, digest: BELOW };
    let valid = seen([checked(Verdict::Valid(Some(on)))]);
    assert_eq!(lineage(&due, None, &valid), Some(on));
    assert_eq!(lineage(&due, Some(&landed(&[])), &valid), None);
    assert_eq!(lineage(&due, None, &seen([checked(Verdict::Invalid)])), None);
}

#[test]
fn contradictions_are_found_in_any_order_once_and_with_both_messages() {
    let pairs = [
        (Act::Proposal(A), Act::Proposal(B), Some(Contradiction::Proposals)),
        (Act::Attestation(A), Act::Attestation(B), Some(Contradiction::Attestations)),
        (Act::Commit(A), Act::Commit(B), Some(Contradiction::Commits)),
        (Act::Skip, Act::Commit(A), Some(Contradiction::SkipAndCommit)),
        (Act::Attestation(A), Act::Skip, None),
        (Act::Attestation(A), Act::Commit(A), None),
        (Act::Block(A), Act::Block(B), None),
        (Act::Attestation(A), Act::Attestation(A), None),
    ];
    for (one, other, kind) in pairs {
        for (first, second) in [(one, other), (other, one)] {
            let mut found = seen([signed(1, first), signed(1, second), signed(1, second)]);
            let kinds: Vec<_> = found.conflicts.iter().map(|conflict| conflict.kind).collect();
            assert_eq!(kinds, Vec::from_iter(kind), "{first:?}, {second:?}");
            if let Some(Conflict { first: a, second: b, .. }) = found.conflicts.first() {
                assert!((a.act, b.act) == (first, second) && !a.bytes.is_empty());
            }
            // Two halves that merge find the same.
            let mut half = seen([signed(1, first)]);
            half.merge(seen([signed(1, second)]));
            half.merge(std::mem::take(&mut found));
            assert_eq!(half.conflicts.len(), usize::from(kind.is_some()));
            assert_eq!(half.of(&id(1)).unwrap().contradicted(), Vec::from_iter(kind));
        }
    }
}

#[test]
fn what_goes_beyond_the_limits_of_a_slot_makes_it_one_that_was_not_wholly_seen() {
    let mut crowded = Seen::default();
    for n in 0..5_000_u32 {
        let validator = ValidatorId::new(n.to_be_bytes().to_vec()).unwrap();
        let signed = Signed { slot: SLOT, validator, act: Act::Skip, bytes: Bytes::new() };
        crowded.add(Observation::Signed(signed));
    }
    assert!(crowded.is_missed() && crowded.senders.len() == 4_096);
    let many = (0..20).map(|n| Observation::Checked {
        slot: SLOT,
        payload: Digest([n; 32]),
        verdict: Verdict::Invalid,
    });
    assert!(seen(many).is_missed());
    let long = Signed {
        slot: SLOT,
        validator: id(1),
        act: Act::Skip,
        bytes: Bytes::from(vec![0; 70_000]),
    };
    let long = seen([Observation::Signed(long)]);
    assert!(long.is_missed() && long.of(&id(1)).is_none());
}
