//! Who certifies which epoch of a simulated chain.

use bytes::Bytes;
use commonware_codec::{Encode as _, Error};
use commonware_consensus::types::Epoch;
use std::sync::Arc;
use tidewatch_certified::Boundary;
use tidewatch_core::{Block as _, Digest};
use tidewatch_testkit::{
    chain::TestBlock,
    committee::{Committee, NAMESPACE, Scheme},
};

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
