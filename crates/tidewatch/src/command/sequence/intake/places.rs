//! Where the transactions of the newest blocks are.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use tidewatch_core::Digest;
use tidewatch_sequencer::{Block, Opened, Place};

/// Transactions of blocks whose place is remembered.
const PLACES: usize = 100_000;

/// Where a transaction is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Where {
    /// `pooled`, `reserved`, `applied` or `dropped`.
    pub(crate) place: String,
    /// The number of the block.
    pub(crate) number: Option<u64>,
    /// Why it was dropped.
    pub(crate) reason: Option<String>,
}

impl From<Place> for Where {
    fn from(place: Place) -> Self {
        let (place, number, reason) = match place {
            Place::Pooled => ("pooled", None, None),
            Place::Reserved(number) => ("reserved", Some(number.get()), None),
            Place::Applied(number) => ("applied", Some(number.get()), None),
            Place::Dropped(reason) => ("dropped", None, Some(reason)),
        };
        Self { place: place.into(), number, reason }
    }
}

/// The places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    order: VecDeque<Digest>,
    places: HashMap<Digest, Where>,
}

impl Places {
    /// Notes where the transactions of a block are.
    pub(crate) fn applied(&mut self, block: &Block) {
        let number = Some(block.identity.number.get());
        for (transaction, opened) in block.content.transactions.iter().zip(&block.opened) {
            let (place, reason) = match opened {
                Opened::Clear(_) => ("applied", None),
                Opened::Dropped(reason) => ("dropped", Some(reason.clone())),
            };
            let id = transaction.id();
            self.places.insert(id, Where { place: place.into(), number, reason });
            self.order.push_back(id);
        }
        while self.order.len() > PLACES {
            if let Some(id) = self.order.pop_front() {
                self.places.remove(&id);
            }
        }
    }

    /// Where it is, if it is in one of them.
    pub(crate) fn of(&self, id: &Digest) -> Option<Where> {
        self.places.get(id).cloned()
    }
}
