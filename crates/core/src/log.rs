//! The ports to the history of events, and to the positions of those who read it.

use crate::{Cursor, Fault, Record, Resume, ResumeError};
use std::{future::Future, num::NonZeroUsize};

/// Why a position in the log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The event is past the log's retention.
    #[error("event {wanted} is no longer kept, the oldest is {oldest}: start again from there")]
    TooOld {
        /// The event that was asked for.
        wanted: u64,
        /// The oldest one that is kept: the point to start again from.
        oldest: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The history of events, as consumers read it: each at its own pace, none holding up another.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again.
pub trait EventLog: Clone + Send + Sync + 'static {
    /// Up to `max` consecutive records from `sequence` on; none where it is the next to come.
    fn read(
        &self,
        sequence: u64,
        max: NonZeroUsize,
    ) -> impl Future<Output = Result<Vec<Record>, LogError>> + Send;

    /// Resolves once the event `sequence` is there to read. Fails when the log is closed.
    fn wait(&self, sequence: u64) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// Where each named consumer durably is.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again; a write that was dropped may have been
/// made.
pub trait Positions: Clone + Send + Sync + 'static {
    /// The durable position of `consumer`; `None` if it has stored none, or was forgotten.
    fn load(&self, consumer: &str) -> impl Future<Output = Result<Option<Cursor>, Fault>> + Send;

    /// Makes `cursor` the durable position of `consumer`; when it returns, the position survives a
    /// crash.
    fn store(
        &self,
        consumer: &str,
        cursor: &Cursor,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Every consumer with its position, by name.
    fn list(&self) -> impl Future<Output = Result<Vec<(String, Cursor)>, Fault>> + Send;

    /// Durably removes the position of `consumer`, and says whether it had one. A consumer of that
    /// name that comes again starts as a new one.
    fn forget(&self, consumer: &str) -> impl Future<Output = Result<bool, Fault>> + Send;
}

/// All that a delivery needs: the events, the positions, and where to go on from a position.
pub trait History: EventLog + Positions {
    /// How a consumer goes on from `cursor`, without a question to any source. See
    /// [`resume`](crate::resume), which answers it.
    fn resume(&self, cursor: &Cursor) -> impl Future<Output = Result<Resume, ResumeError>> + Send;
}
