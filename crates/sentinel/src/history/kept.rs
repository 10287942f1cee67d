//! What is kept of a slot's messages, for when it is judged again.

use super::record::STRANGERS_MAX;
use crate::{
    Act, Contradiction, Observation, Seen, Signed, Slot, ValidatorId, Verdict, bits::Bits,
};
use bytes::Bytes;
use tidewatch_core::Digest;

/// Members of the committee that sent one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(super) act: Act,
    pub(super) by: Bits,
}

/// A slot's messages without their bytes, as sets of positions in the committee that it was judged under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(super) votes: Vec<Vote>,
    pub(super) checked: Vec<(Digest, Verdict)>,
    pub(super) contradicted: Vec<(u32, Contradiction)>,
    /// Messages of others: another chain may have another committee.
    pub(super) strangers: Vec<(ValidatorId, Act)>,
    /// Whether attestations may have been missed.
    pub(super) partial: bool,
}

impl Kept {
    /// What of `seen` is kept; `None` where that is too much.
    pub(crate) fn of(seen: &Seen, members: &[ValidatorId]) -> Option<Self> {
        let mut kept = Self {
            checked: seen.checked.iter().map(|(payload, verdict)| (*payload, *verdict)).collect(),
            partial: seen.partial,
            ..Self::default()
        };
        for (validator, sent) in &seen.senders {
            let position = members.binary_search(validator).ok();
            for act in sent.acts() {
                match position {
                    None => kept.strangers.push((validator.clone(), act)),
                    Some(at) => kept.votes_of(act, members.len()).set(at),
                }
            }
            if let Some(at) = position {
                let kinds = sent.contradicted().iter().map(|kind| (at as u32, *kind));
                kept.contradicted.extend(kinds);
            }
        }
        (kept.strangers.len() <= STRANGERS_MAX).then_some(kept)
    }

    fn votes_of(&mut self, act: Act, size: usize) -> &mut Bits {
        let at = self.votes.iter().position(|vote| vote.act == act).unwrap_or_else(|| {
            self.votes.push(Vote { act, by: Bits::none(size) });
            self.votes.len() - 1
        });
        &mut self.votes[at].by
    }

    /// What was seen, as far as it is kept.
    pub(crate) fn restore(&self, slot: Slot, members: &[ValidatorId]) -> Seen {
        let mut seen = Seen { partial: self.partial, ..Seen::default() };
        for (payload, verdict) in &self.checked {
            let (payload, verdict) = (*payload, *verdict);
            seen.add(Observation::Checked { slot, payload, verdict });
        }
        let ours = self.votes.iter().flat_map(|vote| {
            let by = vote.by.iter().filter_map(|at| members.get(at));
            by.map(|validator| (validator.clone(), vote.act))
        });
        for (validator, act) in ours.chain(self.strangers.iter().cloned()) {
            let signed = Signed { slot, validator, act, bytes: Bytes::new() };
            seen.add(Observation::Signed(signed));
        }
        for (at, kind) in &self.contradicted {
            if let Some(validator) = members.get(*at as usize) {
                seen.contradicted(validator, *kind);
            }
        }
        // They were reported when they were seen.
        seen.conflicts.clear();
        seen
    }
}
