//! References to blocks and checkpoints, and the trait that blocks implement.

use crate::{Digest, Height};
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write, varint::UInt};
use std::fmt;

/// Exclusive upper bound on the height of a block that is followed, so that `height + 1` never
/// overflows.
pub const HEIGHT_LIMIT: Height = Height::new(u64::MAX - 1);

/// Identifies a block by height and digest. A height alone never identifies a block.
///
/// It has no `Default`: an unknown block is `Option::None`, and genesis is a block like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Distance from genesis, in blocks; genesis is 0.
    pub height: Height,
    /// Digest of the block, as the chain defines it.
    pub digest: Digest,
}

impl BlockRef {
    /// References the block with `digest` at `height`.
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

/// Identifies a checkpoint by number and digest. A checkpoint is a range of blocks that is published,
/// certified or sealed as a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointRef {
    /// Position in the chain's sequence of checkpoints.
    pub number: u64,
    /// Digest of the checkpoint, as the chain defines it.
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

/// Tip of a tier: a block, and the checkpoint that it belongs to. The payload of every tier event.
///
/// A tip is identified by its block. `checkpoint` is `None` on a chain without checkpoints, and after
/// a prune clamped the tip to a block in the middle of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tip {
    /// The highest block that has reached the tier.
    pub block: BlockRef,
    /// The checkpoint that raised the block to the tier, if the chain reports one.
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

/// What the stream requires of a block. The rest of its content is chain-specific.
///
/// [`Block::reference`] must be computed from the block's content (or checked against the content when
/// the block is decoded), never copied from a response: the stream's parent-link check relies on it.
pub trait Block: Clone + Send + Sync + 'static {
    /// Height and digest of this block.
    fn reference(&self) -> BlockRef;

    /// Digest of the parent block.
    fn parent(&self) -> Digest;
}

/// A block that can say when it was made.
pub trait Timed {
    /// The block's own timestamp, in milliseconds since the Unix epoch; `None` where it has none.
    fn time_ms(&self) -> Option<u64>;
}

/// Identifies a chain: a store that was created for one chain refuses to open for any other.
///
/// 1 to 128 printable ASCII characters without spaces, such as `alto:8f0c…`, `eth:1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChainId(String);

/// The text is not a valid chain id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chain id must be 1 to 128 printable ASCII characters, got {0:?}")]
pub struct ChainIdError(pub String);

impl ChainId {
    /// Length limit, in characters.
    pub const MAX: usize = 128;

    /// Validates a chain id.
    ///
    /// # Errors
    ///
    /// [`ChainIdError`] if `id` is empty, too long, or contains anything but printable ASCII.
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
