//! The port to the history of events.

use crate::{BlockRef, ChainId, Cursor, Fault, Malformed, Record};
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

/// Why a cursor cannot be resumed from. Each tells its consumer something else to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// Not a cursor: it was cut, changed or made up.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A cursor of another chain.
    #[error("the cursor belongs to another chain than {ours}")]
    WrongChain {
        /// The chain of this log.
        ours: ChainId,
    },
    /// A cursor from further on than this log has come: try again later, or elsewhere.
    #[error("the cursor is ahead: it stands on block {theirs:?}, this log on {ours:?}")]
    Ahead {
        /// Where the cursor stands.
        theirs: Option<BlockRef>,
        /// Where this log stands.
        ours: Option<BlockRef>,
    },
    /// The history between the cursor and what is kept is gone: start again from `restart`.
    #[error("the history after the cursor is no longer kept: start again from {restart}")]
    TooOld {
        /// A cursor that can be resumed from.
        restart: Box<Cursor>,
    },
    /// The log could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// How a consumer goes on from its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The cursor is one of this log: read on from `next`.
    Exact {
        /// Sequence of the first event that the consumer has not handled.
        next: u64,
    },
    /// The cursor is of another log, or of a fork that is gone: handle `bridge` first, which leads
    /// from the cursor to where this log stands, then read on from `next`.
    Forked {
        /// The highest block that both sides have.
        ancestor: BlockRef,
        /// Events that are in no log: a prune where one is needed, blocks, tiers.
        bridge: Vec<Record>,
        /// Sequence of the first event after the bridge.
        next: u64,
    },
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

    /// How a consumer goes on from `cursor`. Answers without asking any source.
    fn resume(&self, cursor: &Cursor) -> impl Future<Output = Result<Resume, ResumeError>> + Send;

    /// Makes `cursor` the durable position of `consumer`; when it returns, the position survives a
    /// crash.
    fn acknowledge(
        &self,
        consumer: &str,
        cursor: &Cursor,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The durable position of `consumer`; `None` if it has acknowledged nothing.
    fn acknowledged(
        &self,
        consumer: &str,
    ) -> impl Future<Output = Result<Option<Cursor>, Fault>> + Send;
}
