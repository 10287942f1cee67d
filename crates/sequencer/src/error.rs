//! Why sequencing refused something, or failed.

use commonware_storage::{journal, metadata};
use tidewatch_core::{BlockRef, ChainId, Digest, FaultKind, Height, Reason};

/// Everything that this crate fails with, with the values that disagree. Inside a
/// [`Fault`](tidewatch_core::Fault), [`Fault::reason`](tidewatch_core::Fault::reason) gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is of another chain.
    #[error("the sequencer's directory belongs to {found}, not to {wanted}: use another directory")]
    WrongChain {
        /// The chain that is there.
        found: ChainId,
        /// The chain that is sequenced.
        wanted: ChainId,
    },
    /// The directory was written by another version.
    #[error("the sequencer's directory has format {found}, this program reads {reads}")]
    Format {
        /// Its format.
        found: u8,
        /// The format that is read.
        reads: u8,
    },
    /// A block that does not go on the head.
    #[error("block {number} over {parent} does not go on the head {head}")]
    NotNext {
        /// Its number.
        number: Height,
        /// Its parent.
        parent: Digest,
        /// The head.
        head: BlockRef,
    },
    /// A block that is below its parent in time.
    #[error("block {number} has the time {time_ms} ms, its parent {parent_ms} ms")]
    BackInTime {
        /// Its number.
        number: Height,
        /// Its time.
        time_ms: u64,
        /// The parent's.
        parent_ms: u64,
    },
    /// A block that is on disk no more, or not yet.
    #[error("the chain has no block {number}, its head is {head}")]
    NoBlock {
        /// The number.
        number: Height,
        /// The head.
        head: BlockRef,
    },
    /// The chain's record is not one genesis and the blocks over it.
    #[error(
        "the chain's record is damaged: line {0} is not the genesis that it begins with, or a block after that"
    )]
    Chain(u64),
    /// The pool's record does not add up.
    #[error("the pool's record is damaged: {0}")]
    Pool(String),
    /// A write or a read of a journal failed.
    #[error("{what}: {error}")]
    Journal {
        /// The pool, or the chain.
        what: &'static str,
        /// Why.
        error: journal::Error,
    },
    /// A write or a read of what was published failed.
    #[error("the record of what was published: {0}")]
    Metadata(#[from] metadata::Error),
    /// An access after a write that failed: what the disk holds is known only to a restart.
    #[error("closed after a write that failed or was cut off: restart to recover")]
    Closed,
    /// A port did not answer in time.
    #[error("no answer to {call} within {limit:?}")]
    NoAnswer {
        /// What was called.
        call: &'static str,
        /// The deadline.
        limit: std::time::Duration,
    },
    /// Nothing came over a connection, not even a sign of life.
    #[error("the stream of preblocks was silent for {0:?}")]
    HalfOpen(std::time::Duration),
    /// The network ended the stream.
    #[error("the stream of preblocks ended")]
    Ended,
    /// The actor has ended.
    #[error("the sequencer has stopped")]
    Stopped,
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::WrongChain { .. } => FaultKind::WrongChain,
            Self::Format { .. } => FaultKind::InvalidConfig,
            Self::NotNext { .. } | Self::BackInTime { .. } => FaultKind::NotLinked,
            Self::NoBlock { .. } => FaultKind::Missing,
            Self::Chain(_) | Self::Pool(_) => FaultKind::CorruptRecord,
            Self::Journal { .. } | Self::Metadata(_) | Self::Closed => FaultKind::Disk,
            Self::NoAnswer { .. } | Self::HalfOpen(_) => FaultKind::Timeout,
            Self::Ended => FaultKind::Unreachable,
            Self::Stopped => FaultKind::Stopped,
        }
    }
}
