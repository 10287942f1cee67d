//! Why a store refused something, or failed.

mod breach;
mod damage;

pub use breach::Breach;
pub use damage::{Damage, Part};

use commonware_runtime::Error as RuntimeError;
use commonware_storage::{journal, metadata};
use std::{
    io,
    sync::{Arc, OnceLock},
};
use tidewatch_core::{BlockRef, ChainId, ChainInfo, Fault, FaultKind, Reason, Tier};

/// Everything that a store refuses or fails with, with the values that disagree. Inside a
/// [`Fault`], [`Fault::reason`] gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is of another chain.
    #[error(
        "the data directory belongs to {} with genesis {}, the source to {} with genesis {}: use \
         another directory",
        found.id, found.genesis, wanted.id, wanted.genesis
    )]
    WrongChain {
        /// The chain that is there.
        found: ChainInfo,
        /// The chain that is to be followed.
        wanted: ChainInfo,
    },
    /// The directory has another format.
    #[error("the data directory has format {found}, written by {}", other_format(*.found, *.reads))]
    Format {
        /// Its format.
        found: u8,
        /// The format that is read.
        reads: u8,
    },
    /// What is on disk is not what was written there.
    #[error("{part} at {position}: {damage}")]
    Corrupt {
        /// Where.
        part: Part,
        /// The position in it.
        position: u64,
        /// What is there instead.
        damage: Damage,
    },
    /// The disk, or the system, refused an access; or its bytes fail their checksum.
    #[error("{part}{}: {}", position.map(|at| format!(" at {at}")).unwrap_or_default(), words(.error))]
    Storage {
        /// Which part.
        part: Part,
        /// The position that was to be read; `None` where the part was opened or written.
        position: Option<u64>,
        /// Why: [`Error::system`] is the system's own error, where there is one.
        error: journal::Error,
    },
    /// An access after a write that failed: what the disk holds is known only to a restart.
    #[error("closed after a write that failed or was cut off: restart to recover")]
    Closed,
    /// The writer of a log in memory is gone.
    #[error("the log is gone")]
    Gone,
    /// Memory was not ready at once.
    #[error("memory waited")]
    MemoryWaited,
    /// A change that the rules forbid.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// A tip beside the delivered chain: the source moved in between.
    #[error("{tier} tip {tip} is not on the delivered chain, which has {ours}")]
    OffChain {
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
        /// The delivered block at its height.
        ours: BlockRef,
    },
    /// A consumer's name that is empty or too long.
    #[error("a consumer's name must have 1 to {max} bytes")]
    ConsumerName {
        /// The limit.
        max: usize,
    },
    /// A cursor of another chain.
    #[error("acknowledged a cursor of another chain than {chain}")]
    ForeignCursor {
        /// The chain of the log.
        chain: ChainId,
    },
    /// A cursor that counts more events than the log has.
    #[error("acknowledged {handled} events of a log that has {end}")]
    CursorAhead {
        /// Events that the cursor counts.
        handled: u64,
        /// Events that the log has.
        end: u64,
    },
    /// No room for the position of another consumer.
    #[error("{max} consumers have positions already: forget one, or reuse its name")]
    TooManyConsumers {
        /// The limit.
        max: usize,
    },
}

fn other_format(found: u8, reads: u8) -> String {
    if found < reads {
        format!(
            "an earlier version; this one reads format {reads}: name another directory, or move \
             this one aside"
        )
    } else {
        format!(
            "a later version; this one reads format {reads}: use the version that wrote it, or \
             name another directory"
        )
    }
}

/// What `error` says, without the names of layers and of Rust values.
fn words(error: &journal::Error) -> String {
    use RuntimeError as E;
    match runtime(error) {
        Some(E::BlobLayoutMismatch { .. } | E::BlobVersionMismatch { .. }) => {
            "its files were written by another version".into()
        }
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

fn runtime(error: &journal::Error) -> Option<&RuntimeError> {
    use journal::Error as E;
    match error {
        E::Runtime(error) | E::Metadata(metadata::Error::Runtime(error)) => Some(error),
        _ => None,
    }
}

impl Error {
    /// The system's own error, where a call of the system failed.
    pub fn system(&self) -> Option<&io::Error> {
        use RuntimeError as E;
        let Self::Storage { error, .. } = self else { return None };
        match runtime(error)? {
            E::BlobOpenFailed(.., error)
            | E::BlobResizeFailed(.., error)
            | E::BlobSyncFailed(.., error)
            | E::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::WrongChain { .. } | Self::ForeignCursor { .. } => FaultKind::WrongChain,
            Self::Format { .. } | Self::ConsumerName { .. } | Self::TooManyConsumers { .. } => {
                FaultKind::InvalidConfig
            }
            Self::Corrupt { .. } => FaultKind::CorruptRecord,
            Self::Storage { error, .. } => storage_kind(error),
            Self::Closed => FaultKind::Disk,
            Self::Gone => FaultKind::Stopped,
            Self::MemoryWaited | Self::Breach(_) | Self::CursorAhead { .. } => FaultKind::Bug,
            Self::OffChain { .. } => FaultKind::Torn,
        }
    }
}

fn storage_kind(error: &journal::Error) -> FaultKind {
    use journal::Error as E;
    if let Some(error) = runtime(error) {
        return runtime_kind(error);
    }
    match error {
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

impl Error {
    /// The fault of a store that reports this.
    pub(crate) fn fault(self) -> Fault {
        Fault::new("store", self)
    }
}

/// Why a store is closed. Clones say the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause(Arc<OnceLock<Fault>>);

impl Cause {
    /// A write failed. The first one to fail is the cause.
    pub(crate) fn note(&self, fault: &Fault) {
        let _ = self.0.set(fault.clone());
    }

    /// What every call gets once a write has failed: the fault of that write, whoever asks first. Of one
    /// that was cut off, nobody knows more.
    pub(crate) fn fault(&self) -> Fault {
        self.0.get().cloned().unwrap_or_else(|| Error::Closed.fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_store_gives_back_its_part_and_the_error_of_the_system() {
        let full = || io::Error::from_raw_os_error(28);
        let blob = ("tidewatch-events_data".into(), "00".into());
        for (error, told) in [
            (RuntimeError::Io(Arc::new(full())), "events: io error: "),
            (
                RuntimeError::BlobSyncFailed(blob.0, blob.1, Arc::new(full())),
                "events: blob sync failed: tidewatch-events_data/00 error: ",
            ),
        ] {
            let fault = Part::Events.failed(error);
            assert_eq!((fault.kind, fault.detail), (FaultKind::Disk, format!("{told}{}", full())));
        }
        let fault = Part::Events.failed(RuntimeError::Io(Arc::new(full())));
        let Some(error @ Error::Storage { part: Part::Events, position: None, .. }) =
            fault.reason()
        else {
            panic!("{fault:?}")
        };
        assert_eq!(error.system().and_then(io::Error::raw_os_error), Some(28));
        let damaged = Part::Blocks.unreadable(7, RuntimeError::InvalidChecksum.into());
        assert_eq!(damaged.kind, FaultKind::CorruptRecord);
        assert!(damaged.reason::<Error>().is_some_and(|error| error.system().is_none()));
    }
}
