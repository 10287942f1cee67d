//! The port to a cluster.

use crate::{End, Message, Outgoing};
use bytes::Bytes;
use std::future::Future;
use tidewatch_core::Fault;

/// What a cluster answers to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is stored.
    Stored {
        /// Its place in the stream.
        sequence: u64,
        /// A message of this name was stored before, there; this one was dropped.
        duplicate: bool,
    },
    /// It is not stored.
    Refused(Refusal),
}

/// Why a cluster refused a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The stream ends elsewhere than expected (10071). The same answer comes, from a single server, to the retry of
    /// a message that was stored.
    Elsewhere,
    /// Anything else.
    Other {
        /// The code of JetStream's API.
        code: u64,
        /// For people.
        description: String,
    },
}

impl Refusal {
    /// Its code: the label of the metric.
    pub const fn code(&self) -> u64 {
        match self {
            Self::Elsewhere => 10_071,
            Self::Other { code, .. } => *code,
        }
    }
}

/// What the leader's lease looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What the next write has to expect; 0 where there was never one. After a lease that ended this is the sequence
    /// of the marker that it left, and 0 would be refused.
    pub revision: u64,
    /// What its holder wrote; `None` where nobody holds it.
    pub value: Option<Bytes>,
}

/// What a cluster answers to a write of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is written, as this revision.
    Held(u64),
    /// Somebody else wrote in between.
    Taken,
}

/// A stream of events, and the lease of its leader, at a cluster.
///
/// Every method may fail without an answer: then what it asked for may have happened, or may happen yet.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again; a write that was dropped may have been made, or may be
/// made later.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// Where the stream ends.
    fn end(&self) -> impl Future<Output = Result<End, Fault>> + Send;

    /// The message at `sequence`; `None` where there is none, or none any more.
    fn message(&self, sequence: u64)
    -> impl Future<Output = Result<Option<Message>, Fault>> + Send;

    /// Appends `message` if the stream ends at the sequence that it expects.
    fn publish(&self, message: &Outgoing) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// The lease.
    fn lease(&self) -> impl Future<Output = Result<Lease, Fault>> + Send;

    /// Writes `value` as the lease if its revision is `expected`; `None` gives it up.
    fn claim(
        &self,
        expected: u64,
        value: Option<Bytes>,
    ) -> impl Future<Output = Result<Claim, Fault>> + Send;
}
