//! Storage errors as faults that name the part and the position.

use commonware_runtime::Error as RuntimeError;
use commonware_storage::{journal, metadata};
use std::fmt;
use tidewatch_core::{Fault, FaultKind};

/// One part of a store on disk, as faults name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Meta,
    Consumers,
    Events,
    Blocks,
    Digests,
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

impl Part {
    /// What is on disk at `position` of this part is not what was written there.
    pub(super) fn corrupt(self, position: u64, detail: impl fmt::Display) -> Fault {
        let detail = format!("{self} at {position}: {detail}");
        FaultKind::CorruptRecord.fault("store", detail)
    }

    /// An error while opening or writing this part.
    pub(super) fn failed(self, error: impl Into<journal::Error>) -> Fault {
        let error = error.into();
        kind(&error).fault("store", format!("{self}: {error}"))
    }

    /// An error of a read at `position` of this part.
    pub(super) fn unreadable(self, position: u64, error: &journal::Error) -> Fault {
        kind(error).fault("store", format!("{self} at {position}: {error}"))
    }
}

/// What every call gets once a write has failed: what the disk holds is known only to a restart.
pub(super) fn closed() -> Fault {
    FaultKind::Disk
        .fault("store", "closed after a write that failed or was cut off: restart to recover")
}

fn kind(error: &journal::Error) -> FaultKind {
    use journal::Error as E;
    match error {
        E::Runtime(error) | E::Metadata(metadata::Error::Runtime(error)) => runtime_kind(error),
        E::ItemTooLarge(_)
        | E::ValueTooLarge
        | E::EmptyAppend
        | E::SizeOverflow
        | E::InvalidRewind(_)
        | E::InvalidConfiguration(_) => FaultKind::Bug,
        _ => FaultKind::CorruptRecord,
    }
}

fn runtime_kind(error: &RuntimeError) -> FaultKind {
    use RuntimeError as E;
    match error {
        E::InvalidChecksum
        | E::OffsetOverflow
        | E::BlobInsufficientLength
        | E::BlobMissing(..)
        | E::BlobCorrupt(..)
        | E::PartitionCorrupt(_) => FaultKind::CorruptRecord,
        E::PartitionNameInvalid(_)
        | E::BlobLayoutMismatch { .. }
        | E::BlobVersionMismatch { .. } => FaultKind::InvalidConfig,
        _ => FaultKind::Disk,
    }
}
