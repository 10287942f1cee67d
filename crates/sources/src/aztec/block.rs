//! Blocks, as the follower sees them: headers and what links them.

use super::{Header, Tree};
use bytes::{Buf, BufMut};
use commonware_codec::{Error, FixedSize, Read, ReadExt as _, Write};
use serde::Deserialize;
use std::ops::Deref;
use tidewatch_core::{Block, BlockRef, Digest};

/// A header, its hash, and the archive after it, as a node gave them. The hash was computed here. The
/// archive is what the node says until a child's header names it as the one that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) header: Header,
    pub(super) digest: Digest,
    pub(super) archive: Tree,
}

impl Sealed {
    pub(super) fn reference(&self) -> BlockRef {
        BlockRef::new(self.header.height(), self.digest)
    }

    /// Whether `child`, a block of any chain, says that it stands on this block.
    pub(super) fn is_parent_of(&self, child: &Self) -> bool {
        child.header.number.checked_sub(1) == Some(self.header.number)
            && child.header.last_archive == self.archive
    }

    /// The block, standing on `parent`, which whoever calls checked.
    pub(super) fn on(self, parent: Digest) -> AztecBlock {
        AztecBlock { sealed: self, parent }
    }
}

/// What is read of a block in a node's answer. Its transactions, which are most of it, are skipped.
#[derive(Deserialize)]
pub(super) struct Wire {
    archive: Tree,
    pub(super) header: Header,
}

impl From<Wire> for Sealed {
    fn from(Wire { archive, header }: Wire) -> Self {
        let digest = header.digest();
        Self { header, digest, archive }
    }
}

/// A block of an Aztec chain without its transactions: its header, the archive after it, and the digest
/// of its parent.
///
/// Its digest is the hash of its header, computed when it is read or decoded. The header names the
/// parent by the archive that it stands on; [`Block::parent`] is the digest of the block whose archive
/// that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AztecBlock {
    sealed: Sealed,
    parent: Digest,
}

impl AztecBlock {
    /// The archive after this block: that of every child's [`Header::last_archive`].
    pub const fn archive(&self) -> Tree {
        self.sealed.archive
    }
}

impl Deref for AztecBlock {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.sealed.header
    }
}

impl Block for AztecBlock {
    fn reference(&self) -> BlockRef {
        self.sealed.reference()
    }

    fn parent(&self) -> Digest {
        self.parent
    }
}

impl Write for AztecBlock {
    fn write(&self, buf: &mut impl BufMut) {
        self.sealed.header.write(buf);
        self.sealed.archive.write(buf);
        self.parent.write(buf);
    }
}

impl FixedSize for AztecBlock {
    const SIZE: usize = Header::SIZE + Tree::SIZE + Digest::SIZE;
}

impl Read for AztecBlock {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let header = Header::read(buf)?;
        let digest = header.digest();
        let archive = Tree::read(buf)?;
        Ok(Self { sealed: Sealed { header, digest, archive }, parent: Digest::read(buf)? })
    }
}
