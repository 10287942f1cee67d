//! Recorder in front of the event log.

use super::{Observation, Watch};
use std::num::NonZeroUsize;
use tidewatch_core::{
    Cursor, EventLog, Fault, History, LogError, Positions, Record, Resume, ResumeError,
};

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
}

impl<L: History> History for Heard<L> {
    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        self.inner.resume(cursor).await
    }
}

impl<L: Positions> Positions for Heard<L> {
    async fn store(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        self.inner.store(consumer, cursor).await?;
        let (consumer, cursor) = (consumer.to_owned(), cursor.clone());
        self.watch.see(Observation::Acknowledged { consumer, cursor });
        Ok(())
    }

    async fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let cursor = self.inner.load(consumer).await?;
        let (consumer, kept) = (consumer.to_owned(), cursor.clone());
        self.watch.see(Observation::Position { consumer, cursor: kept });
        Ok(cursor)
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        self.inner.list().await
    }

    async fn forget(&self, consumer: &str) -> Result<bool, Fault> {
        self.inner.forget(consumer).await
    }
}
