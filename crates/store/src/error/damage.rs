//! What of a store is damaged, and how.

use super::Error;
use commonware_codec::Error as CodecError;
use commonware_storage::journal;
use std::fmt;
use tidewatch_core::{BlockRef, Digest, Fault, Height};

/// One part of a store on disk: the partitions `PREFIX-PART`, and those that begin with it, hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Chain, runs of blocks, anchors, evidence.
    Meta,
    /// Positions of consumers.
    Consumers,
    /// The events.
    Events,
    /// Delivered blocks.
    Blocks,
    /// Digests of delivered blocks.
    Digests,
    /// Proofs of the tiers.
    Proofs,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meta => "meta",
            Self::Consumers => "consumers",
            Self::Events => "events",
            Self::Blocks => "blocks",
            Self::Digests => "digests",
            Self::Proofs => "proofs",
        })
    }
}

/// How what is on disk differs from what was written there.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Bytes under a right checksum that do not decode.
    #[error(transparent)]
    Undecodable(#[from] CodecError),
    /// Events without the header of their directory.
    #[error("the header is gone, and events are there")]
    NoHeader,
    /// No events, where other parts were written after some.
    #[error("the events are gone, and what was written after them is there")]
    NoEvents,
    /// A log that ends after events that are not there.
    #[error("the last event is gone")]
    NoLastEvent,
    /// The record of another event.
    #[error("the record is that of event {0}")]
    OtherEvent(u64),
    /// A record that a later one names as a prune.
    #[error("a later record says that it is a prune")]
    NotAPrune,
    /// A prune that names a later one as the one before it.
    #[error("the prune before it is after it")]
    PruneOrder,
    /// A delivered block of a run that is not known.
    #[error("the start of the run that {0} belongs to is gone")]
    NoRun(BlockRef),
    /// A run that starts elsewhere.
    #[error("the run starts at {found}, where {first} is the first")]
    RunStart {
        /// Where it starts.
        found: u64,
        /// The height of its first block.
        first: Height,
    },
    /// Another block than the one of this height, or of this digest.
    #[error("holds block {0}")]
    OtherBlock(BlockRef),
    /// Another digest than that of the delivered block.
    #[error("holds {found}, the last event says {delivered}")]
    OtherDigest {
        /// The digest.
        found: Digest,
        /// That of the delivered block.
        delivered: Digest,
    },
    /// Delivered blocks that are gone, a finalized one among them.
    #[error(
        "blocks up to {delivered} were delivered, those from here up are gone, and one of them is \
         finalized: restore the directory, or start a new one"
    )]
    FinalizedGone {
        /// The last delivered block.
        delivered: BlockRef,
    },
    /// The position of another consumer than the one whose place it is in.
    #[error("{0}: the position of another consumer")]
    OtherConsumer(String),
    /// A consumer's position that does not decode.
    #[error("{consumer}: {error}")]
    Position {
        /// Its name.
        consumer: String,
        /// Why it does not.
        error: CodecError,
    },
}

impl Part {
    /// What is on disk at `position` of this part is not what was written there.
    pub(crate) fn corrupt(self, position: u64, damage: impl Into<Damage>) -> Fault {
        Error::Corrupt { part: self, position, damage: damage.into() }.fault()
    }

    /// An error while opening or writing this part.
    pub(crate) fn failed(self, error: impl Into<journal::Error>) -> Fault {
        Error::Storage { part: self, position: None, error: error.into() }.fault()
    }

    /// An error of a read at `position` of this part.
    pub(crate) fn unreadable(self, position: u64, error: journal::Error) -> Fault {
        Error::Storage { part: self, position: Some(position), error }.fault()
    }
}
