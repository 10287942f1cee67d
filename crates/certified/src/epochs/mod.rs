//! Epochs: which certificate scheme applies at which height, and how the next one is learned.
//!
//! # Overview
//!
//! The last block of an epoch, its *boundary*, carries the scheme of the next epoch. Whoever knows one
//! scheme can so verify the whole chain above it: a boundary that verifies under one scheme gives the next.
//!
//! ```text
//!           verified boundaries                   scheme of a height, or "not known yet"
//!  source ─────────────────────▶ Schemes (table) ─────────────────────────────▶ Verifier
//!     ▲                             │      ▲
//!     └── walk: which boundary next ┘      │ loaded once
//!                                   └──▶ Keeper ──▶ disk
//! ```
//!
//! | type | what |
//! |---|---|
//! | [`Epochs`] | the port: what a verifier asks |
//! | [`OneEpoch`] | a chain whose validators never change their key |
//! | [`Schemes`] | a table that grows by boundaries; commonware's `certificate::Provider` too |
//! | [`Boundary`] | the port to the chain's own format: how a boundary is read |
//! | [`Keeper`] | the actor that makes boundaries durable |
//! | [`anchor`] | a boundary that publishers vouch for, to begin from |
//! | [`pin`] | the boundary that a height and a digest lead to, to begin from |
//!
//! # By the group's key alone
//!
//! Resharing gives every validator a new share of the same group key, and a certificate shows that key
//! alone. So where a boundary has shown that the chain keeps its key, a certificate of an epoch far ahead is
//! tried under it: if it verifies, that epoch is known by its key ([`Known::Key`]) and nothing in between
//! is needed. If it does not, the key was changed on the way, or the certificate is worth nothing. The
//! boundaries decide: the last epoch of the key is searched by doubling and halving, and its boundary gives
//! the key after it. Boundaries that were passed over come with the blocks, or are fetched later, one at a
//! time. One that then names another key than the one that was used is a contradiction of the chain itself,
//! and reported as such.
//!
//! Schemes that are bound to a committee (ed25519 multisignatures) have no such key: epochs are walked one
//! by one.
//!
//! # Cost
//!
//! From `k` to `n` at most one certificate check for each epoch between, beside the tries of the certificate
//! that is waited for, whose number grows with the logarithm of `n - k`. Two checks in all where the key was
//! kept.
//!
//! # Restart safety
//!
//! A boundary is durable soon after it was verified, and not before. A restart that lacks one fetches it
//! again; the certificates of an epoch count only while its scheme is known, so nothing is skipped.

pub mod anchor;
mod boundary;
pub mod keeper;
pub mod pin;
mod table;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

pub use boundary::Boundary;
pub use keeper::Keeper;
pub use table::{Known, Parts as SchemesParts, Schemes};
pub use walk::{Step, Walk};

use crate::Error;
use bytes::Bytes;
use commonware_codec::Read;
use commonware_consensus::{simplex, types::Epoch};
use commonware_cryptography::certificate::{self, Scoped};
use std::{future::Future, sync::Arc};
use tidewatch_core::{Anchor, BlockRef, Conflict, Digest, Height};

/// A certificate scheme of Simplex over SHA-256 digests.
pub trait Scheme:
    simplex::scheme::Scheme<Digest, Certificate: Read<Cfg: Clone + Send + Sync>>
{
}

impl<S> Scheme for S where
    S: simplex::scheme::Scheme<Digest, Certificate: Read<Cfg: Clone + Send + Sync>>
{
}

/// How the certificates of a scheme are bounded when they are decoded.
pub type CertificateCodec<S> = <<S as certificate::Verifier>::Certificate as Read>::Cfg;

/// The epoch of a height, and the scheme of its certificates.
#[derive(Clone, Debug)]
pub struct EpochScheme<S> {
    /// The epoch. A certificate that names another epoch is refused.
    pub epoch: Epoch,
    /// The scheme of that epoch.
    pub scheme: Arc<S>,
}

