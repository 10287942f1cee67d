//! What survives: proofs of ranges, and what somebody asked for.

use crate::{
    Error, Key,
    disk::{
        self,
        files::{Files, Kind},
    },
    epochs::Range,
    scheduler::NewBlock,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::RangeCfg;
use commonware_storage::{
    Context,
    metadata::{self, Metadata},
};
use commonware_utils::sequence::U64;
use std::collections::BTreeSet;
use tidewatch_core::{BlockRef, ChainId, Digest, Height};

/// The version of this format.
const FORMAT: u8 = 1;
/// Where it is written what the directory is of; epochs that were asked for are above it.
const BASE: u64 = 0;
/// Longest value of the table.
const VALUE_MAX: usize = 1 + 32 + ChainId::MAX;

/// Everything that survives. It has one writer.
pub(super) struct Kept<E: Context> {
    files: Files<E>,
    /// Closed by a write that failed or was cut off.
    table: Option<Metadata<E, U64, Bytes>>,
    program: Digest,
    /// Ranges that there are files of: first height, last height, digest.
    there: BTreeSet<(Height, Height, [u8; 32])>,
}

impl<E: Context> Kept<E> {
    pub(super) async fn open(
        context: &E,
        config: &disk::Config,
        chain: &ChainId,
        program: Digest,
    ) -> Result<Self, Error> {
        let partition = format!("{}-sessions", config.partition);
        let codec_config = RangeCfg::from(0..=VALUE_MAX);
        let settings = metadata::Config { partition, codec_config };
        let mut table = Metadata::init(context.child("sessions"), settings).await?;
        let mut base = BytesMut::new();
        base.put_u8(FORMAT);
        base.put_slice(&program.0);
        base.put_slice(chain.as_str().as_bytes());
        let base = base.freeze();
        match table.get(&U64::new(BASE)).cloned() {
            None => {
                table.put(U64::new(BASE), base);
                table = table.sync().await?;
            }
            Some(found) if found == base => {}
            Some(found) => return Err(other(&found, chain, program)),
        }
        let files = Files::new(context.child("ranges"), config.clone());
        let keys = files.ranges(program).await?;
        let there = keys.iter().map(|key| (key.first, key.block.height, key.block.digest.0));
        let there = there.collect();
        Ok(Self { files, table: Some(table), program, there })
    }

    /// The key of a range that ends in `block`.
    pub(super) const fn key(&self, first: u64, block: BlockRef) -> Key {
        Key { block, program: self.program, first: Height::new(first) }
    }

    /// Keeps a proof that was verified, durably.
    pub(super) async fn put(&mut self, key: &Key, proof: &Bytes) -> Result<(), Error> {
        self.files.write(Kind::Range, key, proof).await?;
        self.there.insert((key.first, key.block.height, key.block.digest.0));
        Ok(())
    }

    /// The proof of `key`; `None` where there is none, or it is damaged: it is made again then.
    pub(super) async fn get(&mut self, key: &Key) -> Result<Option<Bytes>, Error> {
        let name = (key.first, key.block.height, key.block.digest.0);
        if !self.there.contains(&name) {
            return Ok(None);
        }
        let found = self.files.read(Kind::Range, key).await?;
        if found.is_none() {
            self.there.remove(&name);
            self.files.remove(Kind::Range, key).await;
        }
        Ok(found.map(|(_, proof)| proof))
    }

    /// Ranges of `blocks` that there are whole proofs of.
    pub(super) async fn within(&mut self, blocks: &[NewBlock]) -> Result<Vec<Range>, Error> {
        let Some(first) = blocks.first().map(|block| block.block.height) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for NewBlock { block, .. } in blocks {
            let ends = |range: &(Height, Height, [u8; 32])| {
                (range.1, range.2) == (block.height, block.digest.0) && range.0 >= first
            };
            let ranges: Vec<_> =
                self.there.range((first, Height::zero(), [0; 32])..).copied().collect();
            for (first, ..) in ranges.into_iter().filter(ends) {
                let key = self.key(first.get(), *block);
                if self.get(&key).await?.is_some() {
                    found.push(Range { first: first.get(), last: block.height.get() });
                }
            }
        }
        Ok(found)
    }

    /// Removes proofs of ranges that end below `floor`: nobody joins or publishes them any more.
    pub(super) async fn sweep(&mut self, floor: u64) {
        let old: Vec<_> =
            self.there.iter().filter(|(_, last, _)| last.get() < floor).copied().collect();
        for (first, height, digest) in old {
            let key = self.key(first.get(), BlockRef::new(height, Digest(digest)));
            self.files.remove(Kind::Range, &key).await;
            self.there.remove(&(first, height, digest));
        }
    }

    /// Epochs that somebody asked for.
    pub(super) fn asked(&self) -> Vec<u64> {
        let table = self.table.iter().flat_map(|table| table.keys());
        table.filter_map(|key| u64::from(key).checked_sub(BASE + 1)).collect()
    }

    /// Somebody asked for `epoch`, or has it, durably.
    pub(super) async fn ask(&mut self, epoch: u64, wanted: bool) -> Result<(), Error> {
        let key = U64::new(epoch.saturating_add(BASE + 1));
        let mut table = self.table.take().ok_or(Error::Closed)?;
        if wanted != table.get(&key).is_some() {
            if wanted {
                table.put(key, Bytes::new());
            } else {
                table.remove(&key);
            }
            table = table.sync().await?;
        }
        self.table = Some(table);
        Ok(())
    }
}

/// Why a directory is not the one of `chain` under `program`.
fn other(found: &[u8], chain: &ChainId, program: Digest) -> Error {
    let format = found.first().copied().unwrap_or_default();
    let rest = found.get(1..).and_then(|rest| rest.split_first_chunk::<32>());
    let Some((theirs, name)) = rest.filter(|_| format == FORMAT) else {
        return Error::Format { found: format, reads: FORMAT };
    };
    match ChainId::new(String::from_utf8_lossy(name).into_owned()) {
        Ok(found) if found != *chain => Error::WrongChain { found, wanted: chain.clone() },
        _ => Error::WrongProgram { found: Digest(*theirs), wanted: program },
    }
}
