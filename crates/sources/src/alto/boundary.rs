//! The last block of an epoch, on an alto network whose validators reshare their key.

use super::{AltoBlock, Scheme};
use alto_types::{Identity, NAMESPACE, PublicKey};
use bytes::{Buf as _, Bytes};
use commonware_codec::{Encode as _, Error, RangeCfg, Read as _, ReadExt as _};
use commonware_consensus::types::Epoch;
use commonware_cryptography::bls12381::{
    dkg::feldman_desmedt::Output,
    primitives::{sharing::ModeVersion, variant::MinSig},
};
use commonware_utils::{NZU32, ordered::Set};
use std::{marker::PhantomData, num::NonZeroU32};
use tidewatch_certified::Boundary;

/// Members of a committee that a boundary may name.
const MEMBERS_MAX: NonZeroU32 = NZU32!(1_024);

/// First byte of the payload of a boundary; that of a dealer's log is another one.
const EPOCH_INFO: u8 = 1;

/// Reads boundaries of an alto network whose blocks carry the payloads of `commonware-glue`'s `dkg`: the
/// last block of an epoch carries the `EpochInfo` of the next one, with the group's public polynomial.
///
/// | part | encoding |
/// |---|---|
/// | kind of the payload | 1 |
/// | whether the ceremony succeeded | 0 or 1 |
/// | epoch | varint |
/// | output of the ceremony | as of `commonware-cryptography` |
/// | members who receive shares, and those of the epoch after | sets of public keys |
#[derive(Clone, Copy, Debug)]
pub struct AltoBoundary<S>(PhantomData<fn() -> S>);

impl<S> Default for AltoBoundary<S> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// The group's public key in `epoch`, as `block`, the last one of the epoch before, has it.
///
/// # Errors
///
/// The block carries none, or that of another epoch.
pub fn identity(epoch: Epoch, block: &AltoBlock) -> Result<Identity, Error> {
    let mut data = block.data.clone();
    match u8::read(&mut data)? {
        EPOCH_INFO => {}
        other => return Err(Error::InvalidEnum(other)),
    }
    let outcome = u8::read(&mut data)?;
    if outcome > 1 {
        return Err(Error::InvalidEnum(outcome));
    }
    if Epoch::read(&mut data)? != epoch {
        return Err(Error::Invalid("boundary", "it is about another epoch"));
    }
    let output =
        Output::<MinSig, PublicKey>::read_cfg(&mut data, &(MEMBERS_MAX, ModeVersion::v0()))?;
    let members = (RangeCfg::from(0..=MEMBERS_MAX.get() as usize), ());
    let _players = Set::<PublicKey>::read_cfg(&mut data, &members)?;
    let _next = Set::<PublicKey>::read_cfg(&mut data, &members)?;
    match data.remaining() {
        0 => Ok(*output.public().public()),
        extra => Err(Error::ExtraData(extra)),
    }
}

impl<S: Scheme> Boundary<AltoBlock> for AltoBoundary<S> {
    type Scheme = S;

    fn scheme(&self, epoch: Epoch, block: &AltoBlock) -> Result<S, Error> {
        Ok(S::certificate_verifier(NAMESPACE, identity(epoch, block)?))
    }

    fn key(&self, scheme: &S) -> Option<Bytes> {
        Some(scheme.identity().encode())
    }
}
