//! Errors of a development chain.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};
use tidewatch_core::{FaultKind, Height};

/// Error of creating, starting or controlling a development chain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is invalid.
    #[error("{setting} is {value}, but must be {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Description of the valid values.
        expected: String,
    },
    /// The committee's keys could not be dealt.
    #[error("dealing a committee of {members} from seed {seed} failed: {reason}")]
    Committee {
        /// Requested number of members.
        members: u32,
        /// Seed of the keys.
        seed: u64,
        /// Reason of the failure.
        reason: String,
    },
    /// A loopback port could not be bound.
    #[error("{address} could not be bound: {source}")]
    Bind {
        /// Requested address; port 0 lets the system choose.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The storage directory cannot be used.
    #[error("storage directory {}: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("thread {name} could not be started: {source}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The validators ended, although they were not stopped.
    #[error("validators ended: {reason}")]
    Ended {
        /// Reason of the first validator that ended.
        reason: String,
    },
    /// The ordering network cannot use its storage.
    #[error("the ordering network's storage: {reason}")]
    Ordering {
        /// Reason of the failure.
        reason: String,
    },
    /// An operation exceeded its deadline.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// The operation.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The chain has no block at the height.
    #[error("height {height} is not on the chain, which has heights 1 to {tip}")]
    UnknownHeight {
        /// Requested height.
        height: Height,
        /// Tip of the chain.
        tip: Height,
    },
    /// The chain and the server have different certificate modes.
    #[error("the chain has {chain} certificates, the server serves {server} certificates")]
    WrongMode {
        /// Mode of the chain.
        chain: &'static str,
        /// Mode of the server.
        server: &'static str,
    },
    /// The indexer rejected a submission.
    #[error("the indexer rejected height {height}: {reason}")]
    Refused {
        /// Height of the block.
        height: Height,
        /// Reason given by the indexer.
        reason: &'static str,
    },
}

impl Error {
    /// Kind of the fault that a follower with an embedded devnet reports for this error.
    pub const fn fault(&self) -> FaultKind {
        match self {
            Self::Setting { .. } | Self::UnknownHeight { .. } | Self::WrongMode { .. } => {
                FaultKind::InvalidConfig
            }
            Self::Committee { .. } | Self::Refused { .. } => FaultKind::Bug,
            Self::Directory { .. } | Self::Ordering { .. } => FaultKind::Disk,
            Self::Bind { .. } | Self::Thread { .. } | Self::Ended { .. } => FaultKind::Unavailable,
            Self::Timeout { .. } => FaultKind::Timeout,
        }
    }
}
