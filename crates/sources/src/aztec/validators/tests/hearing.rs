//! The table of what is handed in.

use super::*;
use crate::aztec::validators::{
    checkpoint::{Attested, Heard, Published},
    hearing::{Found, Hearing},
};
use tidewatch_core::Digest;
use tidewatch_sentinel::{Act, Verdict};

const A: Digest = Digest([0xA; 32]);
const B: Digest = Digest([0xB; 32]);
const SLOT: Slot = Slot(7);

fn member(n: u8) -> ValidatorId {
    ValidatorId::new(vec![n; 20]).unwrap()
}

fn by(n: u8) -> Attested {
    Attested { signer: member(n), bytes: vec![n].into() }
}

fn landed(signers: &[u8]) -> Published {
    Published { payload: A, attested: signers.iter().map(|n| by(*n)).collect() }
}

/// Attestations to `payload`, each with the proposal of `proposer`.
fn heard(payload: Digest, signers: &[u8], proposer: u8) -> Vec<Heard> {
    let one = |n: &u8| Heard { payload, attested: by(*n), proposed: Some(by(proposer)) };
    signers.iter().map(one).collect()
}

/// What is handed in of a slot of members 0 to 3, of whom 0 proposes: who attested to what, whose proposals, and the
/// rest in words.
fn settle(
    hearing: &mut Hearing,
    landed: Option<&Published>,
    heard: Option<&[Heard]>,
) -> (Vec<(u8, Digest)>, usize, Vec<&'static str>) {
    let members: Vec<ValidatorId> = (0..4).map(member).collect();
    let found = Found { slot: SLOT, members: &members, proposer: members.first(), landed, heard };
    let (mut attested, mut proposals, mut rest) = (Vec::new(), 0, Vec::new());
    for observation in hearing.settle(&found) {
        assert_eq!(observation.slot(), SLOT);
        match observation {
            Observation::Signed(signed) => match signed.act {
                Act::Attestation(payload) => {
                    attested.push((signed.validator.as_bytes()[0], payload));
                }
                Act::Proposal(_) => {
                    assert_eq!(signed.validator, member(0));
                    proposals += 1;
                }
                act => panic!("{act:?}"),
            },
            Observation::Checked { verdict: Verdict::Valid(None), .. } => rest.push("valid"),
            Observation::Partial(_) => rest.push("partial"),
            Observation::Missed(_) => rest.push("missed"),
            other => panic!("{other:?}"),
        }
    }
    attested.sort_unstable();
    (attested, proposals, rest)
}

#[test]
fn the_table_holds_row_by_row() {
    let quorum = landed(&[0, 1, 2]);
    let all = heard(A, &[0, 1, 2, 3], 0);
    let few = heard(A, &[0, 1], 0);
    let of = |signers: &[u8]| signers.iter().map(|n| (*n, A)).collect::<Vec<_>>();
    let fresh = Hearing::default;
    // A quorum was heard: whoever is in neither was absent.
    let mut hearing = fresh();
    let found = settle(&mut hearing, Some(&quorum), Some(&all));
    assert_eq!(found, (of(&[0, 1, 2, 3]), 1, vec!["valid"]));
    // Nothing at all after that: nobody proposed.
    assert_eq!(settle(&mut hearing, None, Some(&[])), (vec![], 0, vec![]));
    // The node does not say, or heard fewer: nobody is absent.
    let found = settle(&mut fresh(), Some(&quorum), None);
    assert_eq!(found, (of(&[0, 1, 2]), 0, vec!["partial", "valid"]));
    let mut hearing = fresh();
    let found = settle(&mut hearing, Some(&quorum), Some(&few));
    assert_eq!(found, (of(&[0, 1, 2]), 1, vec!["partial", "valid"]));
    // A node that hears nobody says nothing by that.
    assert_eq!(settle(&mut hearing, None, Some(&[])), (vec![], 0, vec!["missed"]));
    assert_eq!(settle(&mut fresh(), None, Some(&[])), (vec![], 0, vec!["missed"]));
    assert_eq!(settle(&mut fresh(), None, None), (vec![], 0, vec!["missed"]));
    // A proposal that did not land: its proposer did its part if a quorum says so; else nothing can be told.
    assert_eq!(settle(&mut fresh(), None, Some(&all)), (of(&[0, 1, 2, 3]), 1, vec!["valid"]));
    assert_eq!(settle(&mut fresh(), None, Some(&few)), (of(&[0, 1]), 1, vec!["missed"]));
}

#[test]
fn an_attestor_that_comes_twice_counts_once_and_a_stranger_not_at_all() {
    let published = landed(&[0, 1, 1, 9]);
    let twice = [heard(A, &[1, 1, 9, 9, 8, 7], 0), heard(A, &[1], 0)].concat();
    let (attested, proposals, rest) =
        settle(&mut Hearing::default(), Some(&published), Some(&twice));
    assert_eq!(attested, [(0, A), (1, A)]);
    assert_eq!((proposals, rest), (1, vec!["partial"]), "two of four are no quorum");
}

#[test]
fn a_proposal_that_another_one_signed_is_none_and_two_of_the_proposer_are_two() {
    let foreign = heard(A, &[0, 1, 2], 3);
    let (_, proposals, _) = settle(&mut Hearing::default(), None, Some(&foreign));
    assert_eq!(proposals, 0);
    let both = [heard(A, &[0, 1, 2], 0), heard(B, &[2, 3], 0)].concat();
    let (attested, proposals, rest) = settle(&mut Hearing::default(), None, Some(&both));
    assert_eq!(attested, [(0, A), (1, A), (2, A), (2, B), (3, B)]);
    assert_eq!((proposals, rest), (2, vec!["valid"]));
}
