//! A source over a marshal that runs in the same process: a validator's own.
//!
//! # Overview
//!
//! Commonware's marshal orders the finalized blocks of a validator. [`MarshalSource`] reads them, and their
//! certificates, from its mailbox; [`MarshalBell`] is added to the reporters of the marshal and rings the
//! doorbell of every driver. There is no network, and nothing is verified again: the marshal verified it.
//!
//! ```text
//!  marshal ── updates ──▶ MarshalBell ── doorbell ──▶ Driver ── Source ──▶ MarshalSource ── mailbox ──▶ marshal
//! ```
//!
//! # The host is not held up
//!
//! [`MarshalBell`] acknowledges every block at once: the marshal goes on whether a follower reads it or not, and
//! however slow that is. A follower that falls behind what the marshal still keeps (see its pruning) is
//! answered `Missing`.
//!
//! # Tiers
//!
//! Finalized is the marshal's newest finalized block, and so is proposed: a marshal does not tell what is
//! notarized. A marshal that has nothing finalized yet, and one that has ended, answer alike; both are
//! `Unavailable`.

use crate::{CertifiedBlock, Scheme, error::Error};
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Reporter,
    marshal::{
        Identifier, Update,
        core::{Mailbox, Variant},
    },
};
use commonware_cryptography::Digestible;
use commonware_utils::Acknowledgement;
use std::{fmt, marker::PhantomData, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    Bell, BlockRef, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits, Snapshot, Source,
    Tier, TierProof, TierProofs, TipSet,
};

/// Heights of one question: each is a message to the marshal.
const DIGESTS_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Blocks of one answer.
const BLOCKS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Rings when a marshal's tip moves: to be added to its reporters. Cheap to clone.
pub struct MarshalBell<V: Variant> {
    bell: Arc<Bell>,
    variant: PhantomData<fn() -> V>,
}

impl<V: Variant> Clone for MarshalBell<V> {
    fn clone(&self) -> Self {
        Self { bell: self.bell.clone(), variant: PhantomData }
    }
}

impl<V: Variant> fmt::Debug for MarshalBell<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarshalBell").finish_non_exhaustive()
    }
}

impl<V: Variant> Default for MarshalBell<V> {
    fn default() -> Self {
        Self { bell: Arc::new(Bell::new()), variant: PhantomData }
    }
}

impl<V: Variant> Reporter for MarshalBell<V> {
    type Activity = Update<V::ApplicationBlock>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        if let Update::Block(_, acknowledgement) = update {
            acknowledgement.acknowledge();
        }
        self.bell.ring();
        Feedback::Ok
    }
}

/// A marshal as a source of `B`s, which its blocks are made into.
pub struct MarshalSource<S: Scheme, V: Variant<Commitment = Digest>, B> {
    name: String,
    chain_info: ChainInfo,
    marshal: Mailbox<S, V>,
    bell: MarshalBell<V>,
    convert: fn(V::ApplicationBlock) -> B,
}

impl<S: Scheme, V: Variant<Commitment = Digest>, B> fmt::Debug for MarshalSource<S, V, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarshalSource").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S, V, B> MarshalSource<S, V, B>
where
    S: Scheme,
    V: Variant<Commitment = Digest>,
    V::ApplicationBlock: Digestible<Digest = Digest>,
    B: CertifiedBlock,
{
    /// A source called `name` over `marshal`, which reports to `bell`. `convert` makes its blocks into those of
    /// the source: with the same digest, height and parent.
    pub fn new(
        name: impl Into<String>,
        chain_info: ChainInfo,
        marshal: Mailbox<S, V>,
        bell: MarshalBell<V>,
        convert: fn(V::ApplicationBlock) -> B,
    ) -> Self {
        Self { name: name.into(), chain_info, marshal, bell, convert }
    }

    fn fault(&self, error: Error) -> Fault {
        Fault::new(&*self.name, error)
    }

    /// The digest of the finalized block at `height`, if the marshal has it.
    async fn digest(&self, height: Height) -> Option<Digest> {
        if height == self.chain_info.genesis.height {
            return Some(self.chain_info.genesis.digest);
        }
        self.marshal.get_info(Identifier::Height(height)).await.map(|(_, digest)| digest)
    }

    async fn block(&self, height: Height) -> Option<B> {
        let block = self.marshal.get_block(Identifier::Height(height)).await?;
        Some((self.convert)(V::into_inner(block)))
    }
}

impl<S, V, B> Source for MarshalSource<S, V, B>
where
    S: Scheme,
    V: Variant<Commitment = Digest>,
    V::ApplicationBlock: Digestible<Digest = Digest>,
    B: CertifiedBlock,
{
    type Block = B;

    fn name(&self) -> &str {
        &self.name
    }

    fn ladder(&self) -> Ladder {
        Ladder::Certified
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: DIGESTS_MAX, blocks_max: BLOCKS_MAX }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        Ok(self.chain_info.clone())
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let Some((height, digest)) = self.marshal.get_info(Identifier::Latest).await else {
            return Err(self.fault(Error::NothingFinalized));
        };
        let tip = BlockRef::new(height, digest);
        let proof = self.marshal.get_finalization(height).await;
        // Another block may be final at this height by now only if finality was contradicted.
        let proof = proof.filter(|proof| proof.proposal.payload == digest);
        let proof = proof.map(|proof| TierProof { block: tip, bytes: proof.encode() });
        Ok(Snapshot {
            tips: TipSet::unknown().with(Tier::Proposed, tip).with(Tier::Finalized, tip),
            proofs: proof.map_or_else(TierProofs::none, |proof| {
                TierProofs::none().with(Tier::Finalized, proof)
            }),
            time_ms: self.block(height).await.and_then(|block| block.time_ms()),
            ..Snapshot::default()
        })
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        // What is finalized is never replaced: a tip that is not there was never one of this source.
        if self.digest(tip.height).await != Some(tip.digest) {
            return Err(self.fault(Error::Unproved { tip }));
        }
        let mut digests = Vec::with_capacity(heights.len());
        for height in heights {
            digests.push(match *height <= tip.height {
                true => self.digest(*height).await,
                false => None,
            });
        }
        Ok(digests)
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<B>, Fault> {
        if self.digest(tip.height).await != Some(tip.digest) {
            return Ok(Vec::new());
        }
        let mut blocks = Vec::new();
        let mut next = from;
        while next <= tip.height && blocks.len() < BLOCKS_MAX.get() {
            let Some(block) = self.block(next).await else { break };
            blocks.push(block);
            next = next.next();
        }
        match blocks.is_empty() && from <= tip.height {
            true => Err(self.fault(Error::NoHeight { height: from })),
            false => Ok(blocks),
        }
    }

    fn doorbell(&self) -> Doorbell {
        self.bell.bell.listen()
    }
}
