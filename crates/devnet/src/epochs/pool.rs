//! Who validates when.

use super::{Config, block::EpochInfo};
use crate::{Committee, Error, committee};
use alto_types::PublicKey;
use commonware_consensus::types::Epoch;
use commonware_cryptography::{
    Signer as _, bls12381::primitives::group::Share, ed25519::PrivateKey,
};
use commonware_glue::dkg::{ParticipantsProvider, types::EpochOutcome};
use commonware_utils::{ordered::Set, sequence::Unit};
use std::sync::Arc;

/// Makes another seed of the configured one, so that the chain has another identity than a devnet without
/// epochs, and neither is taken for the other.
const SEED: u64 = u64::from_be_bytes(*b"\0\0epochs");

/// All validators, and the committee of the first epoch, which a dealer outside of the chain gave its
/// key.
pub(super) struct Pool {
    dealt: Committee,
    keys: Vec<PrivateKey>,
    rotation: Rotation,
}

impl Pool {
    pub(super) fn deal(config: &Config) -> Result<Self, Error> {
        let seed = config.seed ^ SEED;
        let dealt = Committee::deal(seed, config.committee)?;
        let keys: Vec<_> =
            (0..config.validators).map(|index| committee::key(seed, index)).collect();
        let order = keys.iter().map(|key| key.public_key()).collect();
        let rotation = Rotation { order, size: config.committee as usize };
        Ok(Self { dealt, keys, rotation })
    }

    pub(super) const fn dealt(&self) -> &Committee {
        &self.dealt
    }

    pub(super) fn keys(&self) -> &[PrivateKey] {
        &self.keys
    }

    pub(super) const fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// The share of the first epoch that the validator with `key` was dealt.
    pub(super) fn share(&self, key: &PrivateKey) -> Option<Share> {
        let me = key.public_key();
        let member = self.dealt.members().iter().find(|member| member.key.public_key() == me)?;
        Some(member.share.clone())
    }

    /// What the first epoch begins with. No block carries it: whoever follows the chain has the identity
    /// from its configuration.
    pub(super) fn first(&self) -> EpochInfo {
        let epoch = Epoch::zero();
        EpochInfo {
            outcome: EpochOutcome::Success,
            epoch,
            output: self.dealt.output().clone(),
            players: self.rotation.committee(epoch.next()),
            next_players: self.rotation.committee(epoch.next().next()),
            directory: Unit,
        }
    }
}

/// The committees: in each epoch the validator that has been in for longest leaves, and the one that has
/// been out for longest joins.
#[derive(Clone)]
pub(super) struct Rotation {
    order: Arc<[PublicKey]>,
    size: usize,
}

impl Rotation {
    pub(super) fn everybody(&self) -> Set<PublicKey> {
        Set::from_iter_dedup(self.order.iter().cloned())
    }

    /// The validators that hold the shares of `epoch`.
    pub(super) fn committee(&self, epoch: Epoch) -> Set<PublicKey> {
        let all = self.order.len() as u64;
        let first = (epoch.get() % all) as usize;
        Set::from_iter_dedup(self.order.iter().cycle().skip(first).take(self.size).cloned())
    }
}

impl ParticipantsProvider for Rotation {
    type PublicKey = PublicKey;
    type Directory = Unit;

    /// Whoever is dealt a share in `epoch` holds it in the next one.
    async fn participants(&mut self, epoch: Epoch) -> Set<PublicKey> {
        self.committee(epoch.next())
    }

    async fn directory(&mut self, _: Epoch, _: Set<PublicKey>) -> Unit {
        Unit
    }
}
