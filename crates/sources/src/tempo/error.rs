//! Why a node of Tempo was refused.

use super::block::Unfit;
use tidewatch_core::{Digest, FaultKind, Height};

/// What is refused of a node of Tempo before anything is verified, and what cannot be configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TempoError {
    /// There is no endpoint.
    #[error("there is no endpoint to follow")]
    NoEndpoint,
    /// A genesis file that is none of Tempo's.
    #[error("the genesis file cannot be used: {0}")]
    Genesis(String),
    /// A genesis file that cannot be read from the disk.
    #[error("the genesis file cannot be read: {0}")]
    GenesisFile(String),
    /// The node has no archive of certificates yet.
    #[error("{what}: the node is not ready")]
    NotReady {
        /// What was asked for.
        what: String,
    },
    /// A certificate that is not hex.
    #[error("{what}: its certificate is not hex")]
    NotHex {
        /// What was asked for.
        what: String,
    },
    /// A header that lacks a field, or has a wrong one.
    #[error("{what} has no header of Tempo ({error})")]
    NoHeader {
        /// What was asked for.
        what: String,
        /// Where reading it ended.
        error: String,
    },
    /// A header that is none of a block.
    #[error("{what}: {why}")]
    Unfit {
        /// What was asked for.
        what: String,
        /// Why not.
        why: Unfit,
    },
    /// A header that hashes to something else than its node calls it.
    #[error(
        "{what} is called {claimed} and hashes to {computed}: a field is wrong, or not known here"
    )]
    WrongHash {
        /// What was asked for.
        what: String,
        /// The hash that the node names.
        claimed: Digest,
        /// The hash of what it sent.
        computed: Digest,
    },
    /// A certified block of another height than the one that was asked for.
    #[error("{what}: the block is at height {got}")]
    OtherHeight {
        /// What was asked for.
        what: String,
        /// The height of what was sent.
        got: Height,
    },
    /// A node that pushes nothing, because it is asked over HTTP.
    #[error("it is asked over HTTP, which has no pushes")]
    NoPush,
}

impl TempoError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::NoEndpoint | Self::Genesis(_) | Self::GenesisFile(_) => FaultKind::InvalidConfig,
            Self::NotReady { .. } | Self::NoPush => FaultKind::Unavailable,
            Self::Unfit { why: Unfit::TooLong(_), .. } => FaultKind::Oversized,
            Self::NotHex { .. } | Self::NoHeader { .. } | Self::Unfit { .. } => {
                FaultKind::Malformed
            }
            Self::WrongHash { .. } => FaultKind::WrongDigest,
            Self::OtherHeight { .. } => FaultKind::WrongPosition,
        }
    }
}
