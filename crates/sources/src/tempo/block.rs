//! A block of Tempo: its header.

use super::header::TempoHeader;
use alloy_primitives::keccak256;
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, Write};
use std::{ops::Deref, sync::Arc};
use tidewatch_core::{Block, BlockRef, Digest, Height, Timed};

/// The longest header, in bytes of RLP. That of the last block of an epoch names the committee: some 2 KiB with 15
/// validators.
pub(super) const HEADER_MAX: usize = 64 * 1_024;

/// A block of Tempo as a follower needs it: the header, with its hash computed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempoBlock {
    header: Arc<TempoHeader>,
    digest: Digest,
}

/// Why a header is none of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is longer than any should be.
    #[error("a header of {0} bytes, more than {HEADER_MAX}")]
    TooLong(usize),
    /// It has a field of a later fork, and lacks one of an earlier fork: no bytes decode to it.
    #[error("a header that lacks a field before those of its last fork")]
    Gap,
}

impl TempoBlock {
    /// The block with `header`.
    ///
    /// # Errors
    ///
    /// The header is too long, or has a gap.
    pub fn seal(header: TempoHeader) -> Result<Self, Unfit> {
        let bytes = header.encode();
        if bytes.len() > HEADER_MAX {
            return Err(Unfit::TooLong(bytes.len()));
        }
        match TempoHeader::decode(&bytes).as_ref() == Some(&header) {
            true => Ok(Self::new(header, &bytes)),
            false => Err(Unfit::Gap),
        }
    }

    fn new(header: TempoHeader, bytes: &[u8]) -> Self {
        Self { header: Arc::new(header), digest: Digest(keccak256(bytes).0) }
    }
}

impl Deref for TempoBlock {
    type Target = TempoHeader;

    fn deref(&self) -> &TempoHeader {
        &self.header
    }
}

impl Block for TempoBlock {
    fn reference(&self) -> BlockRef {
        BlockRef::new(Height::new(self.header.inner.number), self.digest)
    }

    fn parent(&self) -> Digest {
        Digest(self.header.inner.parent_hash.0)
    }
}

impl Timed for TempoBlock {
    fn time_ms(&self) -> Option<u64> {
        Some(self.header.time_ms())
    }
}

/// What hashes to its digest, with the length of that before it.
impl Write for TempoBlock {
    fn write(&self, buf: &mut impl BufMut) {
        self.header.encode().write(buf);
    }
}

impl EncodeSize for TempoBlock {
    fn encode_size(&self) -> usize {
        self.header.encode().encode_size()
    }
}

impl Read for TempoBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let bytes = Vec::<u8>::read_cfg(buf, &(RangeCfg::new(..=HEADER_MAX), ()))?;
        let header = TempoHeader::decode(&bytes)
            .ok_or(Error::Invalid("TempoBlock", "not the one encoding of a header"))?;
        Ok(Self::new(header, &bytes))
    }
}
