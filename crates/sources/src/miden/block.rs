//! Blocks, as the follower sees them: headers that were signed.

use super::{Header, header::KEY_BYTES};
use alloy_primitives::keccak256;
use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt as _, Write};
use k256::ecdsa::{self, VerifyingKey, signature::hazmat::PrehashVerifier as _};
use std::{fmt, ops::Deref};
use tidewatch_core::{Block, BlockRef, Digest, Height};

/// The highest recovery id that a signature may have.
const RECOVERY_MAX: u8 = 3;

/// A signature of a header's commitment on secp256k1, as it is encoded: r, s, and the recovery id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 65]);

impl Signature {
    /// The signature in `bytes`; `None` if its recovery id is none.
    pub fn from_bytes(bytes: &[u8; 65]) -> Option<Self> {
        (bytes[64] <= RECOVERY_MAX).then_some(Self(*bytes))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&commonware_formatting::hex(&self.0))
    }
}

impl Write for Signature {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }
}

impl FixedSize for Signature {
    const SIZE: usize = 65;
}

impl Read for Signature {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let bytes = <[u8; 65]>::read(buf)?;
        Self::from_bytes(&bytes).ok_or(Error::Invalid("Signature", "no such recovery id"))
    }
}

/// A validator's key: that which genesis names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    bytes: [u8; KEY_BYTES],
    key: VerifyingKey,
}

/// Why a block is not one that the validator signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// Its header names another key.
    OtherKey,
    /// The signature is not one of its commitment by that key.
    Signature,
}

impl Key {
    /// The key in `bytes`; `None` if that is no point of the curve.
    pub(super) fn from_bytes(bytes: [u8; KEY_BYTES]) -> Option<Self> {
        let key = VerifyingKey::from_sec1_bytes(&bytes).ok()?;
        Some(Self { bytes, key })
    }

    /// Whether the validator signed `block`.
    pub(super) fn check(&self, block: &MidenBlock) -> Result<(), Unsigned> {
        if block.header.validator != self.bytes {
            return Err(Unsigned::OtherKey);
        }
        let signed = keccak256(block.digest.0);
        let [r, s] = [0, 32].map(|at| &block.signature.0[at..at + 32]);
        let signature = ecdsa::Signature::from_slice(&[r, s].concat());
        let verified =
            signature.and_then(|signature| self.key.verify_prehash(&signed.0, &signature));
        verified.map_err(|_| Unsigned::Signature)
    }
}

/// A block of a Miden chain without its transactions and notes: its header, and the validator's signature.
///
/// Its digest is the commitment of its header, computed when it is read or decoded. The signature is what
/// came with it: whoever takes a block from outside checks it against the key that genesis names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MidenBlock {
    header: Header,
    signature: Signature,
    digest: Digest,
}

impl MidenBlock {
    pub(super) fn new(header: Header, signature: Signature) -> Self {
        let digest = Digest(header.commitment().to_bytes());
        Self { header, signature, digest }
    }

    /// The block in `bytes` as a node keeps it: the header, what is in the block, and the signature. What is
    /// between is skipped: the commitment covers its roots.
    pub(super) fn of_node(bytes: &[u8]) -> Result<Self, Error> {
        let (mut front, back) = bytes
            .split_at_checked(bytes.len().saturating_sub(Signature::SIZE))
            .ok_or(Error::EndOfBuffer)?;
        let mut back = back;
        let header = Header::read(&mut front)?;
        Ok(Self::new(header, Signature::read(&mut back)?))
    }

    /// The validator's signature.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl Deref for MidenBlock {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl Block for MidenBlock {
    fn reference(&self) -> BlockRef {
        BlockRef::new(Height::new(self.header.number.into()), self.digest)
    }

    fn parent(&self) -> Digest {
        Digest(self.header.parent.to_bytes())
    }
}

impl Write for MidenBlock {
    fn write(&self, buf: &mut impl BufMut) {
        self.header.write(buf);
        self.signature.write(buf);
    }
}

impl FixedSize for MidenBlock {
    const SIZE: usize = Header::SIZE + Signature::SIZE;
}

impl Read for MidenBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let header = Header::read(buf)?;
        Ok(Self::new(header, Signature::read(buf)?))
    }
}
