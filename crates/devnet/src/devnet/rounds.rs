//! The rounds that the validators certified, and their seeds.

use alto_types::{Seed, Signature};
use commonware_consensus::types::Round;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Seeds that are remembered.
const SEEDS_MAX: usize = 1024;

/// What the validators certified since the start. Cheap to clone.
///
/// Rounds without a block have no entry: their seed is in a certificate that validators keep to themselves. A
/// chain in [standard mode](crate::CertificateMode::Standard) has none at all.
#[derive(Clone, Debug)]
pub struct Rounds {
    seeds: Arc<Mutex<BTreeMap<Round, Signature>>>,
    newest: watch::Sender<Option<Round>>,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self { seeds: Arc::default(), newest: watch::Sender::new(None) }
    }

    /// A validator made or received a certificate of this round, and has verified it.
    pub(crate) fn certified(&self, seed: &Seed) {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        seeds.insert(seed.round, seed.signature);
        while seeds.len() > SEEDS_MAX {
            seeds.pop_first();
        }
        drop(seeds);
        self.newest.send_if_modified(|newest| {
            let newer = Some(seed.round) > *newest;
            *newest = (*newest).max(Some(seed.round));
            newer
        });
    }

    /// The seed of `round`, if it was certified with a block, and not too long ago.
    pub fn seed(&self, round: Round) -> Option<Signature> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner).get(&round).copied()
    }

    /// The newest round that was certified with a block: to read and to await.
    pub fn newest(&self) -> watch::Receiver<Option<Round>> {
        self.newest.subscribe()
    }
}
