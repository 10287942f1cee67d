//! What the rules of a view forbid.

use super::Error;
use tidewatch_core::{BlockRef, Digest, Fault, HEIGHT_LIMIT, Tier};

/// How a change violates the rules of a view. A driver that keeps to the pass never gets one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A change of blocks without blocks.
    #[error("no blocks in a change of blocks")]
    NoBlocks,
    /// A tip with the proof of another block.
    #[error("a proof of another block came with {tier} tip {tip}")]
    OtherProof {
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
    },
    /// The certificate of a block that was not delivered.
    #[error("a certificate of block {block}, which is not held")]
    NotHeld {
        /// The block.
        block: BlockRef,
    },
    /// A block that is not above the delivered one.
    #[error("block {block} is not above the delivered block {delivered}")]
    NotAbove {
        /// The block.
        block: BlockRef,
        /// The delivered one.
        delivered: BlockRef,
    },
    /// Another block at the height of genesis.
    #[error("block {block} is not the genesis block {genesis}")]
    OtherGenesis {
        /// The block.
        block: BlockRef,
        /// Genesis.
        genesis: BlockRef,
    },
    /// A block that does not stand on the one below it.
    #[error("block {block} with parent {parent} does not stand on {below}")]
    Unlinked {
        /// The block.
        block: BlockRef,
        /// Its parent's digest.
        parent: Digest,
        /// The block below it.
        below: BlockRef,
    },
    /// A block so high that no block could follow.
    #[error("a block at or above height {HEIGHT_LIMIT}")]
    TooHigh,
    /// A prune to a block above the head.
    #[error("a prune to {to}, which is above the head")]
    PruneUp {
        /// Where it goes.
        to: BlockRef,
    },
    /// A prune to another block than the one that is here.
    #[error("a prune to {to}, where this view has {ours}")]
    PruneBeside {
        /// Where it goes.
        to: BlockRef,
        /// The block here.
        ours: BlockRef,
    },
    /// A prune with tips of an older version.
    #[error("a prune to {to} with tips older than the announced ones")]
    PruneOlder {
        /// Where it goes.
        to: BlockRef,
    },
    /// A prune that leaves a tip above it.
    #[error("a prune to {to} leaves the {tier} tip at {tip}")]
    PruneBelow {
        /// Where it goes.
        to: BlockRef,
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
    },
    /// A prune below what is finalized.
    #[error("a prune to {to} takes back finalized {finalized}")]
    PruneFinalized {
        /// Where it goes.
        to: BlockRef,
        /// The finalized block.
        finalized: BlockRef,
    },
    /// A tip above the delivered block.
    #[error("{tier} tip {tip} is above the delivered block {delivered}")]
    TipAbove {
        /// The tier.
        tier: Tier,
        /// Its tip.
        tip: BlockRef,
        /// The delivered block.
        delivered: BlockRef,
    },
    /// Finality that moves back, or to another block.
    #[error("finalized moves from {from} to {to}")]
    Finalized {
        /// The finalized block.
        from: BlockRef,
        /// Where it would move to.
        to: BlockRef,
    },
    /// A tier that moves the other way than its event says.
    #[error("{tier} moves {} from {from} to {to}", if *back { "back" } else { "up" })]
    WrongWay {
        /// The tier.
        tier: Tier,
        /// Whether the event says that it moves back.
        back: bool,
        /// Its tip.
        from: BlockRef,
        /// Where it would move to.
        to: BlockRef,
    },
}

impl Breach {
    /// The fault of a store that was given such a change.
    pub(crate) fn fault(self) -> Fault {
        Error::Breach(self).fault()
    }
}
