//! Alto's block, as the follower sees it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use commonware_codec::{Encode as _, EncodeSize, Error, RangeCfg, Read, Write};
use commonware_cryptography::Digestible as _;
use std::ops::Deref;
use tidewatch_core::{Block, BlockRef, Digest, Timed};

/// A block of an alto chain: alto's own type and encoding, and its digest computed when it is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct AltoBlock(pub alto_types::Block);

impl AltoBlock {
    /// The genesis block that every alto chain shares.
    pub fn genesis() -> Self {
        Self(alto_types::Block::genesis())
    }

    /// What its digest is the SHA-256 of, and where in that its parent's digest stands, in bytes.
    pub fn hashed(&self) -> (Bytes, usize) {
        let alto_types::Block { context, parent, height, timestamp, data, .. } = &self.0;
        let context = context.encode();
        let mut hashed = BytesMut::with_capacity(context.len() + 48 + data.len());
        hashed.put_slice(&context);
        hashed.put_slice(&parent.0);
        hashed.put_u64(height.get());
        hashed.put_u64(*timestamp);
        hashed.put_slice(data);
        (hashed.freeze(), context.len())
    }

    /// How blocks decode on a network whose payloads are at most `block_size_max` bytes.
    pub fn codec(block_size_max: u32) -> RangeCfg<usize> {
        alto_types::Block::codec_config(block_size_max)
    }
}

impl Deref for AltoBlock {
    type Target = alto_types::Block;

    fn deref(&self) -> &alto_types::Block {
        &self.0
    }
}

impl Block for AltoBlock {
    fn reference(&self) -> BlockRef {
        BlockRef::new(self.0.height, self.0.digest())
    }

    fn parent(&self) -> Digest {
        self.0.parent
    }
}

impl Timed for AltoBlock {
    fn time_ms(&self) -> Option<u64> {
        Some(self.0.timestamp)
    }
}

impl Write for AltoBlock {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for AltoBlock {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for AltoBlock {
    type Cfg = <alto_types::Block as Read>::Cfg;

    fn read_cfg(buf: &mut impl Buf, cfg: &Self::Cfg) -> Result<Self, Error> {
        alto_types::Block::read_cfg(buf, cfg).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_consensus::types::Height;
    use commonware_cryptography::{Hasher as _, Sha256};

    #[test]
    fn what_is_hashed_gives_the_digest_and_holds_the_parent() {
        let genesis = AltoBlock::genesis();
        let (parent, height) = (genesis.reference().digest, Height::new(1));
        let context = genesis.context.clone();
        let child = alto_types::Block::new(context, parent, height, 7, Bytes::from_static(b"data"));
        for block in [genesis, AltoBlock(child)] {
            let (hashed, at) = block.hashed();
            assert_eq!(Sha256::hash(&[&hashed]), block.reference().digest);
            assert_eq!(hashed[at..at + 32], block.parent().0);
        }
    }
}
