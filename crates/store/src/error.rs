//! Why a store refused something, or failed.

use commonware_codec::Error as CodecError;
use commonware_runtime::Error as RuntimeError;
use commonware_storage::{journal, metadata};
use std::{
    fmt, io,
    sync::{Arc, OnceLock},
};
use tidewatch_core::{
    BlockRef, ChainId, ChainInfo, Digest, Fault, FaultKind, HEIGHT_LIMIT, Height, Reason, Tier,
};

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

/// How a change violates the rules of a view. A driver that keeps to the pass never gets one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A change of blocks without blocks.
    #[error("no blocks in a change of blocks")]
    NoBlocks,
    /// A tip with the proof of another block.
    #[error("a proof of another block came with {tier} tip {tip}")]
    OtherProof {
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
    },
    /// A block that is not above the delivered one.
    #[error("block {block} is not above the delivered block {delivered}")]
    NotAbove {
        /// The block.
        block: BlockRef,
        /// The delivered one.
        delivered: BlockRef,
    },
    /// Another block at the height of genesis.
    #[error("block {block} is not the genesis block {genesis}")]
    OtherGenesis {
        /// The block.
        block: BlockRef,
        /// Genesis.
        genesis: BlockRef,
    },
    /// A block that does not stand on the one below it.
    #[error("block {block} with parent {parent} does not stand on {below}")]
    Unlinked {
        /// The block.
        block: BlockRef,
        /// Its parent's digest.
        parent: Digest,
        /// The block below it.
        below: BlockRef,
    },
    /// A block so high that no block could follow.
    #[error("a block at or above height {HEIGHT_LIMIT}")]
    TooHigh,
    /// A prune to a block above the head.
    #[error("a prune to {to}, which is above the head")]
    PruneUp {
        /// Where it goes.
        to: BlockRef,
    },
    /// A prune to another block than the one that is here.
    #[error("a prune to {to}, where this view has {ours}")]
    PruneBeside {
        /// Where it goes.
        to: BlockRef,
        /// The block here.
        ours: BlockRef,
    },
    /// A prune with tips of an older version.
    #[error("a prune to {to} with tips older than the announced ones")]
    PruneOlder {
        /// Where it goes.
        to: BlockRef,
    },
    /// A prune that leaves a tip above it.
    #[error("a prune to {to} leaves the {tier} tip at {tip}")]
    PruneBelow {
        /// Where it goes.
        to: BlockRef,
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
    },
    /// A prune below what is finalized.
    #[error("a prune to {to} takes back finalized {finalized}")]
    PruneFinalized {
        /// Where it goes.
        to: BlockRef,
        /// The finalized block.
        finalized: BlockRef,
    },
    /// A tip above the delivered block.
    #[error("{tier} tip {tip} is above the delivered block {delivered}")]
    TipAbove {
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
        /// The delivered block.
        delivered: BlockRef,
    },
    /// Finality that moves back, or to another block.
    #[error("finalized moves from {from} to {to}")]
    Finalized {
        /// The finalized block.
        from: BlockRef,
        /// Where it would move to.
        to: BlockRef,
    },
    /// A tier that moves the other way than its event says.
    #[error("{tier} moves {} from {from} to {to}", if *back { "back" } else { "up" })]
    WrongWay {
        /// The tier.
        tier: Tier,
        /// Whether the event says that it moves back.
        back: bool,
        /// Its tip.
        from: BlockRef,
        /// Where it would move to.
        to: BlockRef,
    },
}

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
    #[error("{part}{}: {error}", position.map(|at| format!(" at {at}")).unwrap_or_default())]
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

impl Error {
    /// The system's own error, where a call of the system failed.
    pub fn system(&self) -> Option<&io::Error> {
        use RuntimeError as E;
        match self.runtime()? {
            E::BlobOpenFailed(.., error)
            | E::BlobResizeFailed(.., error)
            | E::BlobSyncFailed(.., error)
            | E::Io(error) => Some(error),
            _ => None,
        }
    }

    fn runtime(&self) -> Option<&RuntimeError> {
        use journal::Error as E;
        let Self::Storage { error, .. } = self else { return None };
        match error {
            E::Runtime(error) | E::Metadata(metadata::Error::Runtime(error)) => Some(error),
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

impl Error {
    /// The fault of a store that reports this.
    pub(crate) fn fault(self) -> Fault {
        Fault::new("store", self)
    }
}

impl Breach {
    /// The fault of a store that was given such a change.
    pub(crate) fn fault(self) -> Fault {
        Error::Breach(self).fault()
    }
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
            (RuntimeError::Io(Arc::new(full())), "events: runtime error: io error: "),
            (
                RuntimeError::BlobSyncFailed(blob.0, blob.1, Arc::new(full())),
                "events: runtime error: blob sync failed: tidewatch-events_data/00 error: ",
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
