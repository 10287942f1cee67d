//! Why the nodes of a rollup were refused.

use tidewatch_core::{BlockRef, ChainId, Digest, FaultKind};

/// What is refused of a rollup node, or of it and its execution node beside each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptimismError {
    /// Addresses that choose different heads for the same tier.
    #[error("it chooses other heads than the first address: let all choose the same")]
    OtherHeads,
    /// The execution node's chain ends below a head of the rollup node.
    #[error("the execution node has yet to come to {head}")]
    Ahead {
        /// The head.
        head: BlockRef,
    },
    /// The nodes have different blocks at one height.
    #[error("the rollup node has {head}, the execution node {at} at that height")]
    Diverged {
        /// The rollup node's.
        head: BlockRef,
        /// The execution node's.
        at: Digest,
    },
    /// The execution node has no block at a height below its own tip.
    #[error("the execution node has no block at {head}")]
    Hole {
        /// The rollup node's block there.
        head: BlockRef,
    },
    /// The nodes are of different chains.
    #[error(
        "the rollup node is of {rollup} beginning at {begins}, the execution node of {execution} with \
         {} there: check the address after el=",
        .there.map_or("no block".into(), |block| block.to_string())
    )]
    OtherExecution {
        /// The rollup node's chain.
        rollup: ChainId,
        /// The block that it begins at.
        begins: BlockRef,
        /// The execution node's chain.
        execution: ChainId,
        /// The execution node's block at that height.
        there: Option<BlockRef>,
    },
}

impl OptimismError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::OtherHeads => FaultKind::InvalidConfig,
            Self::Ahead { .. } => FaultKind::Behind,
            Self::Diverged { .. } => FaultKind::Torn,
            Self::Hole { .. } => FaultKind::Missing,
            Self::OtherExecution { .. } => FaultKind::WrongChain,
        }
    }
}
