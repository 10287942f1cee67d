//! Why an answer of an execution node was refused.

use super::{block::TooLong, wire::By};
use tidewatch_core::{BlockRef, Digest, FaultKind};

/// What is refused of an execution node's answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EthereumError {
    /// The node has no chain.
    #[error("the node has no latest block")]
    NoLatest,
    /// The node lacks the block that names its chain.
    #[error("the node does not have the block at height 0")]
    NoGenesis,
    /// A header that is longer than any should be.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A header that does not hash to what the node calls it.
    #[error(
        "{by} is said to be {claimed}, and its header hashes to {computed}: a lie, or a chain whose \
         headers have other fields than Ethereum's"
    )]
    WrongHash {
        /// The block that was asked for.
        by: By,
        /// The hash that the node gave.
        claimed: Digest,
        /// The hash of the header that it gave.
        computed: Digest,
    },
    /// A block of another height than was asked for.
    #[error("{by} was asked for, {got} came")]
    OtherHeight {
        /// The block that was asked for.
        by: By,
        /// The block that came.
        got: BlockRef,
    },
    /// A chain cannot be named by its number.
    #[error("{0}")]
    Name(String),
}

impl EthereumError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::NoLatest | Self::NoGenesis => FaultKind::Missing,
            Self::TooLong(_) => FaultKind::Oversized,
            Self::WrongHash { .. } => FaultKind::WrongDigest,
            Self::OtherHeight { .. } => FaultKind::WrongPosition,
            Self::Name(_) => FaultKind::Bug,
        }
    }
}
