//! What was seen of a slot.

use crate::{Slot, ValidatorId};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use tidewatch_core::Digest;

/// What a message of a validator says about its slot. A payload is what the others attest to: the digest of a
/// checkpoint, or of a block on a chain without checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A block of a proposal that is not complete yet.
    Block(Digest),
    /// The proposal.
    Proposal(Digest),
    /// A vote for a proposal: an attestation, a notarize.
    Attestation(Digest),
    /// A vote to finalize.
    Commit(Digest),
    /// A vote to go on without a proposal: a nullify.
    Skip,
}

/// A message of a validator, as it signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The slot that it is about.
    pub slot: Slot,
    /// Who signed it.
    pub validator: ValidatorId,
    /// What it says.
    pub act: Act,
    /// The message with its signature, in the chain's own encoding: evidence, should it contradict another.
    pub bytes: Bytes,
}

/// What executing a proposal here said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It could not be executed.
    Unvalidated,
    /// It is invalid.
    Invalid,
    /// It is valid; where it would stand, if that is known.
    Valid(Option<Lineage>),
}

/// Which checkpoint a proposal would be, and on what it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lineage {
    /// The first one of the chain.
    First,
    /// It stands on a checkpoint.
    On {
        /// Number of the checkpoint below.
        number: u64,
        /// What the checkpoint below is to be.
        digest: Digest,
    },
}

/// One thing that was seen.
///
/// Whoever hands it in has verified the signature: an observation accuses its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A validator's message.
    Signed(Signed),
    /// A proposal was executed here.
    Checked {
        /// The slot of the proposal.
        slot: Slot,
        /// The proposal.
        payload: Digest,
        /// What came of it.
        verdict: Verdict,
    },
    /// Two messages of a validator that contradict each other, where the chain's own protocol found them.
    Conflict(Conflict),
    /// Messages of this slot may have been missed: nobody is called absent in it.
    Missed(Slot),
    /// Attestations of this slot may have been missed, and nothing else: its proposal is judged, whoever attested is
    /// credited, and nobody is called absent.
    Partial(Slot),
}

impl Observation {
    /// The slot that it is about.
    pub const fn slot(&self) -> Slot {
        match self {
            Self::Signed(signed) => signed.slot,
            Self::Conflict(conflict) => conflict.first.slot,
            Self::Checked { slot, .. } | Self::Missed(slot) | Self::Partial(slot) => *slot,
        }
    }
}

/// How two messages of one validator contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contradiction {
    /// Two proposals for one slot.
    Proposals,
    /// Attestations to two payloads of one slot.
    Attestations,
    /// Votes to finalize two payloads of one slot.
    Commits,
    /// A vote to finalize a slot and one to go on without it.
    SkipAndCommit,
}

impl Contradiction {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::Proposals, Self::Attestations, Self::Commits, Self::SkipAndCommit];
    /// Name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposals => "proposals",
            Self::Attestations => "attestations",
            Self::Commits => "commits",
            Self::SkipAndCommit => "skip_and_commit",
        }
    }

    /// Whether it makes it unclear which proposal of the slot the others had to attest to.
    pub const fn is_equivocation(self) -> bool {
        matches!(self, Self::Proposals)
    }
}

/// Two messages of one validator that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// In which way.
    pub kind: Contradiction,
    /// The one that was seen first.
    pub first: Signed,
    /// The other.
    pub second: Signed,
}

/// What one validator sent in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Whether there was a block of a proposal.
    pub block: bool,
    /// Its proposal: the first one.
    pub proposal: Option<Signed>,
    /// Its vote.
    pub attestation: Option<Signed>,
    /// Its vote to finalize.
    pub commit: Option<Signed>,
    /// Its vote to go on.
    pub skip: Option<Signed>,
    /// A vote of it for another payload than the first: it voted for both.
    pub second: Option<Signed>,
    contradicted: Vec<Contradiction>,
}

impl Sent {
    /// In which ways it contradicted itself.
    pub fn contradicted(&self) -> &[Contradiction] {
        &self.contradicted
    }

    /// What it said. Of all its blocks, that there was one.
    pub(crate) fn acts(&self) -> impl Iterator<Item = Act> + '_ {
        let signed = [&self.proposal, &self.attestation, &self.commit, &self.skip, &self.second];
        let signed = signed.into_iter().flatten().map(|signed| signed.act);
        self.block.then_some(Act::Block(Digest([0; 32]))).into_iter().chain(signed)
    }

    /// Whether it voted for `payload`; for any payload, where that is `None`.
    pub fn attested(&self, payload: Option<Digest>) -> bool {
        let votes = self.attestation.iter().chain(&self.commit).chain(&self.second);
        votes.filter_map(|vote| vote.act.payload()).any(|voted| payload.is_none_or(|p| p == voted))
    }
}

impl Act {
    /// The payload that it names.
    pub const fn payload(self) -> Option<Digest> {
        match self {
            Self::Block(payload)
            | Self::Proposal(payload)
            | Self::Attestation(payload)
            | Self::Commit(payload) => Some(payload),
            Self::Skip => None,
        }
    }
}

/// Validators of one slot of which something is kept. What goes beyond these limits makes the slot one that was not
/// wholly seen.
const SENDERS_MAX: usize = 4_096;
/// Proposals of one slot that were executed.
pub(crate) const PAYLOADS_MAX: usize = 16;
/// Bytes of one message.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024;

