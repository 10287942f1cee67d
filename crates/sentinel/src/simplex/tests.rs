use super::{
    hearing::{Hearing, Outcome},
    ingress::Message,
    *,
};
use crate::{Act, Committees as _, Epoch, Observation, Slot, ValidatorId, Verdict, evidence};
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        elector::RoundRobin,
        scheme::ed25519::Scheme,
        types::{Finalize, Notarize, Nullify, Proposal, Vote},
    },
    types::{Epoch as ConsensusEpoch, Round as ConsensusRound, View},
};
use commonware_cryptography::{
    Hasher as _, Sha256, Signer as _,
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_utils::{Participant, ordered::Set};
use futures::executor::block_on;
use rand::{SeedableRng as _, rngs::StdRng};
use std::{num::NonZeroU64, sync::Arc};

const NAMESPACE: &[u8] = b"_TEST";

fn round(epoch: u64, view: u64) -> ConsensusRound {
    ConsensusRound::new(ConsensusEpoch::new(epoch), View::new(view))
}

/// Four validators, of whom the first one listens.
struct World {
    members: Set<PublicKey>,
    schemes: Vec<Scheme>,
    electorate: Electorate,
    hearing: Hearing<Scheme>,
}

impl World {
    fn new() -> Self {
        let mut keys: Vec<_> = (0..4).map(PrivateKey::from_seed).collect();
        keys.sort_by_key(|key| key.public_key());
        let members = Set::from_iter_dedup(keys.iter().map(|key| key.public_key()));
        let scheme = |key| Scheme::signer(NAMESPACE, members.clone(), key).unwrap();
        let schemes: Vec<_> = keys.into_iter().map(scheme).collect();
        let electorate = Electorate::new(Rounds::anew());
        let hearing = Hearing::new(electorate.clone());
        let world = Self { members, schemes, electorate, hearing };
        world.begin(0);
        world.electorate.reach(round(0, 2_000));
        world
    }

    fn begin(&self, epoch: u64) {
        let committee = evidence::Committee::ed25519(NAMESPACE, self.members.clone()).unwrap();
        let leaders = Term::round_robin::<Scheme>(RoundRobin::default(), &self.members);
        let term = Term::new(Arc::new(self.schemes[0].clone()), committee, leaders);
        self.electorate.begin(ConsensusEpoch::new(epoch), term);
    }

    fn id(&self, member: usize) -> ValidatorId {
        ValidatorId::new(self.members.get(member).unwrap().encode()).unwrap()
    }

    fn notarize(&self, member: usize, at: ConsensusRound, block: &[u8]) -> Vote<Scheme, Digest> {
        Vote::Notarize(Notarize::sign(&self.schemes[member], proposal(at, block)).unwrap())
    }

    fn finalize(&self, member: usize, at: ConsensusRound, block: &[u8]) -> Vote<Scheme, Digest> {
        Vote::Finalize(Finalize::sign(&self.schemes[member], proposal(at, block)).unwrap())
    }

    fn nullify(&self, member: usize, at: ConsensusRound) -> Vote<Scheme, Digest> {
        Vote::Nullify(Nullify::sign::<Digest>(&self.schemes[member], at).unwrap())
    }

    /// Hears votes in rounds up to the ones that have final blocks.
    fn hear(&mut self, votes: impl IntoIterator<Item = Vote<Scheme, Digest>>) -> Outcome {
        for vote in votes {
            self.hearing.take(Message::Vote(vote, None));
        }
        self.hearing.pass(&mut StdRng::seed_from_u64(1))
    }

    /// All four vote for the block of a round.
    fn whole(&mut self, at: ConsensusRound) -> Outcome {
        let votes: Vec<_> = (0..4).map(|member| self.notarize(member, at, b"block")).collect();
        self.hear(votes)
    }
}

fn proposal(at: ConsensusRound, block: &[u8]) -> Proposal<Digest> {
    Proposal::new(at, at.view().previous().unwrap(), Sha256::hash(&[block]))
}

fn missed(outcome: &Outcome) -> Vec<u64> {
    let missed = outcome.observations.iter().filter_map(|observation| match observation {
        Observation::Missed(slot) => Some(slot.get()),
        _ => None,
    });
    missed.collect()
}

fn acts(outcome: &Outcome) -> Vec<(ValidatorId, Act)> {
    let acts = outcome.observations.iter().filter_map(|observation| match observation {
        Observation::Signed(signed) => Some((signed.validator.clone(), signed.act)),
        _ => None,
    });
    acts.collect()
}

#[test]
fn slots_are_consecutive_across_epochs_whose_views_begin_anew() {
    let mut rounds = Rounds::anew();
    assert_eq!(rounds.slots(Epoch(0)), None, "its end is not known");
    assert_eq!(rounds.slot(round(1, 1)), None);
    rounds.ended(round(0, 10));
    rounds.ended(round(1, 7));
    rounds.ended(round(5, 7)); // Nobody knows where epoch 5 begins.
    assert_eq!(rounds.slots(Epoch(0)), Some(Slot(0)..=Slot(10)));
    assert_eq!(rounds.slots(Epoch(1)), Some(Slot(11)..=Slot(17)));
    assert_eq!(rounds.slots(Epoch(2)), None);
    assert_eq!(rounds.newest(), 2);
    assert_eq!(rounds.slot(round(0, 11)), None, "consensus goes on after the last block");
    for (at, slot) in [((0, 0), 0), ((0, 10), 10), ((1, 1), 11), ((1, 7), 17), ((2, 1), 18)] {
        assert_eq!(rounds.slot(round(at.0, at.1)), Some(Slot(slot)));
        assert_eq!(rounds.round(Slot(slot)), round(at.0, at.1), "slot {slot}");
        assert_eq!(rounds.epoch(Slot(slot)), Epoch(at.0));
    }
    let before = rounds.clone();
    rounds.ended(round(0, 99));
    assert_eq!(rounds, before, "an end that is known stays");
}

#[test]
fn views_that_go_on_for_ever_are_cut_into_epochs() {
    let epoch = ConsensusEpoch::new(3);
    let rounds = Rounds::Fixed { epoch, length: NonZeroU64::new(8).unwrap() };
    assert_eq!(rounds.slot(round(3, 17)), Some(Slot(17)));
    assert_eq!(rounds.slot(round(2, 17)), None);
    assert_eq!(rounds.round(Slot(17)), round(3, 17));
    assert_eq!(rounds.epoch(Slot(17)), Epoch(2));
    assert_eq!(rounds.slots(Epoch(2)), Some(Slot(16)..=Slot(23)));
    assert_eq!(rounds.slots(Epoch(u64::MAX)), None);
}

#[test]
fn votes_are_handed_in_as_what_they_say_and_the_leaders_is_the_proposal() {
    let mut world = World::new();
    let at = round(0, 5);
    let votes = vec![
        world.notarize(0, at, b"block"),
        world.notarize(1, at, b"block"),
        world.finalize(2, at, b"block"),
        world.nullify(3, at),
    ];
    let outcome = world.hear(votes);
    let payload = Sha256::hash(&[b"block"]);
    let leader = block_on(world.electorate.proposer(Slot(5))).unwrap().unwrap();
    assert_eq!(leader, world.id(1), "as RoundRobin has it: view 5 of 4 members");
    let mut acts = acts(&outcome);
    acts.sort_by_key(|(id, act)| ((0..4).position(|m| world.id(m) == *id), format!("{act:?}")));
    assert_eq!(
        acts,
        [
            (world.id(0), Act::Attestation(payload)),
            (world.id(1), Act::Attestation(payload)),
            (world.id(1), Act::Proposal(payload)),
            (world.id(2), Act::Commit(payload)),
            (world.id(3), Act::Skip),
        ]
    );
    let checked = Observation::Checked { slot: Slot(5), payload, verdict: Verdict::Valid(None) };
    assert!(outcome.observations.contains(&checked), "this validator voted for it");
    assert_eq!((outcome.verified, outcome.invalid), (4, 0));
    // Repeated, nothing is verified and nothing handed in again.
    let again = vec![world.notarize(0, at, b"block"), world.nullify(3, at)];
    let outcome = world.hear(again);
    assert_eq!((outcome.verified, outcome.observations.len()), (0, 0));
}

#[test]
fn a_vote_that_its_sender_did_not_sign_accuses_and_credits_nobody() {
    let mut world = World::new();
    let at = round(0, 5);
    let mut forged = Notarize::sign(&world.schemes[1], proposal(at, b"block")).unwrap();
    forged.attestation.signer = Participant::new(2);
    let mut outsider = Notarize::sign(&world.schemes[1], proposal(at, b"block")).unwrap();
    outsider.attestation.signer = Participant::new(9);
    let honest = world.notarize(3, at, b"block");
    let outcome = world.hear([Vote::Notarize(forged), Vote::Notarize(outsider), honest]);
    assert_eq!((outcome.verified, outcome.invalid), (1, 2));
    assert!(acts(&outcome).iter().all(|(id, _)| *id == world.id(3)));
}

#[test]
fn a_vote_that_somebody_else_sent_is_not_its_signers() {
    let mut world = World::new();
    let vote = world.notarize(2, round(0, 5), b"block");
    let key = |member| world.members.get(member).cloned();
    let (other, signer) = (key(1), key(2));
    world.hearing.take(Message::Vote(vote.clone(), other));
    let outcome = world.hear([]);
    assert_eq!((outcome.verified, outcome.invalid), (0, 1));
    world.hearing.take(Message::Vote(vote, signer));
    assert_eq!(world.hear([]).verified, 1);
}

#[test]
fn a_slot_in_which_fewer_than_a_quorum_were_heard_is_missed_and_a_gap_is_too() {
    let mut world = World::new();
    assert!(missed(&world.whole(round(0, 1))).is_empty());
    world.whole(round(0, 2));
    assert_eq!(world.hearing.swept(), Some(Slot(1)));
    // Two of four: a quorum is three.
    let two =
        vec![world.notarize(0, round(0, 3), b"block"), world.notarize(1, round(0, 3), b"block")];
    assert!(missed(&world.hear(two)).is_empty(), "it has not passed yet");
    // Views 4 and 5 are not heard at all.
    let outcome = world.whole(round(0, 6));
    assert_eq!(missed(&outcome), [3, 4, 5]);
    assert_eq!(world.hearing.swept(), Some(Slot(5)));
    assert_eq!(outcome.missed, 3);
}

#[test]
fn one_who_votes_far_ahead_makes_nothing_missed() {
    let mut world = World::new();
    world.whole(round(0, 1));
    world.whole(round(0, 2));
    let ahead = world.notarize(3, round(0, 900), b"block");
    let outcome = world.hear([ahead]);
    assert!(missed(&outcome).is_empty());
    assert_eq!(world.hearing.swept(), Some(Slot(1)));
}

#[test]
fn a_skipped_view_is_heard_by_its_nullifies() {
    let mut world = World::new();
    world.whole(round(0, 1));
    let skips: Vec<_> = (0..3).map(|member| world.nullify(member, round(0, 2))).collect();
    world.hear(skips);
    world.whole(round(0, 3));
    assert!(missed(&world.whole(round(0, 4))).is_empty());
    assert_eq!(world.hearing.swept(), Some(Slot(3)));
}

#[test]
fn votes_of_the_next_epoch_wait_until_it_is_known_where_it_begins() {
    let mut world = World::new();
    world.whole(round(0, 9));
    world.whole(round(0, 10));
    assert_eq!(world.whole(round(1, 1)).verified, 0);
    world.begin(1);
    assert_eq!(world.hear([]).verified, 0, "its slots are not known");
    world.electorate.end(round(0, 10));
    world.electorate.reach(round(1, 1));
    let outcome = world.hear([]);
    assert_eq!(outcome.verified, 4);
    assert!(missed(&outcome).is_empty());
    assert_eq!(world.hearing.swept(), Some(Slot(10)));
    assert_eq!(block_on(world.electorate.committee(Epoch(1))).unwrap().unwrap().len(), 4);
    assert!(block_on(world.electorate.committee(Epoch(2))).is_err(), "not known is not nobody");
}

#[test]
fn votes_are_held_until_it_is_known_that_their_epoch_goes_on_so_far() {
    let mut world = World::new();
    world.begin(1);
    world.electorate.end(round(0, 10));
    world.electorate.reach(round(1, 0));
    // Whether view 11 of epoch 0 is one of its slots is known: it is not.
    assert_eq!(world.whole(round(0, 11)).observations, []);
    assert_eq!(world.whole(round(1, 1)).observations, [], "epoch 1 may have ended before");
    world.electorate.reach(round(1, 2));
    let outcome = world.hear([]);
    assert!(outcome.observations.iter().all(|observation| observation.slot() == Slot(11)));
    assert_eq!(outcome.verified, 4);
}

#[test]
fn a_block_of_the_next_epoch_does_not_say_where_its_own_one_ended() {
    let mut world = World::new();
    // The chain is read at its tip, in epoch 1, before the last block of epoch 0 is.
    world.electorate.reach(round(1, 3));
    assert_eq!(world.whole(round(0, 11)).observations, [], "epoch 0 may have ended before");
    world.begin(1);
    world.electorate.end(round(0, 10));
    let outcome = world.whole(round(1, 1));
    assert!(outcome.observations.iter().all(|observation| observation.slot() == Slot(11)));
    assert_eq!(acts(&outcome).len(), 5, "four votes and a proposal, of epoch 1 alone");
}

#[test]
fn dropped_votes_make_their_rounds_missed() {
    let mut world = World::new();
    world.whole(round(0, 1));
    assert_eq!(world.hearing.take(Message::Lost(round(0, 2), round(0, 4), 7)), 7);
    assert_eq!(missed(&world.hear([])), [2, 3, 4]);
}

#[test]
fn what_is_held_is_bounded_and_the_rest_is_missed() {
    let mut world = World::new();
    let votes = ROUNDS_MAX as u64 + 5;
    let votes: Vec<_> = (1..=votes).map(|view| world.nullify(1, round(0, view))).collect();
    let dropped: u64 =
        votes.into_iter().map(|vote| world.hearing.take(Message::Vote(vote, None))).sum();
    assert_eq!(dropped, 5);
    assert_eq!(missed(&world.hear([])).len(), 5);
}
