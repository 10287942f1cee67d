//! Why a sentinel refused something, or failed.

use crate::Slot;
use commonware_storage::journal;
use tidewatch_core::{ChainId, FaultKind, Reason};

/// Everything that this crate refuses or fails with. Inside a [`Fault`](tidewatch_core::Fault),
/// [`Fault::reason`](tidewatch_core::Fault::reason) gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is of another chain.
    #[error("the sentinel's directory belongs to {found}, not to {wanted}: use another directory")]
    WrongChain {
        /// The chain that is there.
        found: ChainId,
        /// The chain that is watched.
        wanted: ChainId,
    },
    /// The directory was written by another version.
    #[error("the sentinel's directory has format {found}, this program reads {reads}")]
    Format {
        /// Its format.
        found: u8,
        /// The format that is read.
        reads: u8,
    },
    /// What is on disk does not lead to where it says.
    #[error("the sentinel's history is damaged: {0}")]
    Damaged(&'static str),
    /// A write or a read failed.
    #[error("the sentinel's history: {0}")]
    Journal(#[from] journal::Error),
    /// An access after a write that failed: what the disk holds is known only to a restart.
    #[error("closed after a write that failed or was cut off: restart to recover")]
    Closed,
    /// More slots than are kept.
    #[error("slots {from} to {to} are {slots} apart, and {kept} are kept")]
    TooWide {
        /// The first slot.
        from: Slot,
        /// The last slot.
        to: Slot,
        /// How far they are apart.
        slots: u64,
        /// How many are kept.
        kept: u64,
    },
    /// A range whose end is before its beginning.
    #[error("slots {from} to {to} are no range")]
    Reversed {
        /// The first slot.
        from: Slot,
        /// The last slot.
        to: Slot,
    },
    /// Slots that are not kept.
    #[error("slots {from} to {to} are not kept: {first} to {last} are")]
    OutOfRange {
        /// The first slot.
        from: Slot,
        /// The last slot.
        to: Slot,
        /// The first slot that is kept.
        first: Slot,
        /// The last slot that is kept.
        last: Slot,
    },
    /// A configuration that makes no sense.
    #[error("{0}")]
    Config(&'static str),
    /// The sentinel has ended.
    #[error("the sentinel has stopped")]
    Stopped,
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::WrongChain { .. } => FaultKind::WrongChain,
            Self::Format { .. } | Self::Config(_) => FaultKind::InvalidConfig,
            Self::Damaged(_) => FaultKind::CorruptRecord,
            Self::Journal(_) | Self::Closed => FaultKind::Disk,
            Self::TooWide { .. } | Self::Reversed { .. } | Self::OutOfRange { .. } => {
                FaultKind::TooOld
            }
            Self::Stopped => FaultKind::Stopped,
        }
    }
}
