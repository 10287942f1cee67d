//! Why an upstream Tidewatch was refused.

use tidewatch_core::{BlockRef, FaultKind, Height};

/// What is refused of an upstream before its chain's own checks, or what it cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum TideError {
    /// An answer that is no answer to the question.
    #[error("{path}: {error}")]
    Answer {
        /// What was asked for, without parameters.
        path: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// Nothing is at the path.
    #[error("answers, but has no {path}: no Tidewatch with --serve, or an older one")]
    NotTidewatch {
        /// The path.
        path: &'static str,
    },
    /// The chain has certificates, and there is nothing to verify them against.
    #[error("the upstream follows {chain}, which is certified: name the network's --identity")]
    NoIdentity {
        /// The chain.
        chain: String,
    },
    /// The chain has certificates that no Tidewatch serves yet.
    #[error(
        "the upstream follows {chain}, whose certificates it does not serve: follow the chain from its own nodes"
    )]
    NoCertificates {
        /// The chain.
        chain: String,
    },
    /// The chain is another one than the identity says.
    #[error("the upstream follows {theirs}, which is not the chain of this identity")]
    OtherChain {
        /// The upstream's.
        theirs: String,
    },
    /// No family of this build has such a chain.
    #[error("the upstream follows {chain}, which this build cannot read")]
    UnknownChain {
        /// The chain.
        chain: String,
    },
    /// The upstream went over to another chain.
    #[error("the upstream follows {theirs} now, it followed {ours}")]
    Switched {
        /// What it was opened for.
        ours: String,
        /// What it follows.
        theirs: String,
    },
    /// The upstream moved away from a tip that it named.
    #[error("the upstream's chain does not go through {tip} any more")]
    Moved {
        /// The tip.
        tip: BlockRef,
    },
    /// A block that does not decode, or not to what its digest says.
    #[error("the block at {height}: {error}")]
    Block {
        /// The height that was asked for.
        height: Height,
        /// Why not.
        error: String,
    },
}

impl TideError {
    /// Its public kind.
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Answer { .. } | Self::Block { .. } => FaultKind::Malformed,
            Self::NotTidewatch { .. } => FaultKind::Unavailable,
            Self::NoIdentity { .. } | Self::NoCertificates { .. } | Self::UnknownChain { .. } => {
                FaultKind::InvalidConfig
            }
            Self::OtherChain { .. } | Self::Switched { .. } => FaultKind::WrongChain,
            Self::Moved { .. } => FaultKind::Torn,
        }
    }
}
