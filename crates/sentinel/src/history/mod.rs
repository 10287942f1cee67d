//! What is recorded: slots, epochs, events; bounded, and durable.
//!
//! # Overview
//!
//! A journal of lines, folded into memory at the start. One line says all that a pass changed, so that a crash leaves
//! all of it or nothing: a verdict is never there without the slots that it is of, and a withdrawal never without
//! what was withdrawn.
//!
//! # Reorg safety
//!
//! Rows above [`History::processed`] are stale: they were judged on a chain that is gone. They answer no query and count in no epoch,
//! and are kept for the messages in them until they are judged again. The same holds of epochs above
//! [`History::evaluated`].
//!
//! # Restart safety
//!
//! The journal is rewritten once more than half of it is out of date: everything that counts, between a base and a
//! mark that it is whole, then the lines before it are dropped. A reader takes such a part only with its mark. A
//! directory of another chain, of another format, or with damage is refused in words, and never wiped.

mod disk;
mod kept;
mod record;
#[cfg(test)]
pub(crate) mod tests;

use crate::{
    Did, Epoch, Event, Inactive, NotJudged, Performance, Slot, ValidatorId, judge::Judged,
    port::Committee,
};
pub(crate) use disk::Disk;
pub(crate) use kept::Kept;
use kept::Vote;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
};
use tidewatch_core::BlockRef;

/// How a slot was judged, under which committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filed {
    pub(crate) committee: u32,
    pub(crate) proposer: u32,
    pub(crate) judged: Judged,
}

/// What is recorded of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Judged(Box<Filed>),
    NotJudged(NotJudged),
    NobodyDue,
}

/// What a row stands on, while it may be judged again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The tip of the chain that it was judged on.
    pub(crate) tip: BlockRef,
    /// Whether it was empty, and nothing had landed after it: the tip says nothing of it then.
    pub(crate) loose: bool,
    /// The messages, where they were judged.
    pub(crate) kept: Option<Kept>,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) slot: Slot,
    pub(crate) epoch: Epoch,
    pub(crate) outcome: Outcome,
    /// `None` once it is never judged again.
    pub(crate) basis: Option<Box<Basis>>,
}

/// One epoch that was evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EpochRecord {
    pub(crate) epoch: Epoch,
    /// Who could have done anything in it; `None` if nobody could.
    pub(crate) committee: Option<u32>,
    /// Of each of them.
    pub(crate) performances: Vec<Performance>,
    /// Who was named, and the sequence of that event.
    pub(crate) verdict: Option<(u64, Vec<Inactive>)>,
}

/// What one pass changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Committees that are new here.
    pub(crate) committees: Vec<(u32, Committee)>,
    /// Slots in ascending order: they replace what is there, or follow it.
    pub(crate) rows: Vec<Row>,
    /// The newest slot that counts.
    pub(crate) processed: Option<Slot>,
    /// Epochs in ascending order.
    pub(crate) epochs: Vec<EpochRecord>,
    /// The newest epoch that counts.
    pub(crate) evaluated: Option<Epoch>,
    pub(crate) events: Vec<Event>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) slots: NonZeroUsize,
    pub(crate) epochs: NonZeroUsize,
    pub(crate) events: NonZeroUsize,
}

/// Everything that is recorded, in memory.
#[derive(Clone, Debug)]
pub(crate) struct History {
    limits: Limits,
    committees: BTreeMap<u32, Committee>,
    rows: VecDeque<Row>,
    processed: Option<Slot>,
    epochs: BTreeMap<Epoch, EpochRecord>,
    evaluated: Option<Epoch>,
    events: VecDeque<Event>,
    sequence: u64,
    given: u64,
}