/// Everything that was seen of one slot: observations merge, in any order, repeated or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub(crate) senders: BTreeMap<ValidatorId, Sent>,
    pub(crate) checked: BTreeMap<Digest, Verdict>,
    /// Contradictions that nobody was notified of yet.
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) missed: bool,
    /// Attestations may have been missed.
    pub(crate) partial: bool,
}

impl Seen {
    /// Merges one observation of this slot.
    pub fn add(&mut self, observation: Observation) {
        match observation {
            Observation::Missed(_) => self.missed = true,
            Observation::Partial(_) => self.partial = true,
            Observation::Checked { payload, verdict, .. } => {
                if let Some(known) = self.checked.get_mut(&payload) {
                    *known = verdict.max(*known);
                } else if self.checked.len() < PAYLOADS_MAX {
                    self.checked.insert(payload, verdict);
                } else {
                    self.missed = true;
                }
            }
            Observation::Conflict(conflict) => {
                let Conflict { kind, first, second } = conflict;
                if first.bytes.len().max(second.bytes.len()) > MESSAGE_MAX {
                    self.missed = true;
                    return;
                }
                let Some(sent) = self.sender(&first.validator) else { return };
                sent.note(&first);
                sent.note(&second);
                if !sent.contradicted.contains(&kind) {
                    sent.contradicted.push(kind);
                    self.conflicts.push(Conflict { kind, first, second });
                }
            }
            Observation::Signed(signed) => {
                if signed.bytes.len() > MESSAGE_MAX {
                    self.missed = true;
                    return;
                }
                let Some(sent) = self.sender(&signed.validator) else { return };
                sent.note(&signed);
                let found = sent.contradiction(&signed);
                if let Some((kind, first)) =
                    found.filter(|(kind, _)| !sent.contradicted.contains(kind))
                {
                    sent.contradicted.push(kind);
                    self.conflicts.push(Conflict { kind, first, second: signed });
                }
            }
        }
    }

    /// Merges what else was seen of the same slot.
    pub fn merge(&mut self, later: Self) {
        self.missed |= later.missed;
        self.partial |= later.partial;
        for conflict in later.conflicts {
            self.add(Observation::Conflict(conflict));
        }
        for (payload, verdict) in later.checked {
            self.add(Observation::Checked { slot: Slot(0), payload, verdict });
        }
        for (validator, sent) in later.senders {
            let Some(here) = self.sender(&validator) else { continue };
            here.block |= sent.block;
            for kind in sent.contradicted {
                if !here.contradicted.contains(&kind) {
                    here.contradicted.push(kind);
                }
            }
            let signed = [sent.proposal, sent.attestation, sent.commit, sent.skip, sent.second];
            for signed in signed.into_iter().flatten() {
                self.add(Observation::Signed(signed));
            }
        }
    }

    /// What was seen of `validator`.
    pub fn of(&self, validator: &ValidatorId) -> Option<&Sent> {
        self.senders.get(validator)
    }

    /// Whether something of it may have been missed.
    pub const fn is_missed(&self) -> bool {
        self.missed
    }

    /// It is known that `validator` contradicted itself.
    pub(crate) fn contradicted(&mut self, validator: &ValidatorId, kind: Contradiction) {
        if let Some(sent) = self.sender(validator)
            && !sent.contradicted.contains(&kind)
        {
            sent.contradicted.push(kind);
        }
    }

    fn sender(&mut self, validator: &ValidatorId) -> Option<&mut Sent> {
        if !self.senders.contains_key(validator) {
            if self.senders.len() >= SENDERS_MAX {
                self.missed = true;
                return None;
            }
            self.senders.insert(validator.clone(), Sent::default());
        }
        self.senders.get_mut(validator)
    }
}

impl Sent {
    fn note(&mut self, signed: &Signed) {
        let place = match signed.act {
            Act::Block(_) => {
                self.block = true;
                return;
            }
            Act::Proposal(_) => &mut self.proposal,
            Act::Attestation(_) => &mut self.attestation,
            Act::Commit(_) => &mut self.commit,
            Act::Skip => &mut self.skip,
        };
        match place {
            None => *place = Some(signed.clone()),
            Some(first) if first.act == signed.act => {}
            Some(_) if matches!(signed.act, Act::Attestation(_) | Act::Commit(_)) => {
                self.second.get_or_insert_with(|| signed.clone());
            }
            Some(_) => {}
        }
    }

    /// What `signed` contradicts of what was noted.
    fn contradiction(&self, signed: &Signed) -> Option<(Contradiction, Signed)> {
        let other = |noted: &Option<Signed>| noted.clone().filter(|noted| noted.act != signed.act);
        match signed.act {
            Act::Block(_) => None,
            Act::Proposal(_) => {
                other(&self.proposal).map(|first| (Contradiction::Proposals, first))
            }
            Act::Attestation(_) => {
                other(&self.attestation).map(|first| (Contradiction::Attestations, first))
            }
            Act::Commit(_) => (other(&self.commit).map(|first| (Contradiction::Commits, first)))
                .or_else(|| self.skip.clone().map(|first| (Contradiction::SkipAndCommit, first))),
            Act::Skip => self.commit.clone().map(|first| (Contradiction::SkipAndCommit, first)),
        }
    }
}
