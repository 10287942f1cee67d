//! Rules about the history of events.

use super::{Checker, Observation};
use crate::{
    scripted::words::{marks_words, words},
    world::Truth,
};
use std::collections::BTreeMap;
use tidewatch_core::{Marks, Record};

/// Folding the events gives where the view stands.
#[derive(Default)]
pub(super) struct Replay {
    marks: Marks,
    /// The next event.
    next: u64,
    settled: bool,
}

impl Replay {
    fn fold(&mut self, record: &Record) -> Result<(), String> {
        let sequence = record.sequence();
        if sequence != self.next {
            return Err(format!("event {sequence} where {} was to come", self.next));
        }
        let mut marks = self.marks;
        marks.apply(&record.event);
        if marks != record.marks {
            let (event, says) = (words(&[record.event]).join(""), marks_words(&record.marks));
            return Err(format!("{event} leads to {}, it says {says}", marks_words(&marks)));
        }
        if !record.cursor.stands_at(&marks) {
            return Err(format!("the cursor of event {sequence} stands elsewhere"));
        }
        (self.marks, self.next) = (marks, sequence + 1);
        Ok(())
    }

    fn stands(&self, marks: &Marks) -> Result<(), String> {
        if *marks != self.marks {
            let (folded, says) = (marks_words(&self.marks), marks_words(marks));
            return Err(format!("the events lead to {folded}, the view stands at {says}"));
        }
        Ok(())
    }
}

impl Checker for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Opened { marks, records } => {
                if let Some((first, rest)) = records.split_first() {
                    (self.marks, self.next) = (first.marks, first.cursor.handled());
                    rest.iter().try_for_each(|record| self.fold(record))?;
                } else {
                    (self.marks, self.next) = (Marks::none(), 0);
                }
                self.settled = true;
                self.stands(marks)
            }
            Observation::Recorded(records) => {
                records.iter().try_for_each(|record| self.fold(record))?;
                self.settled = true;
                Ok(())
            }
            Observation::Committed { .. } | Observation::NotCommitted(_) => {
                self.settled = false; // Its events are told right after.
                Ok(())
            }
            Observation::MarksRead(marks) if self.settled => self.stands(marks),
            _ => Ok(()),
        }
    }
}

/// A commit that returned survives every crash, and so does what a consumer was given.
#[derive(Default)]
pub(super) struct Durability {
    records: BTreeMap<u64, Record>,
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Recorded(records) => self.keep(records),
            Observation::Handled { records, .. } | Observation::NotHandled { records, .. } => {
                for record in records {
                    let kept = self.records.get(&record.sequence());
                    if kept.is_some_and(|kept| kept != record) {
                        let sequence = record.sequence();
                        return Err(format!("event {sequence} is not what it was"));
                    }
                }
            }
            Observation::Opened { records, .. } => {
                let last = self.records.last_key_value().map(|(sequence, _)| *sequence);
                let found = records.last().map(Record::sequence);
                if found < last {
                    return Err(format!("event {last:?} was durable, the last is {found:?}"));
                }
                for record in records {
                    let sequence = record.sequence();
                    if self.records.get(&sequence).is_some_and(|kept| kept != record) {
                        return Err(format!("event {sequence} is not what it was"));
                    }
                }
                self.keep(records);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Durability {
    fn keep(&mut self, records: &[Record]) {
        self.records.extend(records.iter().map(|record| (record.sequence(), record.clone())));
    }
}