impl History {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            committees: BTreeMap::new(),
            rows: VecDeque::new(),
            processed: None,
            epochs: BTreeMap::new(),
            evaluated: None,
            events: VecDeque::new(),
            sequence: 0,
            given: 0,
        }
    }

    /// The newest slot that counts.
    pub(crate) const fn processed(&self) -> Option<Slot> {
        self.processed
    }

    /// The newest epoch that counts.
    pub(crate) const fn evaluated(&self) -> Option<Epoch> {
        self.evaluated
    }

    /// The sequence of the newest event.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many slots are kept.
    pub(crate) const fn window(&self) -> u64 {
        self.limits.slots.get() as u64
    }

    fn position(&self, slot: Slot) -> Option<usize> {
        let first = self.rows.front()?.slot;
        usize::try_from(slot.get().checked_sub(first.get())?).ok()
    }

    /// What is there of `slot`, stale or not.
    pub(crate) fn row(&self, slot: Slot) -> Option<&Row> {
        self.rows.get(self.position(slot)?)
    }

    /// The rows that count, in ascending order.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        let count = self.processed.and_then(|slot| self.position(slot)).map_or(0, |at| at + 1);
        self.rows.range(..count.min(self.rows.len()))
    }

    /// The newest slot of which anything is there, stale or not.
    pub(crate) fn newest(&self) -> Option<Slot> {
        self.rows.back().map(|row| row.slot)
    }

    /// The first slot that is there and does not count.
    pub(crate) fn first_stale(&self) -> Option<Slot> {
        let first = self.rows.front()?.slot;
        let next = self.processed.map_or(first, |slot| first.max(slot.plus(1)));
        self.row(next).map(|row| row.slot)
    }

    /// The first and the last slot that count.
    pub(crate) fn span(&self) -> Option<(Slot, Slot)> {
        let mut rows = self.rows();
        let first = rows.next()?.slot;
        Some((first, rows.next_back().map_or(first, |row| row.slot)))
    }

    pub(crate) fn members(&self, committee: u32) -> Option<&Committee> {
        self.committees.get(&committee)
    }

    /// The number of a committee, or the one that a new one gets.
    pub(crate) fn number(&self, members: &Committee) -> (u32, bool) {
        // Most often it is the newest.
        let known = self.committees.iter().rev().find(|(_, known)| *known == members);
        match known {
            Some((number, _)) => (*number, true),
            None => (self.committees.keys().next_back().map_or(0, |last| last + 1), false),
        }
    }

    /// Epochs from `from` on, stale or not.
    pub(crate) fn epochs_from(&self, from: Epoch) -> impl Iterator<Item = &EpochRecord> {
        self.epochs.range(from..).map(|(_, record)| record)
    }

    /// The epochs that count, newest first.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = &EpochRecord> {
        let last = self.evaluated;
        let counts = move |epoch: Epoch| last.is_some_and(|last| epoch <= last);
        self.epochs.values().rev().filter(move |record| counts(record.epoch))
    }

    /// What `record` says of `validator`.
    pub(crate) fn performance(
        &self,
        record: &EpochRecord,
        validator: &ValidatorId,
    ) -> Option<Performance> {
        let at = self.members(record.committee?)?.binary_search(validator).ok()?;
        record.performances.get(at).copied().filter(|performance| performance.total > 0)
    }

    /// Events that are kept, from `from` on.
    pub(crate) fn events(&self, from: u64) -> impl Iterator<Item = &Event> {
        let at = self.events.partition_point(|event| event.sequence < from);
        self.events.range(at..)
    }

    /// Events that the output has not taken.
    pub(crate) fn due(&self) -> impl Iterator<Item = &Event> {
        self.events(self.given.saturating_add(1))
    }

    /// What `row` says of the member at `at` of its committee.
    pub(crate) fn did(filed: &Filed, at: usize) -> Option<Did> {
        if at == filed.proposer as usize {
            return Some(Did::Proposed(filed.judged.proposal));
        }
        if filed.judged.attested.has(at) {
            return Some(Did::Attested);
        }
        filed.judged.expected.then_some(Did::AttestationMissed)
    }

    fn apply(&mut self, change: Change) {
        let Change { committees, rows, processed, epochs, evaluated, events } = change;
        let news = !committees.is_empty();
        self.committees.extend(committees);
        for row in rows {
            match self.position(row.slot) {
                Some(at) if at < self.rows.len() => self.rows[at] = row,
                Some(at) if at == self.rows.len() => self.rows.push_back(row),
                None if !self.rows.is_empty() => {}
                // Nothing leads here: everything before is older than is kept.
                _ => self.rows = [row].into(),
            }
        }
        self.processed = processed;
        self.epochs.extend(epochs.into_iter().map(|record| (record.epoch, record)));
        self.evaluated = evaluated;
        for event in events {
            if event.sequence > self.sequence {
                self.sequence = event.sequence;
                self.events.push_back(event);
            }
        }
        self.trim(news);
    }

    fn trim(&mut self, committees: bool) {
        while self.rows.len() > self.limits.slots.get() {
            self.rows.pop_front();
        }
        while self.epochs.len() > self.limits.epochs.get() {
            self.epochs.pop_first();
        }
        // Events that were not taken stay: there is no more of them than a pass makes until they are.
        while self.events.len() > self.limits.events.get()
            && self.events.front().is_some_and(|event| event.sequence <= self.given)
        {
            self.events.pop_front();
        }
        if committees {
            let rows = self.rows.iter().filter_map(|row| match &row.outcome {
                Outcome::Judged(filed) => Some(filed.committee),
                _ => None,
            });
            let epochs = self.epochs.values().filter_map(|record| record.committee);
            let used: BTreeSet<u32> = rows.chain(epochs).collect();
            let newest = self.committees.keys().next_back().copied();
            self.committees.retain(|number, _| used.contains(number) || Some(*number) == newest);
        }
    }

    /// Rows whose chain is settled keep no messages: those that stand on a block up to the finalized one, and those more
    /// than `max` slots below the newest. A slot that is empty after a final block may be filled yet.
    pub(crate) fn settle(&mut self, finalized: Option<BlockRef>, max: NonZeroUsize) {
        let newest = self.newest().unwrap_or_default();
        let counts = self.processed;
        for row in self.rows.iter_mut().rev() {
            let Some(basis) = &row.basis else { break };
            let current = counts.is_some_and(|processed| row.slot <= processed);
            let final_ = finalized.is_some_and(|block| basis.tip.height <= block.height);
            let final_ = final_ && !basis.loose;
            let deep = newest.get() - row.slot.get() >= max.get() as u64;
            if deep || current && final_ {
                row.basis = None;
            }
        }
    }

    /// Slots from `first` to `last` are empty on the chain of `tip`, which goes on after them. What was recorded
    /// after them stands on that tip as well: that no row stands on a block below one of an older row is how what
    /// a reorg leaves is found.
    pub(crate) fn anchor(&mut self, first: Slot, last: Slot, tip: BlockRef) {
        for row in self.rows.iter_mut().rev().take_while(|row| row.slot >= first) {
            let Some(basis) = row.basis.as_mut() else { break };
            basis.tip = tip;
            basis.loose &= row.slot > last;
        }
    }

    /// Rows that count and may be judged again, newest first.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Row, &Basis)> {
        self.rows().rev().map_while(|row| Some((row, row.basis.as_deref()?)))
    }
}

/// What proposals and attestations add up to in `rows`, for each validator.
pub(crate) fn performances<'a>(
    rows: impl Iterator<Item = &'a Row>,
    members: impl Fn(u32) -> Option<Committee>,
) -> BTreeMap<ValidatorId, Performance> {
    let mut found: Vec<(u32, Committee, Vec<Performance>)> = Vec::new();
    for row in rows {
        let Outcome::Judged(filed) = &row.outcome else { continue };
        if found.last().is_none_or(|(number, ..)| *number != filed.committee) {
            let Some(members) = members(filed.committee) else { continue };
            let size = members.len();
            found.push((filed.committee, members, vec![Performance::default(); size]));
        }
        let Some((_, _, counts)) = found.last_mut() else { continue };
        for (at, performance) in counts.iter_mut().enumerate() {
            if let Some(did) = History::did(filed, at) {
                performance.count(did);
            }
        }
    }
    let mut sum = BTreeMap::<ValidatorId, Performance>::new();
    for (_, members, counts) in found {
        for (validator, count) in members.iter().zip(counts) {
            if count.total > 0 {
                let performance = sum.entry(validator.clone()).or_default();
                performance.missed += count.missed;
                performance.total += count.total;
            }
        }
    }
    sum
}
