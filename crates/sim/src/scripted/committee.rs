//! Validators that sign any block on request, with real signatures.

use super::chain::TestBlock;
use bytes::Bytes;
use commonware_codec::{Encode as _, Error};
use commonware_consensus::{
    simplex::{
        scheme::bls12381_threshold::standard,
        types::{Finalization, Finalize, Notarization, Notarize, Proposal},
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::{bls12381::primitives::variant::MinSig, ed25519};
use commonware_parallel::Sequential;
use commonware_utils::non_empty;
use rand::{SeedableRng as _, rngs::StdRng};
use std::sync::Arc;
use tidewatch_certified::{Boundary, CertificateKind};
use tidewatch_core::{Block as _, Digest};

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

    /// Encoded certificate of `kind` over the block with `digest`.
    pub fn certify(&self, kind: CertificateKind, round: Round, digest: Digest) -> Bytes {
        match kind {
            CertificateKind::Finalized => self.finalization(round, digest),
            CertificateKind::Notarized => self.notarization(round, digest),
        }
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

/// Committees of which one certifies each epoch. Which one is in the last block of the epoch before: its
/// digest names it, so that a test block carries a committee without a field for it.
#[derive(Clone, Debug)]
pub struct Committees(Arc<Vec<Committee>>);

impl Committees {
    /// Digests name each of `committees` equally often.
    ///
    /// # Panics
    ///
    /// If `committees` is empty.
    pub fn new(committees: Vec<Committee>) -> Self {
        assert!(!committees.is_empty(), "an epoch needs a committee");
        Self(Arc::new(committees))
    }

    /// The committee of the first epoch.
    pub fn first(&self) -> &Committee {
        &self.0[0]
    }

    /// The committee of the epoch that follows the block with `digest`.
    pub fn after(&self, digest: &Digest) -> &Committee {
        &self.0[usize::from(digest.0[30]) % self.0.len()]
    }
}

impl Boundary<TestBlock> for Committees {
    type Scheme = Scheme;

    fn scheme(&self, _: Epoch, block: &TestBlock) -> Result<Scheme, Error> {
        let committee = self.after(&block.reference().digest);
        Ok(Scheme::certificate_verifier(NAMESPACE, *committee.verifier().identity()))
    }

    fn key(&self, scheme: &Scheme) -> Option<Bytes> {
        Some(scheme.identity().encode())
    }
}
