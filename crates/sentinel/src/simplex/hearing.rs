//! What was heard, and what follows from it: pure, without a clock.

use super::{
    Electorate, Term,
    ingress::{Message, round, signer},
    rounds::Place,
};
use crate::{Act, Committees as _, Observation, Signed, Slot, Verdict};
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        scheme::Scheme,
        types::{Proposal, Subject, Vote},
    },
    types::Round,
};
use commonware_cryptography::{ed25519::PublicKey, sha256::Digest};
use commonware_parallel::Sequential;
use commonware_utils::Participant;
use rand::CryptoRng;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds whose votes are held at the most.
pub const ROUNDS_MAX: usize = 1_024;
/// Votes of one round that are held at the most: some for each member of the largest committee.
pub const VOTES_MAX: usize = 8_192;
/// Slots behind the newest ended one whose late votes are taken in still.
const LATE: u64 = 64;
/// Slots that are said to be missed at once.
const MISSED_MAX: u64 = 4_096;

/// What a vote is for, so that the votes for it are verified together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u8, Option<(u64, Digest)>);

/// One round.
struct Heard<S: Scheme<Digest>> {
    waiting: Vec<(Vote<S, Digest>, Option<PublicKey>)>,
    /// Votes that were handed in, so that none is verified again when it is repeated.
    done: BTreeSet<(Key, Participant)>,
    voters: BTreeSet<Participant>,
    /// Proposals that count as executed, and whether that was handed in.
    valid: BTreeMap<Digest, bool>,
}

impl<S: Scheme<Digest>> Default for Heard<S> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            done: BTreeSet::new(),
            voters: BTreeSet::new(),
            valid: BTreeMap::new(),
        }
    }
}

/// Everything that was heard and is not behind.
pub(super) struct Hearing<S: Scheme<Digest>> {
    electorate: Electorate,
    rounds: BTreeMap<Round, Heard<S>>,
    lost: Vec<(Round, Round)>,
    /// Up to here it is decided which slots were wholly heard.
    swept: Option<Slot>,
    reached: Option<Slot>,
}

/// What came of a pass.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) observations: Vec<Observation>,
    pub(super) verified: u64,
    pub(super) invalid: u64,
    pub(super) missed: u64,
}

fn proposal<S: Scheme<Digest>>(vote: &Vote<S, Digest>) -> Option<&Proposal<Digest>> {
    match vote {
        Vote::Notarize(vote) => Some(&vote.proposal),
        Vote::Finalize(vote) => Some(&vote.proposal),
        Vote::Nullify(_) => None,
    }
}

fn key<S: Scheme<Digest>>(vote: &Vote<S, Digest>) -> Key {
    let kind = match vote {
        Vote::Notarize(_) => 0,
        Vote::Finalize(_) => 1,
        Vote::Nullify(_) => 2,
    };
    Key(kind, proposal(vote).map(|proposal| (proposal.parent.get(), proposal.payload)))
}

impl<S: Scheme<Digest, PublicKey = PublicKey>> Hearing<S> {
    pub(super) const fn new(electorate: Electorate) -> Self {
        Self { electorate, rounds: BTreeMap::new(), lost: Vec::new(), swept: None, reached: None }
    }

    /// Up to which slot everything was decided.
    pub(super) const fn swept(&self) -> Option<Slot> {
        self.swept
    }

    /// Takes `message` in; says how many votes were dropped.
    pub(super) fn take(&mut self, message: Message<S>) -> u64 {
        match message {
            Message::Lost(first, last, votes) => {
                self.lost.push((first, last));
                return votes;
            }
            Message::Certified(round, payload) => {
                if let Some(heard) = self.at(round) {
                    heard.valid.entry(payload).or_insert(false);
                }
            }
            Message::Vote(vote, from) => {
                let (round, key, signer) = (round(&vote), key(&vote), signer(&vote));
                let Some(heard) = self.at(round) else { return 1 };
                let repeated = |(other, sender): &(Vote<S, Digest>, Option<PublicKey>)| {
                    self::signer(other) == signer && self::key(other) == key && *sender == from
                };
                if heard.done.contains(&(key.clone(), signer)) || heard.waiting.iter().any(repeated)
                {
                    return 0;
                }
                if heard.waiting.len() + heard.done.len() >= VOTES_MAX {
                    self.lost.push((round, round));
                    return 1;
                }
                heard.waiting.push((vote, from));
            }
        }
        0
    }

    /// The round, unless it is too late for it or too many are held.
    fn at(&mut self, round: Round) -> Option<&mut Heard<S>> {
        match (self.electorate.place(round), self.swept) {
            (Place::Nowhere, _) => return None,
            (Place::At(slot), Some(swept)) if slot.plus(LATE) < swept => return None,
            _ => {}
        }
        if self.rounds.len() >= ROUNDS_MAX && !self.rounds.contains_key(&round) {
            self.lost.push((round, round));
            return None;
        }
        Some(self.rounds.entry(round).or_default())
    }

    /// Verifies what waits, and decides which slots were wholly heard.
    pub(super) fn pass(&mut self, rng: &mut impl CryptoRng) -> Outcome {
        let mut outcome = Outcome::default();
        for (round, heard) in &mut self.rounds {
            // The votes of an epoch that this validator has not begun wait until it has.
            let Some(term) = self.electorate.term(round.epoch()) else { continue };
            let Place::At(slot) = self.electorate.place(*round) else { continue };
            let Some(scheme) = term.scheme::<S>() else { continue };
            heard.hand_in(rng, &term, scheme, (*round, slot), &mut outcome);
            if heard.voters.len() >= term.quorum() {
                self.reached = self.reached.max(Some(slot));
            }
        }
        self.sweep(&mut outcome);
        outcome
    }

