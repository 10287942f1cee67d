//! Why an answer of an execution node was refused.

use super::{block::TooLong, json::Fields, wire::By};
use tidewatch_core::{BlockRef, Digest, FaultKind, Height};

/// What is refused of an execution node's answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EthereumError {
    /// The node has no chain.
    #[error("the node has no latest block")]
    NoLatest,
    /// A header that is longer than any should be.
    #[error("{by} has {long}")]
    TooLong {
        /// The block that was asked for.
        by: By,
        /// How long it is.
        long: TooLong,
    },
    /// A header that does not hash to what the node calls it.
    #[error(
        "{by} is said to be {claimed}, and its header hashes to {computed}: the answer is wrong, or the \
         chain hashes its headers {fields}"
    )]
    WrongHash {
        /// The block that was asked for.
        by: By,
        /// The hash that the node gave.
        claimed: Digest,
        /// The hash of the header that it gave, by Ethereum's rule.
        computed: Digest,
        /// What nobody here knows of that header.
        fields: Fields,
    },
    /// A header that lacks fields of Ethereum's, and is of no other chain whose rule is known.
    #[error(
        "{by} is said to be {claimed}, which cannot be checked: the chain hashes its headers {fields}"
    )]
    NoRule {
        /// The block that was asked for.
        by: By,
        /// The hash that the node gave.
        claimed: Digest,
        /// What nobody here knows of that header.
        fields: Fields,
    },
    /// The node has no blocks as old as one that was asked for.
    #[error(
        "it has no blocks from {from} to {}: its history begins at {begins}. Start there or above \
         (--start {begins}), or follow a node that keeps older blocks",
        begins.get().saturating_sub(1)
    )]
    HistoryBegins {
        /// The first block that was asked for.
        from: Height,
        /// The oldest block that it has.
        begins: Height,
    },
    /// A block of another height than was asked for.
    #[error("{by} was asked for, {got} came")]
    OtherHeight {
        /// The block that was asked for.
        by: By,
        /// The block that came.
        got: BlockRef,
    },
    /// The node does not have the body of a block whose header it gave.
    #[error("it has no body of {0}")]
    NoBody(BlockRef),
    /// A body that is not the one which the header commits to.
    #[error(
        "the {part} of {block} have the root {computed}, and its header has {header}: this is another \
         block's body"
    )]
    OtherBody {
        /// The block.
        block: BlockRef,
        /// What of it.
        part: &'static str,
        /// The root of what came.
        computed: Digest,
        /// The root in the verified header; zero where that has none.
        header: Digest,
    },
    /// A chain cannot be named by its number.
    #[error("{0}")]
    Name(String),
}

impl EthereumError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::NoLatest | Self::HistoryBegins { .. } | Self::NoBody(_) => FaultKind::Missing,
            Self::TooLong { .. } => FaultKind::Oversized,
            Self::WrongHash { .. } | Self::NoRule { .. } | Self::OtherBody { .. } => {
                FaultKind::WrongDigest
            }
            Self::OtherHeight { .. } => FaultKind::WrongPosition,
            Self::Name(_) => FaultKind::Bug,
        }
    }
}
