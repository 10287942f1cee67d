//! Logs that are wrong.

use super::Flaw;
use commonware_utils::sync::Mutex;
use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    BlockRef, ChainId, Cursor, Digest, Event, EventLog, Fault, History, LogError, Positions,
    Record, Resume, ResumeError, Tier, Tip, Watermarks,
};

/// What a log knows of the events that were read.
#[derive(Debug, Default)]
struct Past {
    watermarks: Watermarks,
    /// Where finalized stood at first.
    finalized: Option<Tip>,
    /// Whether an event was changed: the watermarks after it are others too.
    bent: bool,
    positions: BTreeMap<String, Cursor>,
}

impl Past {
    /// Whether no tier stands as high.
    fn is_alone_at(&self, tip: Tip) -> bool {
        let stands = |tier: &Tier| self.watermarks.tips.block(*tier);
        Tier::ALL.iter().filter_map(stands).all(|other| other.height != tip.block.height)
    }
}

/// A log in front of another one, with a flaw at the most.
#[derive(Clone, Debug)]
pub(crate) struct Log<L> {
    inner: L,
    chain: ChainId,
    flaw: Option<Flaw>,
    past: Arc<Mutex<Past>>,
}

impl<L> Log<L> {
    pub(crate) fn new(inner: L, chain: ChainId, flaw: Option<Flaw>) -> Self {
        Self { inner, chain, flaw, past: Arc::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// What becomes of an event, which is read for the first time where the history is changed.
    fn bend(&self, mut record: Record) -> Record {
        if let (Some(Flaw::OtherEvent), Event::Advanced { tier, tip }) = (self.flaw, record.event) {
            record.event = Event::Regressed { tier, tip };
            return record;
        }
        let mut past = self.past.lock();
        let event = match (self.flaw, record.event) {
            // Nothing is known of what was before.
            _ if past.watermarks == Watermarks::none() => None,
            (Some(Flaw::NoRegress), Event::Regressed { tier, tip }) => {
                Some(Event::Advanced { tier, tip })
            }
            (Some(Flaw::OtherChain), Event::Advanced { tier, tip })
                if tier != Tier::Finalized && past.is_alone_at(tip) =>
            {
                let digest = Digest(tip.block.digest.0.map(|byte| !byte));
                let tip = Tip::from(BlockRef::new(tip.block.height, digest));
                Some(Event::Advanced { tier, tip })
            }
            (Some(Flaw::FinalizedBack), Event::Advanced { tier: Tier::Finalized, tip }) => {
                let first = *past.finalized.get_or_insert(tip);
                let stands = past.watermarks.tips.block(Tier::Finalized);
                let back = stands.is_some_and(|stands| first.block.height < stands.height);
                back.then_some(Event::Regressed { tier: Tier::Finalized, tip: first })
            }
            _ => None,
        };
        if let Some(event) = event {
            record.event = event;
            past.bent = true;
        }
        if past.bent {
            record.watermarks = past.watermarks;
            record.watermarks.apply(&record.event);
            let (handled, below) = (record.cursor.handled(), record.cursor.locators().to_vec());
            record.cursor = Cursor::located(&self.chain, handled, &record.watermarks, below);
        }
        past.watermarks = record.watermarks;
        record
    }
}

impl<L: EventLog> EventLog for Log<L> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        let mut records = self.inner.read(sequence, max).await?;
        if self.is(Flaw::SkippedEvent) && records.len() > 1 {
            records.remove(0);
        }
        Ok(match self.flaw {
            None => records,
            Some(_) => records.into_iter().map(|record| self.bend(record)).collect(),
        })
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        self.inner.wait(sequence).await
    }
}

impl<L: History> History for Log<L> {
    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        self.inner.resume(cursor).await
    }
}

impl<L: Positions> Positions for Log<L> {
    async fn store(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        if self.is(Flaw::PositionInMemory) {
            self.past.lock().positions.insert(consumer.to_owned(), cursor.clone());
            return Ok(());
        }
        self.inner.store(consumer, cursor).await
    }

    async fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let kept = self.past.lock().positions.get(consumer).cloned();
        if kept.is_some() { Ok(kept) } else { self.inner.load(consumer).await }
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        self.inner.list().await
    }

    async fn forget(&self, consumer: &str) -> Result<bool, Fault> {
        self.inner.forget(consumer).await
    }
}
