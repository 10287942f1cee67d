//! Messages of slots that are not judged yet.

use crate::{Conflict, Observation, Position, Seen, Slot, ValidatorId};
use std::collections::{BTreeMap, BTreeSet};

/// Senders that are told apart, at the most.
const SENDERS_MAX: usize = 4_096;

/// What became of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    /// Its slot is recorded.
    Late,
    /// Its slot is too far ahead.
    Ahead,
}

/// Messages by slot, and since when they are complete.
#[derive(Debug, Default)]
pub(super) struct Heard {
    slots: BTreeMap<Slot, Seen>,
    /// Slots up to here are recorded, stale or not.
    recorded: Option<Slot>,
    /// The newest slot that the chain or the observer has passed.
    passed: Option<Slot>,
    /// Who sent something that was taken in since that was known, and who something that was too far ahead.
    taken: BTreeSet<ValidatorId>,
    beyond: BTreeMap<ValidatorId, Slot>,
    /// Slots up to here were not watched as a whole.
    initial: Option<Slot>,
    ahead: u64,
    conflicts: Vec<Conflict>,
}

impl Heard {
    pub(super) fn new(ahead: u64, recorded: Option<Slot>) -> Self {
        Self { ahead, recorded, ..Self::default() }
    }

    /// Slots up to here were not watched as a whole; `None` before watching began.
    pub(super) const fn initial(&self) -> Option<Slot> {
        self.initial
    }

    fn horizon(&self) -> Slot {
        self.passed.map_or(Slot(u64::MAX), |passed| passed.plus(self.ahead))
    }

    fn fate(&self, slot: Slot) -> Fate {
        if self.recorded.is_some_and(|recorded| slot <= recorded) {
            Fate::Late
        } else if slot > self.horizon() {
            Fate::Ahead
        } else {
            Fate::Taken
        }
    }

    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Seen)) -> Fate {
        let fate = self.fate(slot);
        if fate != Fate::Taken {
            return fate;
        }
        let seen = self.slots.entry(slot).or_default();
        change(seen);
        self.conflicts.append(&mut seen.conflicts);
        // Before anything is known of the chain, whatever claims to be far ahead goes first.
        if self.passed.is_none() && self.slots.len() as u64 > self.ahead {
            self.slots.pop_last();
        }
        fate
    }

    pub(super) fn observe(&mut self, observation: Observation) -> Fate {
        let slot = observation.slot();
        let sender = match &observation {
            Observation::Signed(signed) => Some(signed.validator.clone()),
            _ => None,
        };
        let fate = self.change(slot, |seen| seen.add(observation));
        sender.into_iter().for_each(|sender| self.sent(sender, slot, fate));
        fate
    }

    fn sent(&mut self, sender: ValidatorId, slot: Slot, fate: Fate) {
        match fate {
            Fate::Taken if self.taken.len() < SENDERS_MAX => drop(self.taken.insert(sender)),
            Fate::Ahead if self.beyond.len() < SENDERS_MAX => {
                let newest = self.beyond.entry(sender).or_default();
                *newest = slot.max(*newest);
            }
            _ => {}
        }
    }

    pub(super) fn merge(&mut self, slot: Slot, later: Seen) -> Fate {
        let fate = self.fate(slot);
        for sender in later.senders.keys() {
            self.sent(sender.clone(), slot, fate);
        }
        self.change(slot, |seen| seen.merge(later))
    }

    /// Messages of slots from `from` on were dropped.
    pub(super) fn dropped(&mut self, from: Slot) {
        let Some(passed) = self.passed else { return };
        for slot in from.get()..=passed.plus(self.ahead).get() {
            self.change(Slot(slot), |seen| seen.add(Observation::Missed(Slot(slot))));
        }
    }

    /// The chain has passed `passed`, the observer stands at `position`.
    pub(super) fn stands(&mut self, passed: Slot, position: Option<Position>) {
        let reached = position.map_or(passed, |position| passed.max(position.slot));
        let before = self.passed.replace(reached);
        if before.is_some_and(|before| reached > before.plus(self.ahead)) {
            // What was sent in between was beyond the horizon.
            self.begin_again(reached.plus(1));
        }
        // One whose clock is ahead is alone; where most are, it is the chain that is read too late.
        if self.beyond.len() > self.taken.len() {
            let mut slots: Vec<Slot> = self.beyond.values().copied().collect();
            slots.sort_unstable();
            self.begin_again(slots[2 * slots.len() / 3].plus(1));
        }
        self.taken.clear();
        self.beyond.clear();
        drop(self.slots.split_off(&self.horizon().plus(1)));
        let newest = self.slots.keys().next_back();
        if let (None, Some(_), Some(newest)) = (self.initial, position, newest) {
            self.initial = Some((*newest).max(reached.plus(1)));
        }
    }

    fn begin_again(&mut self, initial: Slot) {
        self.initial = self.initial.map(|before| before.max(initial));
    }

    /// Whether all messages of `slot` were taken in.
    pub(super) fn is_watched(&self, slot: Slot) -> bool {
        self.initial.is_some_and(|initial| slot > initial)
    }

    pub(super) fn of(&self, slot: Slot) -> Option<&Seen> {
        self.slots.get(&slot)
    }

    /// Slots up to `slot` are recorded.
    pub(super) fn recorded(&mut self, slot: Option<Slot>) {
        self.recorded = self.recorded.max(slot);
        if let Some(recorded) = self.recorded {
            self.slots = self.slots.split_off(&recorded.plus(1));
        }
    }

    /// Contradictions that nobody was notified of.
    pub(super) fn conflicts(&mut self) -> Vec<Conflict> {
        std::mem::take(&mut self.conflicts)
    }

    /// Slots of which anything waits.
    pub(super) fn waiting(&self) -> usize {
        self.slots.len()
    }
}
