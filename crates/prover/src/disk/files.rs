//! Inputs and proofs: one file each.

use super::Config;
use crate::{Error, Key, Stored};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Blob as _, Error as RuntimeError, ReadOptions, WriteOptions};
use commonware_storage::Context;
use tidewatch_core::{BlockRef, Digest, Height};
use tracing::warn;

/// Heights whose proofs share a directory.
pub(crate) const SHARD: u64 = 1 << 16;
/// A file starts with its digest and its length.
const HEADER: usize = 40;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Inputs,
    Proof,
    /// A proof of a block that was reorged out.
    Aside,
    /// A proof at the prover that made it.
    #[cfg(feature = "http")]
    Finished,
    /// A proof of a range of blocks.
    Range,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Proof | Self::Aside | Self::Range => "proof",
            #[cfg(feature = "http")]
            Self::Finished => "a finished proof",
        }
    }

    pub(crate) fn failed(self, error: RuntimeError) -> Error {
        Error::File { what: self.as_str(), error }
    }
}

/// All files of one directory.
pub(crate) struct Files<E: Context> {
    context: E,
    config: Config,
}

impl<E: Context> Files<E> {
    pub(crate) const fn new(context: E, config: Config) -> Self {
        Self { context, config }
    }

    pub(crate) fn partition(&self, kind: Kind, height: u64) -> String {
        let prefix = &self.config.partition;
        match kind {
            Kind::Inputs => format!("{prefix}-inputs"),
            Kind::Proof => format!("{prefix}-proofs-{:08x}", height / SHARD),
            Kind::Aside => format!("{prefix}-aside"),
            #[cfg(feature = "http")]
            Kind::Finished => format!("{prefix}-finished"),
            Kind::Range => format!("{prefix}-ranges"),
        }
    }

    const fn max(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Inputs => self.config.inputs_max,
            Kind::Proof | Kind::Aside | Kind::Range => self.config.proof_max,
            #[cfg(feature = "http")]
            Kind::Finished => self.config.proof_max,
        }
    }

    /// The file of `key`: its height, its digest, and where its range begins. The program is that of the directory.
    fn name(kind: Kind, key: &Key) -> Vec<u8> {
        let mut name = key.height().to_be_bytes().to_vec();
        name.extend_from_slice(&key.block.digest.0);
        if kind == Kind::Range {
            name.extend_from_slice(&key.first.get().to_be_bytes());
        }
        name
    }

    fn block(name: &[u8]) -> Option<BlockRef> {
        let (height, digest) = name.split_first_chunk::<8>()?;
        let digest = <[u8; 32]>::try_from(digest).ok()?;
        Some(BlockRef::new(Height::new(u64::from_be_bytes(*height)), Digest(digest)))
    }

    /// Writes a file durably. One that is there already, and whole, stays as it is: nothing overwrites it.
    pub(crate) async fn write(
        &self,
        kind: Kind,
        key: &Key,
        bytes: &Bytes,
    ) -> Result<Stored, Error> {
        let (max, len) = (self.max(kind), bytes.len() as u64);
        if len > max {
            return Err(Error::Oversized {
                what: kind.as_str(),
                block: key.block,
                bytes: len,
                max,
            });
        }
        let stored = Stored::of(bytes);
        let partition = self.partition(kind, key.height());
        let opened = self.context.open(&partition, &Self::name(kind, key)).await;
        let (blob, there) = opened.map_err(|error| kind.failed(error))?;
        let result = async {
            if there > 0 {
                if let Some((stored, _)) = read(&blob, there, max).await? {
                    // A process that was killed may have written it without the barrier.
                    blob.sync().await?;
                    return Ok(stored);
                }
                blob.resize(0).await?;
            }
            let mut file = BytesMut::with_capacity(HEADER + bytes.len());
            file.put_slice(&stored.digest.0);
            file.put_u64(len);
            file.put_slice(bytes);
            blob.write_at(0, file.freeze(), WriteOptions::default()).await?;
            blob.sync().await?;
            Ok(stored)
        };
        result.await.map_err(|error| kind.failed(error))
    }

    /// What a file holds; `None` where there is none, or what is there is not whole.
    pub(crate) async fn read(
        &self,
        kind: Kind,
        key: &Key,
    ) -> Result<Option<(Stored, Bytes)>, Error> {
        let partition = self.partition(kind, key.height());
        let opened = self.context.open(&partition, &Self::name(kind, key)).await;
        let (blob, len) = opened.map_err(|error| kind.failed(error))?;
        let found = read(&blob, len, self.max(kind)).await.map_err(|error| kind.failed(error))?;
        if found.is_none() && len == 0 {
            // Opening made it.
            self.remove(kind, key).await;
        }
        Ok(found)
    }

    /// Removes a file. One that cannot be removed is swept at the next start.
    pub(crate) async fn remove(&self, kind: Kind, key: &Key) {
        let partition = self.partition(kind, key.height());
        match self.context.remove(&partition, Some(&Self::name(kind, key))).await {
            Ok(()) | Err(RuntimeError::BlobMissing(..) | RuntimeError::PartitionMissing(_)) => {}
            Err(error) => warn!(block = %key.block, what = kind.as_str(), %error, "not removed"),
        }
    }

    async fn names(&self, kind: Kind, height: u64) -> Result<Vec<Vec<u8>>, Error> {
        match self.context.scan(&self.partition(kind, height)).await {
            Ok(names) => Ok(names),
            Err(RuntimeError::PartitionMissing(_)) => Ok(Vec::new()),
            Err(error) => Err(kind.failed(error)),
        }
    }

    /// The blocks that there are files of, in the directory of `height`.
    pub(crate) async fn scan(&self, kind: Kind, height: u64) -> Result<Vec<BlockRef>, Error> {
        let names = self.names(kind, height).await?;
        Ok(names.iter().filter_map(|name| Self::block(name)).collect())
    }

    /// The ranges that there are proofs of.
    pub(crate) async fn ranges(&self, program: Digest) -> Result<Vec<Key>, Error> {
        let names = self.names(Kind::Range, 0).await?;
        let key = |name: &Vec<u8>| {
            let (block, first) = name.split_last_chunk::<8>()?;
            let (block, first) = (Self::block(block)?, Height::new(u64::from_be_bytes(*first)));
            (first <= block.height).then_some(Key { block, program, first })
        };
        Ok(names.iter().filter_map(key).collect())
    }

    /// Removes the directory of proofs that `height` lies in.
    pub(crate) async fn remove_shard(&self, height: u64) {
        let partition = self.partition(Kind::Proof, height);
        match self.context.remove(&partition, None).await {
            Ok(()) | Err(RuntimeError::PartitionMissing(_)) => {}
            Err(error) => warn!(height, %error, "proofs not removed"),
        }
    }
}

async fn read(
    blob: &impl commonware_runtime::Blob,
    len: u64,
    max: u64,
) -> Result<Option<(Stored, Bytes)>, RuntimeError> {
    let Some(bytes) = len.checked_sub(HEADER as u64).filter(|bytes| *bytes <= max) else {
        return Ok(None);
    };
    let file = blob.read_at(0, len as usize, ReadOptions::default()).await?;
    let mut file: Bytes = file.coalesce().freeze().into();
    let header = file.split_to(HEADER);
    let Some((digest, length)) = header.split_first_chunk::<32>() else { return Ok(None) };
    let stored = Stored { digest: Digest(*digest), bytes };
    let whole = length == bytes.to_be_bytes() && Sha256::hash(&[&file]) == stored.digest;
    Ok(whole.then_some((stored, file)))
}
