//! Why a development chain could not be made, started or driven.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};
use tidewatch_core::{FaultKind, Height};

/// Why a development chain could not be made, started or driven.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error("{setting} is {value}, but must be {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// No committee could be dealt.
    #[error("dealing a committee of {members} from seed {seed} failed: {reason}")]
    Committee {
        /// Members asked for.
        members: u32,
        /// Seed of the keys.
        seed: u64,
        /// What was wrong.
        reason: String,
    },
    /// A loopback port could not be opened.
    #[error("{address} could not be opened: {source}")]
    Bind {
        /// The address asked for; port 0 lets the system choose.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The storage directory cannot be used.
    #[error("storage directory {}: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("thread {name} could not be started: {source}")]
    Thread {
        /// The thread's name.
        name: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The validators ended although nobody stopped them.
    #[error("validators ended: {reason}")]
    Ended {
        /// The first reason.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// A height that the chain does not have.
    #[error("height {height} is not on the chain, which holds 1 to {tip}")]
    UnknownHeight {
        /// The height asked for.
        height: Height,
        /// The chain's tip.
        tip: Height,
    },
    /// A chain was offered to a server of another mode.
    #[error("the chain has {chain} certificates, the server serves {server} ones")]
    WrongMode {
        /// Mode of the chain.
        chain: &'static str,
        /// Mode of the server.
        server: &'static str,
    },
    /// The indexer refused what it was given.
    #[error("the indexer refused height {height}: {reason}")]
    Refused {
        /// Height of the block.
        height: Height,
        /// The indexer's reason.
        reason: &'static str,
    },
}

impl Error {
    /// What kind of fault this is to a follower that embeds the chain.
    pub const fn fault(&self) -> FaultKind {
        match self {
            Self::Setting { .. } | Self::UnknownHeight { .. } | Self::WrongMode { .. } => {
                FaultKind::InvalidConfig
            }
            Self::Committee { .. } | Self::Refused { .. } => FaultKind::Bug,
            Self::Directory { .. } => FaultKind::Disk,
            Self::Bind { .. } | Self::Thread { .. } | Self::Ended { .. } => FaultKind::Unavailable,
            Self::Timeout { .. } => FaultKind::Timeout,
        }
    }
}
