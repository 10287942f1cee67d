//! References to blocks and checkpoints, and the port for blocks themselves.

use crate::{Digest, Height};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write, varint::UInt};
use std::fmt;

/// No block is followed from here up: a position after it could not be counted.
pub const HEIGHT_LIMIT: Height = Height::new(u64::MAX - 1);

/// A block, named by height and digest. A bare height never names a block.
///
/// There is no default: an unknown block is `Option::None`, and genesis is a block like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Distance from genesis, in blocks; genesis is 0.
    pub height: Height,
    /// The chain's own digest of the block.
    pub digest: Digest,
}

impl BlockRef {
    /// Names the block `digest` at `height`.
    pub const fn new(height: Height, digest: Digest) -> Self {
        Self { height, digest }
    }
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.height, self.digest)
    }
}

impl Write for BlockRef {
    fn write(&self, buf: &mut impl BufMut) {
        self.height.write(buf);
        self.digest.write(buf);
    }
}

impl EncodeSize for BlockRef {
    fn encode_size(&self) -> usize {
        self.height.encode_size() + self.digest.encode_size()
    }
}

impl Read for BlockRef {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { height: Height::read(buf)?, digest: Digest::read(buf)? })
    }
}

/// A checkpoint, named by number and digest: a run of blocks published, certified or sealed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointRef {
    /// Position in the chain's sequence of checkpoints.
    pub number: u64,
    /// The chain's own digest of the checkpoint.
    pub digest: Digest,
}

impl Write for CheckpointRef {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.number).write(buf);
        self.digest.write(buf);
    }
}

impl EncodeSize for CheckpointRef {
    fn encode_size(&self) -> usize {
        UInt(self.number).encode_size() + self.digest.encode_size()
    }
}

impl Read for CheckpointRef {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { number: UInt::read(buf)?.into(), digest: Digest::read(buf)? })
    }
}

/// `<block, checkpoint>`: the thin payload of every tier event.
///
/// Two tips are the same tip if their blocks are. A chain without checkpoints, and a tip that was
/// clamped to a block inside of one, have `checkpoint: None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tip {
    /// The highest block that has the tier.
    pub block: BlockRef,
    /// The checkpoint that brought it there, where the chain names one.
    pub checkpoint: Option<CheckpointRef>,
}

impl From<BlockRef> for Tip {
    fn from(block: BlockRef) -> Self {
        Self { block, checkpoint: None }
    }
}

impl Write for Tip {
    fn write(&self, buf: &mut impl BufMut) {
        self.block.write(buf);
        self.checkpoint.write(buf);
    }
}

impl EncodeSize for Tip {
    fn encode_size(&self) -> usize {
        self.block.encode_size() + self.checkpoint.encode_size()
    }
}

impl Read for Tip {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { block: BlockRef::read(buf)?, checkpoint: Option::read(buf)? })
    }
}

/// A block as the stream needs to see it. What else is in it is the chain's business.
///
/// [`Block::reference`] must be computed from the block's content (or checked against it when the
/// block was decoded), never copied from an answer: the stream's parent-link check stands on it.
pub trait Block: Clone + Send + Sync + 'static {
    /// Height and digest of this block.
    fn reference(&self) -> BlockRef;

    /// Digest of the block before it.
    fn parent(&self) -> Digest;
}

/// Names a chain: a store that was opened for one chain refuses every other.
///
/// 1 to 128 printable ASCII characters without spaces, such as `alto:8f0c…`, `eth:1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChainId(String);

/// Why a text cannot name a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chain id must be 1 to 128 printable ASCII characters, got {0:?}")]
pub struct ChainIdError(pub String);

impl ChainId {
    /// Length limit, in characters.
    pub const MAX: usize = 128;

    /// Checks and wraps a chain id.
    pub fn new(id: impl Into<String>) -> Result<Self, ChainIdError> {
        let id = id.into();
        let printable = id.bytes().all(|byte| byte.is_ascii_graphic());
        if id.is_empty() || id.len() > Self::MAX || !printable {
            return Err(ChainIdError(id));
        }
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_is_printable_and_bounded() {
        assert!(ChainId::new("alto:00ff").is_ok());
        assert!(ChainId::new("x".repeat(ChainId::MAX)).is_ok());
        for bad in [String::new(), "x".repeat(ChainId::MAX + 1), "a b".into(), "é".into()] {
            assert_eq!(ChainId::new(bad.clone()), Err(ChainIdError(bad)));
        }
    }
}
