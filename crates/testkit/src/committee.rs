//! Validators that sign any block on request, with real signatures.

use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        scheme::bls12381_threshold::standard,
        types::{Finalization, Finalize, Notarization, Notarize, Proposal},
    },
    types::{Round, View},
};
use commonware_cryptography::{bls12381::primitives::variant::MinSig, ed25519};
use commonware_parallel::Sequential;
use commonware_utils::non_empty;
use rand::{SeedableRng as _, rngs::StdRng};
use std::sync::Arc;
use tidewatch_core::Digest;

/// The certificate scheme: BLS threshold signatures.
pub type Scheme = standard::Scheme<ed25519::PublicKey, MinSig>;

/// Namespace of everything that a [`Committee`] signs.
pub const NAMESPACE: &[u8] = b"_TIDEWATCH_SIM";

/// Validators that hold the shares of one group key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Committee {
    signers: Arc<Vec<Scheme>>,
    verifier: Arc<Scheme>,
}

impl Committee {
    /// The committee of `seed`, with `validators` members.
    pub fn new(seed: u64, validators: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let signers = standard::fixture::<MinSig, _>(&mut rng, NAMESPACE, validators).schemes;
        let identity = *signers[0].identity();
        let verifier = Arc::new(Scheme::certificate_verifier(NAMESPACE, identity));
        Self { signers: Arc::new(signers), verifier }
    }

    /// Scheme that verifies the committee's certificates.
    pub fn verifier(&self) -> Arc<Scheme> {
        self.verifier.clone()
    }

    /// Encoded finalization of the block with `digest`.
    pub fn finalization(&self, round: Round, digest: Digest) -> Bytes {
        let proposal = proposal(round, digest);
        let votes: Vec<_> = self
            .signers
            .iter()
            .map(|signer| Finalize::sign(signer, proposal.clone()).expect(SIGNS))
            .collect();
        Finalization::from_finalizes(&self.signers[0], non_empty![@&votes], &Sequential)
            .expect(QUORUM)
            .encode()
    }

    /// Encoded notarization of the block with `digest`.
    pub fn notarization(&self, round: Round, digest: Digest) -> Bytes {
        let proposal = proposal(round, digest);
        let votes: Vec<_> = self
            .signers
            .iter()
            .map(|signer| Notarize::sign(signer, proposal.clone()).expect(SIGNS))
            .collect();
        Notarization::from_notarizes(&self.signers[0], non_empty![@&votes], &Sequential)
            .expect(QUORUM)
            .encode()
    }
}

const SIGNS: &str = "every validator holds its share";
const QUORUM: &str = "all validators together are a quorum";

fn proposal(round: Round, digest: Digest) -> Proposal<Digest> {
    Proposal::new(round, round.view().previous().unwrap_or_else(View::zero), digest)
}
