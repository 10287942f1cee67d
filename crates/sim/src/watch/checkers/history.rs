//! Rules about the history of events.

use super::{Checker, Observation};
use crate::truth::Truth;
use std::collections::BTreeMap;
use tidewatch_core::{Record, Watermarks};
use tidewatch_testkit::{invariants, words::watermarks_words};

/// Folding the events yields the watermarks of the view.
#[derive(Default)]
pub(super) struct Replay {
    watermarks: Watermarks,
    /// The next event.
    next: u64,
    settled: bool,
}

impl Replay {
    fn fold(&mut self, record: &Record) -> Result<(), String> {
        let sequence = record.sequence();
        if sequence != self.next {
            return Err(format!("event {sequence}, expected {}", self.next));
        }
        let folded = invariants::fold(&self.watermarks, record);
        let watermarks = folded.map_err(|breach| format!("event {sequence}: {breach:#}"))?;
        (self.watermarks, self.next) = (watermarks, sequence + 1);
        Ok(())
    }

    fn stands(&self, watermarks: &Watermarks) -> Result<(), String> {
        if *watermarks != self.watermarks {
            let (folded, view) = (watermarks_words(&self.watermarks), watermarks_words(watermarks));
            return Err(format!("the events lead to {folded}, the view is at {view}"));
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
            Observation::Opened { watermarks, records } => {
                if let Some((first, rest)) = records.split_first() {
                    (self.watermarks, self.next) = (first.watermarks, first.cursor.handled());
                    rest.iter().try_for_each(|record| self.fold(record))?;
                } else {
                    (self.watermarks, self.next) = (Watermarks::none(), 0);
                }
                self.settled = true;
                self.stands(watermarks)
            }
            Observation::Recorded(records) => {
                records.iter().try_for_each(|record| self.fold(record))?;
                self.settled = true;
                Ok(())
            }
            Observation::Committed { .. } | Observation::NotCommitted(_) => {
                self.settled = false; // The events of the commit are observed right after it.
                Ok(())
            }
            Observation::WatermarksRead(watermarks) if self.settled => self.stands(watermarks),
            _ => Ok(()),
        }
    }
}

/// Why `record` is not the event that was recorded as `kept`. Its cursor is made when it is read, so it may hold
/// other locators than before: each of those is of the chain that the event's head ends. (What was recorded may be
/// a lie of the source's, in a view without blocks.)
fn differs(kept: &Record, record: &Record, truth: &Truth) -> Option<String> {
    let (before, now) = (&kept.cursor, &record.cursor);
    let same = kept.event == record.event
        && kept.watermarks == record.watermarks
        && before.handled() == now.handled()
        && now.stands_at(&kept.watermarks);
    if !same {
        return Some(format!("event {} differs from the recorded one", kept.sequence()));
    }
    let head = now.head()?;
    let mut added = now.locators().iter().filter(|locator| !before.locators().contains(locator));
    let other = added.find(|locator| truth.locates(head, locator) == Some(false))?;
    let (sequence, other) = (kept.sequence(), other.height);
    Some(format!(
        "event {sequence} leads to {head}, its cursor names another chain's block {other}"
    ))
}

/// A commit that returned survives every crash, and so does every event that a consumer received.
#[derive(Default)]
pub(super) struct Durability {
    records: BTreeMap<u64, Record>,
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn see(&mut self, observation: &Observation, truth: &Truth) -> Result<(), String> {
        match observation {
            Observation::Recorded(records) => self.keep(records),
            Observation::Handled { records, .. } | Observation::NotHandled { records, .. } => {
                if self.is_bridge(records) {
                    return self.leads(records);
                }
                for record in records {
                    self.compare(record, truth)?;
                }
            }
            Observation::Opened { records, .. } => {
                let last = self.records.last_key_value().map(|(sequence, _)| *sequence);
                let found = records.last().map(Record::sequence);
                if found < last {
                    return Err(format!(
                        "event {last:?} was durable, the last one now is {found:?}"
                    ));
                }
                for record in records {
                    self.compare(record, truth)?;
                }
                self.keep(records);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Durability {
    /// Whether `records` are in no log: all of them count the events up to where they lead.
    fn is_bridge(&self, records: &[Record]) -> bool {
        let [first, rest @ ..] = records else { return false };
        let same = |kept: &Record| (kept.event, kept.watermarks) == (first.event, first.watermarks);
        let other = |kept: &Record| !same(kept);
        let alone = rest.is_empty() && self.records.get(&first.sequence()).is_some_and(other);
        alone || rest.first().is_some_and(|next| next.sequence() == first.sequence())
    }

    /// A bridge has to lead to where the event that it counts up to led.
    fn leads(&self, bridge: &[Record]) -> Result<(), String> {
        let Some(last) = bridge.last() else { return Ok(()) };
        let kept = self.records.get(&last.sequence());
        if kept.is_none_or(|kept| last.cursor.stands_at(&kept.watermarks)) {
            return Ok(());
        }
        Err(format!("a bridge leads elsewhere than event {}", last.sequence()))
    }

    fn compare(&self, record: &Record, truth: &Truth) -> Result<(), String> {
        let kept = self.records.get(&record.sequence());
        kept.and_then(|kept| differs(kept, record, truth)).map_or(Ok(()), Err)
    }

    fn keep(&mut self, records: &[Record]) {
        self.records.extend(records.iter().map(|record| (record.sequence(), record.clone())));
    }
}
