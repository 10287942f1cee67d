//! Messages of slots that are not judged yet.

use crate::{Conflict, Observation, Position, Seen, Slot, ValidatorId};
use std::collections::BTreeMap;

/// Senders that are told apart, at the most.
const SENDERS_MAX: usize = 4_096;
/// Passes after which somebody who sent nothing is not counted among those who do.
const ACTIVE: u64 = 64;

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
    /// Of each sender, the slot of its newest message, and in which pass that came.
    active: BTreeMap<ValidatorId, (Slot, u64)>,
    passes: u64,
    /// Slots up to here were not watched as a whole.
    initial: Option<Slot>,
    /// Whether the observer's position was known in the last pass.
    stands: bool,
    ahead: u64,
    /// A message of a slot arrives before so many more have passed.
    lag: u64,
    conflicts: Vec<Conflict>,
}

impl Heard {
    pub(super) fn new(ahead: u64, lag: u64, recorded: Option<Slot>) -> Self {
        Self { ahead, lag, recorded, ..Self::default() }
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
        if let Observation::Signed(signed) = &observation {
            self.sent(&signed.validator, slot);
        }
        self.change(slot, |seen| seen.add(observation))
    }

    fn sent(&mut self, sender: &ValidatorId, slot: Slot) {
        if let Some(newest) = self.active.get_mut(sender) {
            *newest = (slot, self.passes);
        } else if self.active.len() < SENDERS_MAX {
            self.active.insert(sender.clone(), (slot, self.passes));
        }
    }

    pub(super) fn merge(&mut self, slot: Slot, later: Seen) -> Fate {
        later.senders.keys().for_each(|sender| self.sent(sender, slot));
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
        self.passes += 1;
        self.active.retain(|_, (_, pass)| *pass + ACTIVE >= self.passes);
        let horizon = self.horizon();
        drop(self.slots.split_off(&horizon.plus(1)));
        self.stands = position.is_some();
    }

    /// Whether watching may begin, once enough of a committee were heard.
    pub(super) const fn may_begin(&self) -> bool {
        self.stands && self.initial.is_none()
    }

    /// Watching begins where more of `members` were heard than may be late, or lie: what they sent last may be of a slot
    /// that is over, and the one under way is a lag later at the most.
    pub(super) fn begins(&mut self, members: &[ValidatorId]) {
        let horizon = self.horizon();
        let newest = members.iter().filter_map(|member| self.active.get(member));
        let heard: Vec<Slot> = newest.map(|(slot, _)| (*slot).min(horizon)).collect();
        let newest = heard.iter().max().filter(|_| heard.len() > members.len() / 3);
        if let (Some(newest), Some(passed)) = (newest, self.passed) {
            self.initial = Some(newest.plus(self.lag).max(passed.plus(1)));
        }
    }

    /// Whether anybody sent something that was too far ahead.
    pub(super) fn is_beyond(&self) -> bool {
        let horizon = self.horizon();
        self.active.values().any(|(slot, _)| *slot > horizon)
    }

    /// More of `members` than may be faulty are beyond the horizon: the chain is read too late, and what they sent was
    /// not taken in. One whose clock is ahead is not many.
    pub(super) fn lags(&mut self, members: &[ValidatorId]) {
        let horizon = self.horizon();
        let newest = members.iter().filter_map(|member| self.active.get(member));
        let mut beyond: Vec<Slot> =
            newest.map(|(slot, _)| *slot).filter(|slot| *slot > horizon).collect();
        beyond.sort_unstable();
        // Of the highest, as many may lie.
        if let Some(at) = beyond.len().checked_sub(members.len() / 3 + 1) {
            self.begin_again(beyond[at].plus(1));
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
