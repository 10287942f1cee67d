//! The outcome of a key ceremony, as genesis and the last block of each epoch carry it: the key of the next epoch.
//!
//! | part | encoding |
//! |---|---|
//! | epoch that it is for | varint |
//! | output of the ceremony | as of `commonware-cryptography`: summary, public polynomial, dealers, players, revealed |
//! | players of the next ceremony | a set of ed25519 keys |
//! | whether the next ceremony is a full one | 0 or 1 |
//!
//! A reshare keeps the group's key, a full ceremony makes another one. Bytes behind it are tolerated, as Tempo's own
//! reader tolerates them.

use super::{Scheme, TempoBlock, scheme};
use bytes::Bytes;
use commonware_codec::{Encode as _, Error, RangeCfg, Read as _, ReadExt as _};
use commonware_consensus::types::Epoch;
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::Output,
        primitives::{
            sharing::ModeVersion,
            variant::{MinSig, Variant},
        },
    },
    ed25519::PublicKey,
};
use commonware_utils::{NZU32, ordered::Set};
use std::num::NonZeroU32;
use tidewatch_certified::Boundary;

/// A group's public key: the identity of a network.
pub type Identity = <MinSig as Variant>::Public;

/// Members of a committee that an outcome may name. Tempo's limit; a header's own length is the tighter one.
const MEMBERS_MAX: NonZeroU32 = NZU32!(65_535);

/// The outcome of a key ceremony.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The epoch that it is for.
    pub epoch: Epoch,
    /// The group's public key in that epoch.
    pub identity: Identity,
    /// Validators that hold a share of the key.
    pub players: usize,
    /// Of those, how many sign a certificate.
    pub required: u32,
    /// Whether the ceremony in that epoch makes another key.
    pub is_next_full: bool,
}

impl Outcome {
    /// Reads the extra data of a header.
    ///
    /// # Errors
    ///
    /// It holds no outcome.
    pub fn read(mut extra: &[u8]) -> Result<Self, Error> {
        let epoch = Epoch::read(&mut extra)?;
        let output =
            Output::<MinSig, PublicKey>::read_cfg(&mut extra, &(MEMBERS_MAX, ModeVersion::v0()))?;
        let members = (RangeCfg::from(1..=MEMBERS_MAX.get() as usize), ());
        let _next = Set::<PublicKey>::read_cfg(&mut extra, &members)?;
        Ok(Self {
            epoch,
            identity: *output.public().public(),
            players: output.players().len(),
            required: output.public().required(),
            is_next_full: bool::read(&mut extra)?,
        })
    }
}

/// The key of `epoch`, as `block`, the last one before it, carries it.
///
/// # Errors
///
/// The block carries none, or that of another epoch.
pub fn identity(epoch: Epoch, block: &TempoBlock) -> Result<Identity, Error> {
    let outcome = Outcome::read(&block.inner.extra_data)?;
    match outcome.epoch == epoch {
        true => Ok(outcome.identity),
        false => Err(Error::Invalid("boundary", "it is about another epoch")),
    }
}

/// Reads the last blocks of Tempo's epochs.
#[derive(Clone, Copy, Debug, Default)]
pub struct TempoBoundary;

impl Boundary<TempoBlock> for TempoBoundary {
    type Scheme = Scheme;

    fn scheme(&self, epoch: Epoch, block: &TempoBlock) -> Result<Scheme, Error> {
        identity(epoch, block).map(scheme)
    }

    fn key(&self, scheme: &Scheme) -> Option<Bytes> {
        Some(scheme.identity().encode())
    }
}