    fn sweep(&mut self, outcome: &mut Outcome) {
        let Self { electorate, lost, .. } = self;
        lost.retain(|(first, last)| {
            let (first, last) = match (electorate.place(*first), electorate.place(*last)) {
                (Place::Nowhere, _) => return false,
                (Place::At(first), Place::At(last)) => (first, last),
                // To the end of its epoch.
                (Place::At(first), Place::Nowhere) => {
                    let end = electorate.slots(electorate.epoch(first));
                    (first, end.map_or(first, |slots| *slots.end()))
                }
                _ => return true,
            };
            let last = last.get().min(first.get().saturating_add(MISSED_MAX));
            let slots = (first.get()..=last).map(|slot| Observation::Missed(Slot(slot)));
            outcome.observations.extend(slots);
            false
        });
        // What cannot be told of any slot does not pile up.
        lost.truncate(ROUNDS_MAX);
        let Some(reached) = self.reached else { return };
        // The newest slot with a quorum may still be voted in.
        let Some(end) = reached.minus(1) else { return };
        let Some(swept) = self.swept else {
            self.swept = Some(end);
            return;
        };
        let first = swept.get().saturating_add(1).max(end.get().saturating_sub(MISSED_MAX));
        for slot in (first..=end.get()).map(Slot) {
            if !self.wholly(slot) {
                outcome.missed += 1;
                outcome.observations.push(Observation::Missed(slot));
            }
        }
        self.swept = self.swept.max(Some(end));
        let electorate = &self.electorate;
        self.rounds
            .retain(|round, _| electorate.slot(*round).is_none_or(|slot| slot.plus(LATE) >= end));
    }

    /// Whether as many were heard in `slot` as it takes to end a view.
    fn wholly(&self, slot: Slot) -> bool {
        let heard = self.rounds.get_key_value(&self.electorate.round(slot));
        heard.is_some_and(|(round, heard)| {
            let term = self.electorate.term(round.epoch());
            term.is_some_and(|term| heard.voters.len() >= term.quorum())
        })
    }
}

impl<S: Scheme<Digest, PublicKey = PublicKey>> Heard<S> {
    fn hand_in(
        &mut self,
        rng: &mut impl CryptoRng,
        term: &Term,
        scheme: &S,
        (round, slot): (Round, Slot),
        outcome: &mut Outcome,
    ) {
        let mut groups = BTreeMap::<Key, Vec<Vote<S, Digest>>>::new();
        for (vote, from) in self.waiting.drain(..) {
            // Of members alone, and of whoever sent it.
            let member = term.key(signer(&vote));
            if member.is_none_or(|member| from.is_some_and(|from| from != *member)) {
                outcome.invalid += 1;
                continue;
            }
            let votes = groups.entry(key(&vote)).or_default();
            if votes.iter().all(|other| signer(other) != signer(&vote)) {
                votes.push(vote);
            }
        }
        for (key, votes) in groups {
            let Some(first) = votes.first().cloned() else { continue };
            let subject = match &first {
                Vote::Notarize(vote) => Subject::Notarize { proposal: &vote.proposal },
                Vote::Finalize(vote) => Subject::Finalize { proposal: &vote.proposal },
                Vote::Nullify(_) => Subject::Nullify { round },
            };
            let attestations = votes.iter().map(|vote| match vote {
                Vote::Notarize(vote) => vote.attestation.clone(),
                Vote::Finalize(vote) => vote.attestation.clone(),
                Vote::Nullify(vote) => vote.attestation.clone(),
            });
            let attestations: Vec<_> = attestations.collect();
            let checked =
                scheme.verify_attestations::<_, Digest, _>(rng, subject, attestations, &Sequential);
            let verified: BTreeSet<_> =
                checked.verified.iter().map(|attestation| attestation.signer).collect();
            outcome.verified += verified.len() as u64;
            outcome.invalid += (votes.len() - verified.len()) as u64;
            for vote in votes.iter().filter(|vote| verified.contains(&signer(vote))) {
                let index = signer(vote);
                self.done.insert((key.clone(), index));
                self.voters.insert(index);
                let Some(validator) = term.member(index) else { continue };
                let signed = |act| {
                    let (validator, bytes) = (validator.clone(), vote.encode());
                    Observation::Signed(Signed { slot, validator, act, bytes })
                };
                match vote {
                    Vote::Notarize(vote) => {
                        let payload = vote.proposal.payload;
                        if term.leader(round) == Some(index) {
                            outcome.observations.push(signed(Act::Proposal(payload)));
                        }
                        outcome.observations.push(signed(Act::Attestation(payload)));
                        if scheme.me() == Some(index) {
                            self.valid.entry(payload).or_insert(false);
                        }
                    }
                    Vote::Finalize(vote) => {
                        outcome.observations.push(signed(Act::Commit(vote.proposal.payload)));
                    }
                    Vote::Nullify(_) => outcome.observations.push(signed(Act::Skip)),
                }
            }
        }
        for (payload, told) in self.valid.iter_mut().filter(|(_, told)| !**told) {
            *told = true;
            let (payload, verdict) = (*payload, Verdict::Valid(None));
            outcome.observations.push(Observation::Checked { slot, payload, verdict });
        }
    }
}
