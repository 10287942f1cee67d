//! Why an answer of a Miden node was refused.

use tidewatch_core::{BlockRef, Digest, FaultKind};

/// What is refused of a Miden node's answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MidenError {
    /// Addresses of one chain that take different tiers for final.
    #[error("the addresses say different things about what is final: write the same in each")]
    Mixed,
    /// A message that does not decode.
    #[error("{what} does not decode: {error}")]
    Undecodable {
        /// What was asked for.
        what: String,
        /// Where decoding it ended.
        error: String,
    },
    /// A header or a block without a part that it needs, or with one that is out of range.
    #[error("{what} has no valid {part}")]
    Unfit {
        /// What was asked for.
        what: String,
        /// The part.
        part: &'static str,
    },
    /// The node lacks the header that names its chain.
    #[error("it has no header at height 0")]
    NoGenesis,
    /// Genesis names a validator by a key that is none.
    #[error("genesis {genesis} names a validator's key that is no point of the curve")]
    NoKey {
        /// Genesis.
        genesis: BlockRef,
    },
    /// A block of another height than was asked for.
    #[error("block {got} where {want} was asked for")]
    OtherHeight {
        /// The height that was asked for.
        want: u32,
        /// The height of the block that came.
        got: u32,
    },
    /// More blocks than were asked for.
    #[error("{got} blocks from {first}, of {max} at the most")]
    TooManyBlocks {
        /// How many came.
        got: usize,
        /// The first height that was asked for.
        first: u32,
        /// How many were asked for.
        max: usize,
    },
    /// A header that names another validator's key than genesis does.
    #[error("{block} names another validator's key than genesis")]
    OtherKey {
        /// The block.
        block: BlockRef,
    },
    /// A block whose signature is not one of its commitment by the validator.
    #[error("the signature of {block} is not by the validator that genesis names")]
    NotSigned {
        /// The block.
        block: BlockRef,
    },
    /// A block that does not name the block before it as its parent.
    #[error("{block} stands on {parent}, the block before it is {below}")]
    NotLinked {
        /// The block.
        block: BlockRef,
        /// The commitment that it stands on.
        parent: Digest,
        /// The block before it.
        below: BlockRef,
    },
}

impl MidenError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::Mixed => FaultKind::InvalidConfig,
            Self::Undecodable { .. } | Self::Unfit { .. } | Self::NoKey { .. } => {
                FaultKind::Malformed
            }
            Self::NoGenesis => FaultKind::Unavailable,
            Self::OtherHeight { .. } => FaultKind::WrongPosition,
            Self::TooManyBlocks { .. } => FaultKind::Oversized,
            Self::OtherKey { .. } | Self::NotSigned { .. } => FaultKind::InvalidCertificate,
            Self::NotLinked { .. } => FaultKind::NotLinked,
        }
    }
}
