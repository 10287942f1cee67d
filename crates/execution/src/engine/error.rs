//! Why a payload was not made, or an execution client not asked.

use tidewatch_core::{BlockRef, Digest, FaultKind, Reason};

/// What is refused on the way to an execution client and back, with the values that disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A header of a fork that this does not know.
    #[error("block {0} is of a fork whose payloads are not known here")]
    UnknownFork(BlockRef),
    /// A block with requests of the execution layer to the consensus layer, which stand in no answer of a node.
    #[error(
        "block {0} has execution requests (EIP-7685): its header has their hash alone, and no node tells \
         the requests themselves"
    )]
    Requests(BlockRef),
    /// A payload that hashes to something else than the verified header.
    #[error("the payload of {block} hashes to {computed}")]
    OtherPayload {
        /// The block.
        block: BlockRef,
        /// The hash of the payload; zero where it has none.
        computed: Digest,
    },
    /// A payload that cannot be written.
    #[error("the payload cannot be written: {0}")]
    NotJson(String),
    /// The client lets nobody in with this secret.
    #[error("{said}: the secret is another one than the client was started with")]
    Denied {
        /// The HTTP status, and its words.
        said: String,
    },
    /// The client lets nobody in because the two clocks differ.
    #[error(
        "{said}: the client's clock is {seconds} seconds {} this machine's, and tokens are good for 60: set both \
         clocks", if *.ahead { "ahead of" } else { "behind" }
    )]
    Clock {
        /// The HTTP status, and its words.
        said: String,
        /// How far they are apart.
        seconds: u64,
        /// Whether the client's is ahead.
        ahead: bool,
    },
    /// The client has no head.
    #[error("the client has no latest block")]
    NoHead,
}

impl Reason for EngineError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::UnknownFork(_) | Self::Requests(_) | Self::Denied { .. } => {
                FaultKind::InvalidConfig
            }
            Self::OtherPayload { .. } => FaultKind::WrongDigest,
            Self::NotJson(_) => FaultKind::Bug,
            Self::Clock { .. } => FaultKind::Unavailable,
            Self::NoHead => FaultKind::Missing,
        }
    }
}
