//! Why proving refused something, or failed.

use crate::{
    epochs::NotStarted,
    plan::{NoJob, NotAdded, NotNested},
};
use commonware_storage::{journal, metadata};
use tidewatch_core::{BlockRef, ChainId, Digest, FaultKind, Reason};

/// Everything that this crate refuses or fails with, with the values that disagree. Inside a
/// [`Fault`](tidewatch_core::Fault), [`Fault::reason`](tidewatch_core::Fault::reason) gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is of another chain.
    #[error("the proving directory belongs to {found}, not to {wanted}: use another directory")]
    WrongChain {
        /// The chain that is there.
        found: ChainId,
        /// The chain that is to be proven.
        wanted: ChainId,
    },
    /// The directory is of another program: its proofs prove something else.
    #[error("the proving directory is of program {found}, not of {wanted}: use another directory")]
    WrongProgram {
        /// The program that is there.
        found: Digest,
        /// The program that is to be proven with.
        wanted: Digest,
    },
    /// The directory was written by another version.
    #[error("the proving directory has format {found}, this program reads {reads}")]
    Format {
        /// Its format.
        found: u8,
        /// The format that is read.
        reads: u8,
    },
    /// A file is not what was written: cut off, or changed.
    #[error("{what} of block {block} are damaged on disk")]
    Damaged {
        /// Inputs or a proof.
        what: &'static str,
        /// The block.
        block: BlockRef,
    },
    /// The table of jobs does not lead to where it says.
    #[error("the table of jobs is damaged: {0}")]
    Table(NotAdded),
    /// A write or a read of a file failed.
    #[error("{what}: {error}")]
    File {
        /// Inputs, proofs.
        what: &'static str,
        /// Why.
        error: commonware_runtime::Error,
    },
    /// A write or a read of the table failed.
    #[error("the table of jobs: {0}")]
    Journal(#[from] journal::Error),
    /// A write or a read of what sessions keep failed.
    #[error("the table of sessions: {0}")]
    Metadata(#[from] metadata::Error),
    /// An access after a write that failed: what the disk holds is known only to a restart.
    #[error("closed after a write that failed or was cut off: restart to recover")]
    Closed,
    /// More bytes than one file may have.
    #[error("{what} of block {block} have {bytes} bytes, of {max} at the most")]
    Oversized {
        /// Inputs or a proof.
        what: &'static str,
        /// The block.
        block: BlockRef,
        /// How many.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A block that cannot be added.
    #[error(transparent)]
    NotAdded(#[from] NotAdded),
    /// A session that somebody asked for was not begun.
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    /// A request about a block that is not wanted.
    #[error(transparent)]
    NoJob(#[from] NoJob),
    /// A proof that an operator supplied does not verify.
    #[error("the proof does not prove block {block}: {reason}")]
    Rejected {
        /// The block.
        block: BlockRef,
        /// What the program says.
        reason: String,
    },
    /// Two deadlines in an order in which one makes the other useless.
    #[error(transparent)]
    NotNested(#[from] NotNested),
    /// Two provers have one name: the handles on disk would belong to both.
    #[error("two provers are called {0}")]
    SameName(String),
    /// The scheduler has ended.
    #[error("the scheduler has stopped")]
    Stopped,
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::WrongChain { .. } => FaultKind::WrongChain,
            Self::WrongProgram { .. }
            | Self::Format { .. }
            | Self::NotNested(_)
            | Self::SameName(_) => FaultKind::InvalidConfig,
            Self::Damaged { .. } | Self::Table(_) => FaultKind::CorruptRecord,
            Self::File { .. } | Self::Journal(_) | Self::Metadata(_) | Self::Closed => {
                FaultKind::Disk
            }
            Self::Oversized { .. } => FaultKind::Oversized,
            Self::NotAdded(NotAdded::Other { .. } | NotAdded::Unlinked { .. }) => {
                FaultKind::NotLinked
            }
            Self::NotAdded(NotAdded::Gap { .. }) => FaultKind::Missing,
            Self::NoJob(_) | Self::NotStarted(_) => FaultKind::Missing,
            Self::Rejected { .. } => FaultKind::InvalidCertificate,
            Self::Stopped => FaultKind::Stopped,
        }
    }
}
