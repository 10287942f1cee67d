//! The port to what is followed.

use crate::{
    Block, BlockRef, ChainId, Digest, Doorbell, Fault, Height, Ladder, Tier, TipSet, Watermarks,
};
use bytes::Bytes;
use std::{future::Future, num::NonZeroUsize};

/// Which chain a source follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// The chain's name. A store that was opened for another one is refused.
    pub id: ChainId,
    /// Its block at height 0.
    pub genesis: BlockRef,
}

/// How much a source answers at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Heights that one [`Source::digests`] call may name.
    pub digests_max: NonZeroUsize,
    /// Blocks that one [`Source::blocks`] call returns at most.
    pub blocks_max: NonZeroUsize,
}

/// Proves that a tier stands at a block: for finalized a certificate, for proven a validity proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierProof {
    /// The block that it proves.
    pub block: BlockRef,
    /// The proof in the chain's own encoding, as the source verified it.
    pub bytes: Bytes,
}

/// Consecutive blocks, and what proves that some of them are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRange<B> {
    /// The blocks, from the lowest to the highest.
    pub blocks: Vec<B>,
    /// Certificates of finalized blocks among them that were verified on the way to this answer, in rising order.
    /// What is below one is final by the hash chain.
    pub certificates: Vec<TierProof>,
}

impl<B> From<Vec<B>> for BlockRange<B> {
    fn from(blocks: Vec<B>) -> Self {
        Self { blocks, certificates: Vec::new() }
    }
}

/// At most one proof for each tier. Most snapshots have none or one, and are moved about: so they are kept
/// beside, in the order of the tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierProofs(Vec<(Tier, TierProof)>);

impl TierProofs {
    /// No tier has one.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The proof of `tier`.
    pub fn get(&self, tier: Tier) -> Option<&TierProof> {
        self.0.iter().find(|(of, _)| *of == tier).map(|(_, proof)| proof)
    }

    /// The same, with `proof` for `tier`.
    #[must_use]
    pub fn with(mut self, tier: Tier, proof: TierProof) -> Self {
        match self.0.binary_search_by_key(&tier.index(), |(of, _)| of.index()) {
            Ok(at) => self.0[at].1 = proof,
            Err(at) => self.0.insert(at, (tier, proof)),
        }
        self
    }
}

/// What the certificates that a source verifies rest on, where its validators change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The newest epoch whose certificate scheme is known.
    pub epoch: u64,
    /// What the first of them was taken from.
    pub anchor: Anchor,
    /// The time of the newest known block that ends an epoch, in milliseconds since the Unix epoch; `None`
    /// while the anchor alone is known, or where blocks carry no time.
    pub time_ms: Option<u64>,
    /// The height that the newest answer or push claimed, whether it verified or not.
    pub seen: Option<Height>,
}

/// What a chain of epochs begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// A key from our own configuration.
    Identity,
    /// A block from a file that publishers signed.
    Pinned,
}

impl Anchor {
    /// Name in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Pinned => "pinned",
        }
    }
}

/// One read of a source: all tiers as they stood at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The tiers.
    pub tips: TipSet,
    /// Proofs of these tips, for the tiers that have one. That of proposed goes to monitors alone: it is not kept.
    pub proofs: TierProofs,
    /// The proposed tip's own time, in milliseconds since the Unix epoch, where blocks carry one.
    pub time_ms: Option<u64>,
    /// What its certificates rest on, where validators change.
    pub trust: Option<Trust>,
    /// Its proven tier is made here, and its lowest block is poisoned or waits for too long.
    pub proving_stalled: bool,
}

impl Snapshot {
    /// What proves that `tier` stands at `block`.
    pub fn proof(&self, tier: Tier, block: BlockRef) -> Option<&TierProof> {
        self.proofs.get(tier).filter(|proof| proof.block == block)
    }
}

impl From<TipSet> for Snapshot {
    fn from(tips: TipSet) -> Self {
        Self { tips, ..Self::default() }
    }
}

/// What a follower follows: one snapshot of tips, digests, ranges of blocks, and a doorbell.
///
/// Everything that a source returns has been verified as far as its chain allows: what did not verify
/// is a [`Fault`], never an answer. Each method is one *source call* in the cost budgets; how many
/// requests a source makes for it is the source's business, and bounded by its own deadlines.
///
/// # No sessions
///
/// [`digests`](Self::digests), [`blocks`](Self::blocks) and [`range`](Self::range) name the tip that they are about, so a source
/// does not have to remember what it answered before, and any number of drivers can share it. What it
/// caches is keyed by content: forgetting it costs requests and changes no answer.
///
/// # Cancel safety
///
/// Every method may be dropped at any await and called again.
pub trait Source: Send + Sync + 'static {
    /// The chain's blocks.
    type Block: Block;

    /// Names the source in faults and metrics, without credentials.
    fn name(&self) -> &str;

    /// The order in which the tiers of this chain may stand.
    fn ladder(&self) -> Ladder;

    /// How much it answers at once.
    fn limits(&self) -> Limits;

    /// Which chain this is. Asked at start, and again before an answer that contradicts genesis is taken
    /// for that of another chain.
    fn chain_info(&self) -> impl Future<Output = Result<ChainInfo, Fault>> + Send;

    /// All tiers at one moment. A tier that is not known is `None`.
    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, Fault>> + Send;

    /// The digests at `heights` (at most [`Limits::digests_max`], in any order) on the chain that ends
    /// in `tip`, the proposed tip of a snapshot. One answer for each height, in their order; `None`
    /// above the tip, and where the source does not know.
    ///
    /// # Errors
    ///
    /// [`Torn`](crate::FaultKind::Torn): the source moved away from `tip`. It never answers with digests
    /// of another chain: blocks are dropped on the strength of them.
    fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<Digest>>, Fault>> + Send;

    /// Consecutive blocks from `from` upwards on the chain that ends in `tip`, none above it, at
    /// most [`Limits::blocks_max`]. `tip` is the proposed tip of a snapshot of this source. Fewer
    /// blocks are a normal answer; none at all means that the source moved away from `tip`.
    fn blocks(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> impl Future<Output = Result<Vec<Self::Block>, Fault>> + Send;

    /// The same as [`blocks`](Self::blocks), with the certificates that this source verified for them, where it
    /// did: a view that keeps them can show others why its history is final. A driver asks for nothing else.
    fn range(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> impl Future<Output = Result<BlockRange<Self::Block>, Fault>> + Send {
        async move { self.blocks(tip, from).await.map(Into::into) }
    }

    /// A doorbell for one driver, which rings when the source may have moved. A source without pushes
    /// is silent, and is polled.
    fn doorbell(&self) -> Doorbell {
        Doorbell::silent()
    }

    /// Notified of what the local view of a driver has durably: when the driver starts, and after each
    /// commit. A source that must not forget a block before it is durable somewhere else releases it
    /// here. Returns at once.
    fn durable(&self, _watermarks: &Watermarks) {}

    /// Notified after each pass whether the view could use what this source answered: `Ok`, or the fault
    /// that kept it from taking all of it in, which may be one that this source returned. A source over several
    /// upstreams lets the one that gave these answers rest, and asks another. Not called for a pass that
    /// ended because the source could not be asked. Returns at once.
    fn judged(&self, _verdict: Result<(), &Fault>) {}
}
