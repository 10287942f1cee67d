//! Rules about consumers.

use super::{Checker, Observation};
use crate::world::Truth;
use std::collections::BTreeMap;
use tidewatch_core::Record;

/// Every consumer receives every event, in order, without gaps.
#[derive(Default)]
pub(super) struct Delivered {
    /// For each consumer, the next event that it has not handled: deliveries start there or earlier.
    next: BTreeMap<String, u64>,
    /// The oldest event that was readable at the last start.
    oldest: u64,
}

impl Delivered {
    fn given(&self, consumer: &str, records: &[Record]) -> Result<u64, String> {
        let [first, ..] = records else {
            return Err(format!("{consumer} received an empty batch"));
        };
        let next = self.next.get(consumer).copied().unwrap_or(0);
        // The records of a bridge have the sequence of the event that the bridge leads to.
        if first.sequence() > next {
            let first = first.sequence();
            return Err(format!("{consumer} received event {first}, expected {next}"));
        }
        for pair in records.windows(2) {
            if pair[0].sequence() + 1 != pair[1].sequence() {
                return Err(format!("{consumer} received a batch with a gap"));
            }
        }
        Ok(records.last().map_or(next, |last| last.cursor.handled()))
    }
}

impl Checker for Delivered {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Handled { consumer, records, .. } => {
                let next = self.given(consumer, records)?;
                self.next.insert((*consumer).into(), next);
            }
            Observation::NotHandled { consumer, records } => {
                self.given(consumer, records)?;
            }
            Observation::StartedAgain { consumer, oldest } => {
                let next = self.next.get(*consumer).copied().unwrap_or(0);
                if oldest.sequence() <= next {
                    return Err(format!("{consumer} was restarted without need"));
                }
                self.next.insert((*consumer).into(), oldest.cursor.handled());
            }
            Observation::Position { consumer, cursor } => {
                // Events that were accepted but not durable are delivered again.
                let handled = cursor.as_ref().map_or(0, tidewatch_core::Cursor::handled);
                self.next.insert(consumer.clone(), handled);
            }
            Observation::Opened { records, .. } => {
                self.oldest = records.first().map_or(0, Record::sequence);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A position is durable only by `Ack::Durable`, never above what was handled, and never lost.
#[derive(Default)]
pub(super) struct Acknowledged {
    /// Events that each consumer has acknowledged as durable.
    durable: BTreeMap<String, u64>,
    /// Events up to each consumer's stored position.
    kept: BTreeMap<String, u64>,
}

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Handled { consumer, records, durable: true } => {
                let handled = records.last().map_or(0, |last| last.cursor.handled());
                let durable = self.durable.entry((*consumer).into()).or_default();
                *durable = handled.max(*durable);
            }
            Observation::StartedAgain { consumer, oldest } => {
                // A restart is durable by itself: the consumer adopts the watermarks of that event.
                let durable = self.durable.entry((*consumer).into()).or_default();
                *durable = oldest.cursor.handled().max(*durable);
            }
            Observation::Acknowledged { consumer, cursor } => {
                let durable = self.durable.get(consumer).copied().unwrap_or(0);
                if cursor.handled() > durable {
                    let handled = cursor.handled();
                    return Err(format!(
                        "the position of {consumer} is {handled}, only {durable} is durable"
                    ));
                }
                self.kept.insert(consumer.clone(), cursor.handled());
            }
            Observation::Position { consumer, cursor } => {
                let kept = self.kept.get(consumer).copied().unwrap_or(0);
                let found = cursor.as_ref().map_or(0, tidewatch_core::Cursor::handled);
                let durable = self.durable.get(consumer).copied().unwrap_or(0);
                if found < kept || found > durable {
                    return Err(format!(
                        "the position of {consumer} was {kept} and is {found} after a restart"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
