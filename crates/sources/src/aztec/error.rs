//! Why an answer of an Aztec node was refused.

use super::{Field, Tree};
use crate::rpc::RpcError;
use tidewatch_core::{BlockRef, ChainId, FaultKind};

/// What is refused of an Aztec node's answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AztecError {
    /// A number that names the chain and is larger than any such number.
    #[error("{what} is {number}")]
    Number {
        /// What it is called.
        what: &'static str,
        /// The number.
        number: Field,
    },
    /// The node lacks the header that names its chain.
    #[error("it has no header at height 0")]
    NoGenesis,
    /// A method that the node knows by none of its names.
    #[error(
        "{what}: {error}: followed are nodes of version 4, and those of version 5 and later, which have \
         getChainTips, getBlock and getBlocks under node_ or aztec_"
    )]
    UnknownMethod {
        /// What was asked for.
        what: String,
        /// What the node said.
        error: RpcError,
    },
    /// The header of another block than was asked for.
    #[error("the header at height {want} is that of block {got}")]
    OtherHeader {
        /// The height that was asked for.
        want: u64,
        /// The height of the header that came.
        got: u64,
    },
    /// More blocks than were asked for.
    #[error("{got} blocks from {first}, of {max} at the most")]
    TooManyBlocks {
        /// How many came.
        got: usize,
        /// The first height that was asked for.
        first: u64,
        /// How many were asked for.
        max: usize,
    },
    /// A block of another height than its place says.
    #[error("block {got} where {want} was asked for")]
    OtherHeight {
        /// The height that was asked for.
        want: u64,
        /// The height of the block that came.
        got: u64,
    },
    /// A block of another chain than the one that is followed.
    #[error("block {height} is of chain {theirs}, followed is {ours}")]
    OtherChain {
        /// Its height.
        height: u64,
        /// The chain that its header names.
        theirs: ChainId,
        /// The chain that is followed.
        ours: ChainId,
    },
    /// A block that stands on another archive than the block before it leaves.
    #[error(
        "block {height} stands on the archive {} of {} leaves, the block before it leaves {} of {}",
        stands.root, stands.next, below.root, below.next
    )]
    NotLinked {
        /// Its height.
        height: u64,
        /// The archive that it stands on.
        stands: Tree,
        /// The archive that the block before it leaves.
        below: Tree,
    },
    /// Another block at height 0 than genesis.
    #[error("at height 0 it has {named}, genesis is {genesis}")]
    OtherGenesis {
        /// What the node calls it.
        named: Field,
        /// Genesis.
        genesis: BlockRef,
    },
}

impl AztecError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::Number { .. } => FaultKind::Malformed,
            Self::NoGenesis | Self::UnknownMethod { .. } => FaultKind::Unavailable,
            Self::OtherHeader { .. } | Self::OtherHeight { .. } | Self::OtherChain { .. } => {
                FaultKind::WrongPosition
            }
            Self::TooManyBlocks { .. } => FaultKind::Oversized,
            Self::NotLinked { .. } => FaultKind::NotLinked,
            Self::OtherGenesis { .. } => FaultKind::WrongDigest,
        }
    }
}
