//! The table of epochs: which certificate scheme applies at which height.

use commonware_codec::Read;
use commonware_consensus::{simplex, types::Epoch};
use commonware_cryptography::certificate;
use std::sync::Arc;
use tidewatch_core::{Digest, Height};

/// A certificate scheme of Simplex over SHA-256 digests, whose certificates have a fixed size and so need no
/// bound to be decoded.
pub trait Scheme:
    simplex::scheme::Scheme<Digest> + certificate::Verifier<Certificate: Read<Cfg = ()>>
{
}

impl<S> Scheme for S where
    S: simplex::scheme::Scheme<Digest> + certificate::Verifier<Certificate: Read<Cfg = ()>>
{
}

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

    /// The epoch and scheme of `height`; `None` while it is not known. A source picks up an entry that is
    /// added later with its next request or push.
    fn at(&self, height: Height) -> Option<EpochScheme<Self::Scheme>>;
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

    fn at(&self, _: Height) -> Option<EpochScheme<S>> {
        Some(self.0.clone())
    }
}
