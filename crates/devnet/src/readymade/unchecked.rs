//! A certificate scheme that accepts every certificate.

use alto_types::{Identity, Scheme, Seed, Signature};
use commonware_codec::Read;
use commonware_consensus::simplex::types::Subject;
use commonware_cryptography::{
    Digest,
    certificate::{self, AssemblyError, Attestation, Verifier},
};
use commonware_parallel::Strategy;
use commonware_utils::{N3f1, Participant, iter::NonEmpty, ordered::Set};
use rand::CryptoRng;

/// `S` without verification: certificates have the same encoding, and every one is accepted.
///
/// The indexer of a [`Server`](super::Server) uses it for two reasons: verifying a chain that was just
/// signed in this process would take longer than signing it, and tests of hostile upstreams need an
/// indexer that accepts forgeries.
#[derive(Clone, Debug)]
pub(super) struct Unchecked<S>(pub(super) S);

impl<S> Verifier for Unchecked<S>
where
    S: Scheme,
{
    type Subject<'a, D: Digest> = Subject<'a, D>;
    type Faults = N3f1;
    type PublicKey = alto_types::PublicKey;
    type Certificate = S::Certificate;

    fn verify_certificate<R, D>(
        &self,
        _: &mut R,
        _: Self::Subject<'_, D>,
        _: &Self::Certificate,
        _: &impl Strategy,
    ) -> bool
    where
        R: CryptoRng,
        D: Digest,
    {
        true
    }

    fn is_batchable() -> bool {
        S::is_batchable()
    }

    fn certificate_codec_config(&self) -> <Self::Certificate as Read>::Cfg {
        self.0.certificate_codec_config();
    }

    fn certificate_codec_config_unbounded() -> <Self::Certificate as Read>::Cfg {
        S::certificate_codec_config_unbounded();
    }
}

/// A verifier only: it neither signs nor assembles.
impl<S: Scheme> certificate::Scheme for Unchecked<S> {
    type Signature = S::Signature;

    fn me(&self) -> Option<Participant> {
        None
    }

    fn participants(&self) -> &Set<Self::PublicKey> {
        self.0.participants()
    }

    fn sign<D: Digest>(&self, _: Self::Subject<'_, D>) -> Option<Attestation<Self>> {
        None
    }

    fn verify_attestation<R, D>(
        &self,
        _: &mut R,
        _: Self::Subject<'_, D>,
        _: &Attestation<Self>,
        _: &impl Strategy,
    ) -> bool
    where
        R: CryptoRng,
        D: Digest,
    {
        false
    }

    fn assemble<I>(
        &self,
        _: NonEmpty<I>,
        _: &impl Strategy,
    ) -> Result<Self::Certificate, AssemblyError>
    where
        I: Iterator<Item = Attestation<Self>> + Send,
    {
        Err(AssemblyError::RecoveryFailed)
    }

    fn is_attributable() -> bool {
        S::is_attributable()
    }
}

impl<S: Scheme> Scheme for Unchecked<S> {
    fn certificate_verifier(namespace: &[u8], identity: Identity) -> Self {
        Self(S::certificate_verifier(namespace, identity))
    }

    fn verify_seed(&self, _: &Seed) -> bool {
        true
    }

    fn vote_signature(certificate: &S::Certificate) -> Option<Signature> {
        S::vote_signature(certificate)
    }

    fn seed_signature(certificate: &S::Certificate) -> Option<Signature> {
        S::seed_signature(certificate)
    }
}
