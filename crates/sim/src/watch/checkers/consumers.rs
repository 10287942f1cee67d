//! Rules about consumers.

use super::{Checker, Observation};
use crate::truth::Truth;
use std::collections::BTreeMap;
use tidewatch_core::{Cursor, Record, Watermarks};
use tidewatch_testkit::invariants;

/// Every consumer receives every event, in order, without gaps; or, where events are no longer kept, a
/// bridge that announces every block.
#[derive(Default)]
pub(super) struct Delivered {
    /// For each consumer, where it stands: deliveries start there or earlier.
    stands: BTreeMap<String, Stands>,
}

/// How far a consumer has come.
#[derive(Clone, Copy)]
struct Stands {
    /// The next event that it has not handled.
    next: u64,
    watermarks: Watermarks,
}

impl Stands {
    const NOWHERE: Self = Self { next: 0, watermarks: Watermarks::none() };

    fn after(record: &Record) -> Self {
        Self { next: record.cursor.handled(), watermarks: record.watermarks }
    }

    /// Whether `records` lead on from here as a bridge, without a hole.
    fn is_led_by(&self, records: &[Record]) -> bool {
        let mut watermarks = self.watermarks;
        records.iter().all(|record| {
            let led = invariants::dense(&watermarks, &record.event)
                .and_then(|()| invariants::leads(&watermarks, record));
            let whole = led.is_ok() && record.sequence() == records[0].sequence();
            watermarks = led.unwrap_or(watermarks);
            whole
        })
    }
}

impl Delivered {
    fn stands(&self, consumer: &str) -> Stands {
        self.stands.get(consumer).copied().unwrap_or(Stands::NOWHERE)
    }

    fn given(&self, consumer: &str, records: &[Record]) -> Result<Stands, String> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Err(format!("{consumer} received an empty batch"));
        };
        let stands = self.stands(consumer);
        // The records of a bridge have the sequence of the event that the bridge leads to.
        if first.sequence() > stands.next {
            if stands.is_led_by(records) {
                return Ok(Stands::after(last));
            }
            let (first, next) = (first.sequence(), stands.next);
            return Err(format!("{consumer} received event {first}, expected {next}"));
        }
        for pair in records.windows(2) {
            if pair[0].sequence() + 1 != pair[1].sequence() {
                return Err(format!("{consumer} received a batch with a gap"));
            }
        }
        Ok(Stands::after(last))
    }
}

impl Checker for Delivered {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Handled { consumer, records, .. } => {
                let stands = self.given(consumer, records)?;
                self.stands.insert((*consumer).into(), stands);
            }
            Observation::NotHandled { consumer, records } => {
                self.given(consumer, records)?;
            }
            Observation::StartedAgain { consumer, oldest } => {
                if oldest.sequence() <= self.stands(consumer).next {
                    return Err(format!("{consumer} was restarted without need"));
                }
                self.stands.insert((*consumer).into(), Stands::after(oldest));
            }
            Observation::Position { consumer, cursor } => {
                // Events that were accepted but not durable are delivered again.
                let at = |cursor: &Cursor| Stands {
                    next: cursor.handled(),
                    watermarks: cursor.watermarks(),
                };
                self.stands.insert(consumer.clone(), cursor.as_ref().map_or(Stands::NOWHERE, at));
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
