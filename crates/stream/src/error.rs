//! Why a pass, a driver or a delivery refused something, or failed.

use crate::reconcile::Unlinked;
use std::time::Duration;
use tidewatch_core::{
    BlockRef, Canceled, ChainInfo, FaultKind, Height, LadderBroken, Reason, ResumeError, Tier,
};

/// What a source sent that has another genesis under it than the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// A block.
    #[error("{0}")]
    Block(BlockRef),
    /// A block that does not stand on the genesis of the view.
    #[error(transparent)]
    Unlinked(#[from] Unlinked),
}

impl From<BlockRef> for Foreign {
    fn from(block: BlockRef) -> Self {
        Self::Block(block)
    }
}

/// Everything that this crate refuses or fails with, with the values that disagree. Inside a
/// [`Fault`](tidewatch_core::Fault), [`Fault::reason`](tidewatch_core::Fault::reason) gives it back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tip at a height that no block could follow.
    #[error("no block can be as high as its tip {tip}")]
    TooHigh {
        /// The tip.
        tip: BlockRef,
    },
    /// Tiers of one snapshot in an order that violates the ladder.
    #[error(transparent)]
    Ladder(#[from] LadderBroken),
    /// Blocks that are not consecutive, or do not stand on each other.
    #[error(transparent)]
    Unlinked(#[from] Unlinked),
    /// More blocks in one answer than the source's limit.
    #[error("{got} blocks from {from}, of {max} at the most")]
    TooManyBlocks {
        /// How many came.
        got: usize,
        /// The first height that was asked for.
        from: Height,
        /// The limit.
        max: usize,
    },
    /// Blocks that reach the height of the tip, but not the tip.
    #[error("its blocks lead to {last}, not to its tip {tip}")]
    OffTip {
        /// The last block.
        last: BlockRef,
        /// The tip of the snapshot.
        tip: BlockRef,
    },
    /// A tip below what is finalized here.
    #[error("its tip {tip} is below {finalized}, finalized here")]
    Behind {
        /// The source's tip.
        tip: BlockRef,
        /// The finalized block here.
        finalized: BlockRef,
    },
    /// An answer with another genesis under it, from a source that is of this chain.
    #[error("genesis is {ours}, also for the source, which sent {theirs}")]
    OtherGenesis {
        /// Genesis here.
        ours: BlockRef,
        /// What came.
        theirs: Foreign,
    },
    /// An answer with another genesis under it, from a source that is of another chain.
    #[error("genesis here is {ours}, the source has {theirs}: check its address")]
    WrongGenesis {
        /// Genesis here.
        ours: BlockRef,
        /// What came.
        theirs: Foreign,
    },
    /// The source lacks a digest below its own tip.
    #[error("no digest at {height}, below its own tip {tip}")]
    NoDigest {
        /// The height.
        height: Height,
        /// The tip.
        tip: BlockRef,
    },
    /// The source lacks the digest to prune to, at a height below everything that the view knows.
    #[error("no digest at {height}")]
    NoBase {
        /// The height.
        height: Height,
    },
    /// Another number of digests than of heights.
    #[error("{got} digests for {want} heights")]
    DigestCount {
        /// How many came.
        got: usize,
        /// How many were asked for.
        want: usize,
    },
    /// The view's answer has another number of locators than of heights.
    #[error("{got} locators for {want} heights")]
    LocatorCount {
        /// How many came.
        got: usize,
        /// How many were asked for.
        want: usize,
    },
    /// A snapshot without a proposed tip.
    #[error("it names no proposed tip")]
    NoProposed,
    /// An answer contradicted what is finalized here, the second look does not.
    #[error("one answer contradicted {ours}, finalized here; that of its tip {tip} does not")]
    Unconfirmed {
        /// The finalized block here.
        ours: BlockRef,
        /// The tip of the second look.
        tip: BlockRef,
    },
    /// The source goes back and forth between two forks.
    #[error("it goes back and forth between two forks: staying on {head}")]
    Flapping {
        /// Where the view stays.
        head: BlockRef,
    },
    /// The second look is at a chain without the ancestor that the search found.
    #[error("{ancestor} was on its chain, and is not on that of {tip}")]
    AncestorGone {
        /// The ancestor.
        ancestor: BlockRef,
        /// The tip of the second look.
        tip: BlockRef,
    },
    /// A tier that is not on the chain of the proposed tip.
    #[error("its {tier} tip {block} does not fit the chain of its proposed tip")]
    Misfit {
        /// The tier.
        tier: Tier,
        /// Its tip.
        block: BlockRef,
    },
    /// The mode gives no blocks to a view that was given some.
    #[error("it was given blocks up to {delivered}, and is to go on without")]
    HasBlocks {
        /// The last block that the view was given.
        delivered: BlockRef,
    },
    /// The mode gives blocks from at or below what was announced without.
    #[error("it was told of {told} without blocks: start above that")]
    ToldWithoutBlocks {
        /// The proposed tip that was announced.
        told: BlockRef,
    },
    /// The source is of another chain than the view.
    #[error(
        "it follows {} from {}, the view is of {} from {}",
        theirs.id, theirs.genesis, ours.id, ours.genesis
    )]
    WrongChain {
        /// The view's chain.
        ours: ChainInfo,
        /// The source's.
        theirs: ChainInfo,
    },
    /// The driver was stopped during a call of the source.
    #[error("the driver was told to stop")]
    Stopped,
    /// A call of the source that exceeded its deadline.
    #[error("no answer within {limit:?}")]
    NoAnswer {
        /// The deadline.
        limit: Duration,
    },
    /// A stored position that nothing can be resumed from.
    #[error(transparent)]
    Position(#[from] ResumeError),
    /// A delivery had no record to hand over.
    #[error("nothing to hand over")]
    Nothing,
    /// A consumer dropped an acknowledgement.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// A consumer panicked.
    #[error("it panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl Reason for Error {
    fn kind(&self) -> FaultKind {
        match self {
            Self::TooHigh { .. }
            | Self::Unlinked(Unlinked::Height { .. } | Unlinked::AboveTip { .. }) => {
                FaultKind::WrongPosition
            }
            Self::Ladder(_) => FaultKind::LadderBroken,
            Self::Unlinked(Unlinked::Empty(_)) | Self::NoDigest { .. } | Self::NoBase { .. } => {
                FaultKind::Missing
            }
            Self::Unlinked(Unlinked::Parent { .. }) => FaultKind::NotLinked,
            Self::TooManyBlocks { .. } => FaultKind::Oversized,
            Self::OffTip { .. }
            | Self::AncestorGone { .. }
            | Self::Unconfirmed { .. }
            | Self::Misfit { .. } => FaultKind::Torn,
            Self::NoProposed => FaultKind::Unavailable,
            Self::Flapping { .. } => FaultKind::Flapping,
            Self::Behind { .. } => FaultKind::Behind,
            Self::OtherGenesis { .. } => FaultKind::WrongDigest,
            Self::WrongGenesis { .. } | Self::WrongChain { .. } => FaultKind::WrongChain,
            Self::DigestCount { .. } => FaultKind::Malformed,
            Self::LocatorCount { .. } | Self::Nothing => FaultKind::Bug,
            Self::HasBlocks { .. } | Self::ToldWithoutBlocks { .. } => FaultKind::InvalidConfig,
            Self::Stopped => FaultKind::Stopped,
            Self::NoAnswer { .. } => FaultKind::Timeout,
            Self::Position(error) => position_kind(error),
            Self::Canceled(_) | Self::Panicked { .. } => FaultKind::Consumer,
        }
    }
}

fn position_kind(error: &ResumeError) -> FaultKind {
    match error {
        ResumeError::Malformed(_) => FaultKind::CorruptRecord,
        ResumeError::WrongChain { .. } => FaultKind::WrongChain,
        ResumeError::Ahead { .. } => FaultKind::Behind,
        ResumeError::TooOld { .. } => FaultKind::TooOld,
        ResumeError::Fault(fault) => fault.kind,
    }
}
