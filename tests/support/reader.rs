//! A consumer that remembers what it was given.

use commonware_utils::sync::Mutex;
use std::sync::Arc;
use tidewatch_core::{Ack, Consumer, Fault, Record};

#[derive(Debug, Default)]
struct Given {
    records: Vec<Record>,
    /// How many events were taken in durably.
    durable: u64,
    batches: u64,
}

/// Remembers every record, repetitions included, and takes every so many batches in durably. Clones
/// are the same reader: one of them goes to the follower.
#[derive(Clone, Debug)]
pub struct Reader {
    given: Arc<Mutex<Given>>,
    durable_every: u64,
}

impl Reader {
    /// A reader that acknowledges every `durable_every`-th batch durably, and the others not.
    pub fn new(durable_every: u64) -> Self {
        Self { given: Arc::default(), durable_every: durable_every.max(1) }
    }

    /// What it was given, in order.
    pub fn records(&self) -> Vec<Record> {
        self.given.lock().records.clone()
    }

    /// How many events it has taken in durably: the sequence of the first one that must come again.
    pub fn durable(&self) -> u64 {
        self.given.lock().durable
    }
}

impl Consumer for Reader {
    fn name(&self) -> &str {
        "reader"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let mut given = self.given.lock();
        given.records.extend_from_slice(records);
        given.batches += 1;
        if !given.batches.is_multiple_of(self.durable_every) {
            return Ok(Ack::Accepted);
        }
        given.durable = records.last().map_or(given.durable, |last| last.cursor.handled());
        Ok(Ack::Durable)
    }
}
