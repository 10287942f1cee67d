//! Which certificate scheme holds at which height.

use commonware_codec::Read;
use commonware_consensus::{simplex, types::Epoch};
use commonware_cryptography::certificate;
use std::sync::Arc;
use tidewatch_core::{Digest, Height};

/// A certificate scheme of Simplex over SHA-256 digests, whose certificates have one size and so need no
/// bound of their own to be decoded.
pub trait Scheme:
    simplex::scheme::Scheme<Digest> + certificate::Verifier<Certificate: Read<Cfg = ()>>
{
}

impl<S> Scheme for S where
    S: simplex::scheme::Scheme<Digest> + certificate::Verifier<Certificate: Read<Cfg = ()>>
{
}

/// The epoch of a height, and what its certificates verify under.
#[derive(Clone, Debug)]
pub struct EpochScheme<S> {
    /// The epoch. A certificate that names another one is refused.
    pub epoch: Epoch,
    /// The scheme of that epoch.
    pub scheme: Arc<S>,
}

/// Our table of epochs. The quorum that a certificate needs is chosen by height from here, never by
/// what the certificate claims.
pub trait Epochs: Send + Sync + 'static {
    /// The chain's certificate scheme.
    type Scheme: Scheme;

    /// The scheme that `height` belongs to; `None` where it is not known yet.
    fn at(&self, height: Height) -> Option<EpochScheme<Self::Scheme>>;
}

/// A chain whose validators hold one key for ever.
#[derive(Clone, Debug)]
pub struct OneEpoch<S>(EpochScheme<S>);

impl<S: Scheme> OneEpoch<S> {
    /// All heights are of `epoch`, under `scheme`.
    pub fn new(epoch: Epoch, scheme: S) -> Self {
        Self(EpochScheme { epoch, scheme: Arc::new(scheme) })
    }
}

impl<S: Scheme> Epochs for OneEpoch<S> {
    type Scheme = S;

    fn at(&self, _: Height) -> Option<EpochScheme<S>> {
        Some(self.0.clone())
    }
}