/// Our table of epochs. It selects the quorum of a certificate by height, never by what the certificate
/// claims.
pub trait Epochs: Send + Sync + 'static {
    /// The chain's certificate scheme.
    type Scheme: Scheme;

    /// How certificates are bounded when they are decoded, whatever epoch they are of.
    fn codec(&self) -> CertificateCodec<Self::Scheme>;

    /// The epoch and scheme of `height`; `None` while it is not known. A source picks up an entry that is
    /// added later with its next request or push.
    fn at(&self, height: Height) -> Option<EpochScheme<Self::Scheme>>;

    /// For a height whose epoch is not known: a scheme that its certificates may verify under, because the
    /// chain was seen to keep its key. One that does not verify under it may still be a good one.
    fn candidate(&self, _height: Height) -> Option<EpochScheme<Self::Scheme>> {
        None
    }

    /// A finalization of `tip` verified under its [`Epochs::candidate`].
    fn vouched(&self, _tip: BlockRef) {}

    /// Whether the block at `height` is the last one of its epoch, and to be given to [`Epochs::learn`] once
    /// it is known to be final.
    fn is_boundary(&self, _height: Height) -> bool {
        false
    }

    /// Learns the scheme of the next epoch from a final boundary, encoded as `bytes`, with its certificate
    /// where it came with one. Learning it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoScheme`] if it carries none, [`Error::OtherKey`] if that is not the one of our anchor.
    fn learn(&self, _block: BlockRef, _bytes: Bytes, _proof: Option<Bytes>) -> Result<(), Error> {
        Ok(())
    }

    /// The certificate that the boundary `block` was learned with, where it came with one.
    fn certificate(&self, _block: BlockRef) -> Option<Bytes> {
        None
    }

    /// Resolves once the boundary `block`, which was learned, is durable; at once where nothing is kept.
    ///
    /// # Errors
    ///
    /// [`Error::OtherBoundary`] or [`Error::OtherKey`] if what was learned before contradicts it, so that it
    /// was not learned; [`Error::NotKept`] if whoever writes boundaries has ended.
    fn kept(&self, _block: BlockRef) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// The boundary that gave the scheme of `epoch`; `None` if it was learned otherwise or not at all.
    fn ended_by(&self, _epoch: Epoch) -> Option<BlockRef> {
        None
    }

    /// A walk to the epoch of `height`; `None` where epochs are not learned.
    fn walk(&self, _height: Height) -> Option<Walk> {
        None
    }

    /// What the walk needs next; `None` if nothing leads there.
    fn step(&self, _walk: &mut Walk) -> Option<Step> {
        None
    }

    /// The epoch of `height`, whether its scheme is known or not; `None` where epochs are not learned.
    fn epoch(&self, _height: Height) -> Option<Epoch> {
        None
    }

    /// The newest known epoch that is not above `epoch`.
    fn newest_below(&self, _epoch: Epoch) -> Option<Epoch> {
        None
    }

    /// The height of the block that ends `epoch`.
    fn boundary(&self, _epoch: Epoch) -> Option<Height> {
        None
    }

    /// The lowest boundary that was passed over by the group's key alone; `None` if there is none.
    fn gap(&self) -> Option<Height> {
        None
    }

    /// The newest known epoch, what the table began with, and the time of the newest boundary; `None` where
    /// epochs are not learned.
    fn trust(&self) -> Option<(Epoch, Anchor, Option<u64>)> {
        None
    }

    /// A contradiction between boundaries that was not reported yet.
    fn take_conflict(&self) -> Option<Conflict> {
        None
    }
}

/// A chain whose validators never change their key.
#[derive(Clone, Debug)]
pub struct OneEpoch<S>(EpochScheme<S>);

impl<S: Scheme> OneEpoch<S> {
    /// Every height belongs to `epoch`, under `scheme`.
    pub fn new(epoch: Epoch, scheme: S) -> Self {
        Self(EpochScheme { epoch, scheme: Arc::new(scheme) })
    }
}

impl<S: Scheme> Epochs for OneEpoch<S> {
    type Scheme = S;

    fn codec(&self) -> CertificateCodec<S> {
        self.0.scheme.certificate_codec_config()
    }

    fn at(&self, _: Height) -> Option<EpochScheme<S>> {
        Some(self.0.clone())
    }
}

impl<S: Scheme> certificate::Provider for OneEpoch<S> {
    type Scope = Epoch;
    type Scheme = S;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<S>> {
        (epoch == self.0.epoch).then(|| Scoped::verifier(self.0.scheme.clone()))
    }
}
