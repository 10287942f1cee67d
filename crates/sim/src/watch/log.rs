//! Recorder in front of the event log.

use super::{Observation, Watch};
use std::num::NonZeroUsize;
use tidewatch_core::{Cursor, EventLog, Fault, LogError, Record, Resume, ResumeError};

/// An event log whose acknowledgements are recorded.
#[derive(Clone, Debug)]
pub struct Heard<L> {
    inner: L,
    watch: Watch,
}

impl<L> Heard<L> {
    /// Wraps `inner` and reports to `watch`.
    pub const fn new(inner: L, watch: Watch) -> Self {
        Self { inner, watch }
    }
}

impl<L: EventLog> EventLog for Heard<L> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        self.inner.read(sequence, max).await
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        self.inner.wait(sequence).await
    }

    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        self.inner.resume(cursor).await
    }

    async fn acknowledge(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        self.inner.acknowledge(consumer, cursor).await?;
        let (consumer, cursor) = (consumer.to_owned(), cursor.clone());
        self.watch.see(Observation::Acknowledged { consumer, cursor });
        Ok(())
    }

    async fn acknowledged(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let cursor = self.inner.acknowledged(consumer).await?;
        let (consumer, kept) = (consumer.to_owned(), cursor.clone());
        self.watch.see(Observation::Position { consumer, cursor: kept });
        Ok(cursor)
    }
}
