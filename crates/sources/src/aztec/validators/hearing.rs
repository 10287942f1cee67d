//! What is handed in of a slot that has passed.
//!
//! | landed | heard from other nodes | handed in |
//! |---|---|---|
//! | yes | a quorum for what landed | attestations, and that it is valid: whoever is in neither was absent |
//! | yes | fewer, or the node does not say | attestations, and that some may be missing: nobody is absent |
//! | no | a quorum for some proposal | attestations, and that it is valid: its proposer did its part |
//! | no | some, and no quorum | the slot as missed: why it did not land cannot be told |
//! | no | nothing, where the slot before was heard | nothing: nobody proposed |
//! | no | nothing, else | the slot as missed: the node may hear nobody |

use super::checkpoint::{Attested, Heard, Published};
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::Digest;
use tidewatch_sentinel::{Act, Observation, Signed, Slot, ValidatorId, Verdict};

/// What there is of one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) slot: Slot,
    /// Who was due, each once, and who had to propose.
    pub(super) members: &'a [ValidatorId],
    pub(super) proposer: Option<&'a ValidatorId>,
    /// What landed on layer 1.
    pub(super) landed: Option<&'a Published>,
    /// What the node heard; `None` where it does not say.
    pub(super) heard: Option<&'a [Heard]>,
}

/// Decides what is handed in, slot by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Hearing {
    /// Whether a quorum was heard of in the newest slot in which anything landed.
    whole: bool,
}

impl Hearing {
    /// What is handed in of a slot.
    pub(super) fn settle(&mut self, found: &Found<'_>) -> Vec<Observation> {
        let Found { slot, members, proposer, landed, heard } = *found;
        let signed = |by: &Attested, act| {
            let (validator, bytes) = (by.signer.clone(), by.bytes.clone());
            Observation::Signed(Signed { slot, validator, act, bytes })
        };
        let is_member = |by: &Attested| members.contains(&by.signer);
        let mut observations = Vec::new();
        let mut attested = BTreeMap::<Digest, BTreeSet<&ValidatorId>>::new();
        for Heard { payload, attested: by, proposed } in heard.into_iter().flatten() {
            if is_member(by) && attested.entry(*payload).or_default().insert(&by.signer) {
                observations.push(signed(by, Act::Attestation(*payload)));
            }
            // What another one signed is no proposal.
            if let Some(by) = proposed.as_ref().filter(|by| Some(&by.signer) == proposer) {
                let proposal = signed(by, Act::Proposal(*payload));
                if !observations.contains(&proposal) {
                    observations.push(proposal);
                }
            }
        }
        let quorum = 2 * members.len() / 3 + 1;
        let enough = |attested: &BTreeSet<_>| attested.len() >= quorum;
        if let Some(landed) = landed {
            self.whole = attested.get(&landed.payload).is_some_and(enough);
            let of = attested.entry(landed.payload).or_default();
            for by in landed.attested.iter().filter(|by| is_member(by)) {
                if of.insert(&by.signer) {
                    observations.push(signed(by, Act::Attestation(landed.payload)));
                }
            }
            if !self.whole {
                observations.push(Observation::Partial(slot));
            }
        }
        let valid: Vec<Digest> =
            attested.iter().filter(|(_, by)| enough(by)).map(|(payload, _)| *payload).collect();
        let nothing = observations.is_empty();
        if landed.is_none() && valid.is_empty() && !(nothing && heard.is_some() && self.whole) {
            observations.push(Observation::Missed(slot));
        }
        let checked =
            |payload| Observation::Checked { slot, payload, verdict: Verdict::Valid(None) };
        observations.extend(valid.into_iter().map(checked));
        observations
    }
}
