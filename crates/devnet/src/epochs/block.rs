//! The block: alto's, whose data is what the resharing publishes.

use crate::MEMBERS_MAX;
use alto_types::{Context, PublicKey};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{Decode as _, Encode as _, EncodeSize, Error, Read, Write};
use commonware_consensus::{CertifiableBlock, Heightable, types::Height};
use commonware_cryptography::{
    Digestible,
    bls12381::primitives::{sharing::ModeVersion, variant::MinSig},
    ed25519::PrivateKey,
    sha256::Digest,
};
use commonware_glue::dkg::{ReshareBlock, types};
use commonware_utils::sequence::Unit;
use std::{num::NonZeroU32, sync::Arc};

/// What an epoch begins with: its committee, its key, and who is next.
pub type EpochInfo = types::EpochInfo<MinSig, PublicKey>;
/// What a block's data is, unless it is empty: a dealer's result, or in the last block of an epoch the
/// [`EpochInfo`] of the next one.
pub type Payload = types::Payload<MinSig, PrivateKey>;

/// Maximum number of bytes of a payload: several times that of sixteen members.
pub(super) const PAYLOAD_MAX: u32 = 64 * 1024;
/// Maximum number of members in each set of a payload.
pub(super) const MEMBERS: NonZeroU32 = NonZeroU32::new(MEMBERS_MAX).unwrap();
/// Version of the key's polynomial.
pub(super) const VERSION: ModeVersion = ModeVersion::v0();

/// Decodes the data of a block. `None` if it is empty.
///
/// # Errors
///
/// The codec's error if the data is no payload.
pub fn payload(data: &Bytes) -> Result<Option<Payload>, Error> {
    if data.is_empty() {
        return Ok(None);
    }
    Payload::decode_cfg(data.clone(), &(MEMBERS, VERSION)).map(Some)
}

/// What decoding a block needs to know: the payload of the first block is not in its data, because that
/// block is alto's.
#[derive(Clone)]
pub(super) struct Format(Arc<EpochInfo>);

impl Format {
    pub(super) fn new(first: EpochInfo) -> Self {
        Self(Arc::new(first))
    }

    /// The block at height 0.
    pub(super) fn genesis(&self) -> Block {
        let payload = Payload::EpochInfo(EpochInfo::clone(&self.0));
        Block { alto: alto_types::Block::genesis(), payload: Some(payload) }
    }
}

/// An alto block with its payload decoded.
#[derive(Clone)]
pub(super) struct Block {
    alto: alto_types::Block,
    payload: Option<Payload>,
}

impl Block {
    pub(super) fn new(
        context: Context,
        parent: &Self,
        timestamp: u64,
        payload: Option<Payload>,
    ) -> Self {
        let data = payload.as_ref().map(|payload| payload.encode()).unwrap_or_default();
        let (parent, height) = (parent.digest(), parent.height().next());
        let alto = alto_types::Block::new(context, parent, height, timestamp, data);
        Self { alto, payload }
    }

    pub(super) const fn timestamp(&self) -> u64 {
        self.alto.timestamp
    }

    pub(super) fn into_alto(self) -> alto_types::Block {
        self.alto
    }
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.alto.write(buf);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        self.alto.encode_size()
    }
}

impl Read for Block {
    type Cfg = Format;

    fn read_cfg(buf: &mut impl Buf, format: &Format) -> Result<Self, Error> {
        let size = alto_types::Block::codec_config(PAYLOAD_MAX);
        let alto = alto_types::Block::read_cfg(buf, &size)?;
        if alto.height == Height::zero() {
            let genesis = format.genesis();
            return if alto == genesis.alto {
                Ok(genesis)
            } else {
                Err(Error::Invalid("Block", "another block at height 0"))
            };
        }
        let payload = payload(&alto.data)?;
        Ok(Self { alto, payload })
    }
}

impl Digestible for Block {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        self.alto.digest()
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        self.alto.height
    }
}

impl commonware_consensus::Block for Block {
    fn parent(&self) -> Digest {
        self.alto.parent
    }
}

impl CertifiableBlock for Block {
    type Context = Context;

    fn context(&self) -> Context {
        self.alto.context.clone()
    }
}

impl ReshareBlock for Block {
    type Variant = MinSig;
    type Signer = PrivateKey;
    type Directory = Unit;

    fn payload(&self) -> Option<Payload> {
        self.payload.clone()
    }
}
