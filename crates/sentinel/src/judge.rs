//! What a slot's messages, its committee and the canonical chain add up to.
//!
//! # Proposers
//!
//! The highest that applies:
//!
//! | status | when | fault | attestors are judged |
//! |---|---|---|---|
//! | mined | the chain has something in the slot | no | yes |
//! | unpublished | valid, what it stands on landed, and a quorum attested | no | yes |
//! | orphaned | valid, and what it stands on did not land, or landed otherwise | no | yes |
//! | valid | valid, and no more is known | no | yes |
//! | invalid | executed here, and rejected | yes | no |
//! | unvalidated | seen, and not executed | yes | no |
//! | missed | blocks, and no proposal | yes | no |
//! | blocks missed | nothing | yes | no |
//!
//! # Attestors
//!
//! Whoever was seen to vote, for what landed where something did, or to skip where nothing did, or whose signature
//! landed; without the proposer.
//! Of the others nobody missed anything where no attestors are judged, where a proposal of the slot is invalid here,
//! and where the proposer contradicted itself: an honest validator may have had no proposal to attest to. Nor where
//! attestations may have been missed ([`Observation::Partial`](crate::Observation::Partial)), or what landed carries
//! no more signatures than it has to ([`Landed::trimmed`]) and the others were not heard.

#[cfg(test)]
mod tests;

use crate::{Landed, Lineage, Proposal, Seen, Sent, ValidatorId, Verdict, bits::Bits};
use tidewatch_core::Digest;

/// Who was due in a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due<'a> {
    /// The committee, each member once, in ascending order.
    pub(crate) members: &'a [ValidatorId],
    /// The position of the proposer in it.
    pub(crate) proposer: usize,
}

/// How a slot was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// What the proposer did.
    pub(crate) proposal: Proposal,
    /// Who attested, without the proposer.
    pub(crate) attested: Bits,
    /// Whether the other members missed their attestation.
    pub(crate) expected: bool,
    /// Who contradicted itself, ascending.
    pub(crate) contradicted: Vec<u32>,
}

/// What stands above: whether what a valid proposal stands on has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// Nobody asked: see [`lineage`].
    NotAsked,
    /// The chain has this checkpoint at that number, or none.
    Canonical(Option<Digest>),
}

impl Due<'_> {
    fn position(&self, validator: &ValidatorId) -> Option<usize> {
        self.members.binary_search(validator).ok()
    }

    fn quorum(&self) -> usize {
        2 * self.members.len() / 3 + 1
    }
}

/// What the best proposal of the slot stands on, where the judgement depends on it: ask for that checkpoint, and
/// judge with the answer.
pub(crate) fn lineage(due: &Due<'_>, landed: Option<&Landed>, seen: &Seen) -> Option<Lineage> {
    let equivocated = || equivocated(due, seen);
    match best(seen) {
        Some(Verdict::Valid(lineage)) if landed.is_none() && !equivocated() => lineage,
        _ => None,
    }
}

/// Judges a slot.
pub(crate) fn judge(due: &Due<'_>, landed: Option<&Landed>, seen: &Seen, below: Below) -> Judged {
    let proposal = match landed {
        Some(_) => Proposal::Mined,
        None => not_landed(due, seen, below),
    };
    let payload = landed.map(|landed| landed.payload);
    let mut attested = Bits::none(due.members.len());
    let took_part =
        |sent: &Sent| sent.attested(payload) || (landed.is_none() && sent.skip.is_some());
    let voted = seen.senders.iter().filter(|(_, sent)| took_part(sent)).map(|(id, _)| id);
    let signed = landed.into_iter().flat_map(|landed| &landed.attestors);
    voted
        .chain(signed)
        .filter_map(|validator| due.position(validator))
        .filter(|at| *at != due.proposer)
        .for_each(|at| attested.set(at));
    // What landed may be another proposal than the one that was heard.
    let heard =
        |landed: &Landed| matches!(seen.checked.get(&landed.payload), Some(Verdict::Valid(_)));
    let told = !seen.partial && landed.is_none_or(|landed| !landed.trimmed || heard(landed));
    let rejected = seen.checked.values().any(|verdict| *verdict == Verdict::Invalid);
    let judged = matches!(
        proposal,
        Proposal::Mined | Proposal::Unpublished | Proposal::Orphaned | Proposal::Valid
    );
    let contradicted = seen.senders.iter().filter(|(_, sent)| !sent.contradicted().is_empty());
    Judged {
        proposal,
        attested,
        expected: judged && told && !rejected && !equivocated(due, seen),
        contradicted: (contradicted.filter_map(|(id, _)| due.position(id)))
            .map(|at| at as u32)
            .collect(),
    }
}

fn not_landed(due: &Due<'_>, seen: &Seen, below: Below) -> Proposal {
    match best(seen) {
        Some(Verdict::Valid(_)) => refined(due, seen, below),
        Some(Verdict::Invalid) => Proposal::Invalid,
        Some(Verdict::Unvalidated) => Proposal::Unvalidated,
        None => {
            let sent = due.members.get(due.proposer).and_then(|proposer| seen.of(proposer));
            match sent {
                Some(sent) if sent.proposal.is_some() => Proposal::Unvalidated,
                Some(sent) if sent.block => Proposal::Missed,
                _ => Proposal::BlocksMissed,
            }
        }
    }
}

/// What became of a valid proposal that did not land.
fn refined(due: &Due<'_>, seen: &Seen, below: Below) -> Proposal {
    match (lineage(due, None, seen), below) {
        (Some(Lineage::First), _) => {}
        (Some(Lineage::On { digest, .. }), Below::Canonical(Some(landed))) if landed == digest => {}
        (Some(Lineage::On { .. }), Below::Canonical(_)) => return Proposal::Orphaned,
        (None, _) | (_, Below::NotAsked) => return Proposal::Valid,
    }
    let attested = seen.senders.iter().filter(|(_, sent)| sent.attested(None));
    let members = attested.filter(|(id, _)| due.position(id).is_some()).count();
    if members < due.quorum() { Proposal::Valid } else { Proposal::Unpublished }
}

/// What the most that is known of any proposal of the slot says.
fn best(seen: &Seen) -> Option<Verdict> {
    seen.checked.values().max().copied()
}

fn equivocated(due: &Due<'_>, seen: &Seen) -> bool {
    let proposer = due.members.get(due.proposer).and_then(|proposer| seen.of(proposer));
    let several = || seen.checked.len() > 1;
    several()
        || proposer
            .is_some_and(|sent| sent.contradicted().iter().any(|kind| kind.is_equivocation()))
}
