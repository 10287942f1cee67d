//! The small things: which chain this is, where its runs begin, anchors, evidence.
//!
//! Kept in two copies, each with a checksum over all of it, written in turns. Losing the newer copy
//! to the disk brings back the older one, so what a restart cannot do without is written to both; anchors,
//! which change often and are followed from the events, are not. Nothing here is believed without a look at
//! the events.

use crate::{Error as StoreError, Part, known::RunStart};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{
    DecodeExt as _, Encode, EncodeSize, Error, RangeCfg, Read, ReadExt, Write, varint::UInt,
};
use commonware_storage::{Context, metadata};
use commonware_utils::sequence::U64;
use std::num::NonZeroU64;
use tidewatch_core::{BlockRef, ChainId, ChainInfo, Fault, Height};

/// Of the directory as a whole. A change of anything stored is a change of this.
const FORMAT: u8 = 2;
/// Larger than any value here: 64 anchors, or 64 conflicts, of 44 bytes a block.
const VALUE_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Header = 0,
    Runs = 1,
    Anchors = 2,
    Evidence = 3,
    /// The height that blocks were trimmed up to: where those below it are gone, nothing was lost. It
    /// is durable before the first of them is removed.
    Trimmed = 4,
}

/// What a directory was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) chain_info: ChainInfo,
    pub(super) blocks_per_section: NonZeroU64,
}

/// A run of blocks, in one of two slots on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) slot: u8,
    pub(super) start: RunStart,
    /// Sequence of the event that delivered its first block. Until that event is there, the run
    /// before it counts.
    pub(super) sequence: u64,
}

/// The current run, after the one before it where that was not yet removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs(pub(super) Vec<Run>);

/// A value that was right when the log had `sequence` events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AsOf<T> {
    pub(super) sequence: u64,
    pub(super) value: T,
}

pub(super) struct Meta<E: Context>(metadata::Metadata<E, U64, Bytes>);

impl<E: Context> Meta<E> {
    pub(super) async fn open(context: E, partition: String) -> Result<Self, Fault> {
        let codec_config = RangeCfg::from(0..=VALUE_MAX);
        let config = metadata::Config { partition, codec_config };
        let store = metadata::Metadata::init(context, config).await;
        Ok(Self(store.map_err(|error| Part::Meta.failed(error))?))
    }

    /// The header; `None` in a new directory.
    pub(super) fn header(&self) -> Result<Option<Header>, Fault> {
        if let Some(found) =
            self.0.get(&U64::new(Key::Header as u64)).and_then(|bytes| bytes.first())
            && *found != FORMAT
        {
            return Err(StoreError::Format { found: *found, reads: FORMAT }.fault());
        }
        self.get(Key::Header)
    }

    pub(super) fn get<T: Read<Cfg = ()>>(&self, key: Key) -> Result<Option<T>, Fault> {
        let Some(bytes) = self.0.get(&U64::new(key as u64)) else { return Ok(None) };
        let value = T::decode(bytes.clone());
        value.map(Some).map_err(|error| Part::Meta.corrupt(key as u64, error))
    }

    /// Durably replaces one value.
    pub(super) async fn put(self, key: Key, value: &impl Encode) -> Result<Self, Fault> {
        let failed = |error| Part::Meta.failed(error);
        let stored = self.0.put_sync(U64::new(key as u64), value.encode()).await.map_err(failed)?;
        if matches!(key, Key::Anchors) {
            return Ok(Self(stored));
        }
        // The other copy has the same before anything relies on it.
        Ok(Self(stored.sync().await.map_err(failed)?))
    }
}

impl Write for Header {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u8(FORMAT);
        self.chain_info.id.as_str().as_bytes().write(buf);
        self.chain_info.genesis.write(buf);
        UInt(self.blocks_per_section.get()).write(buf);
    }
}

impl EncodeSize for Header {
    fn encode_size(&self) -> usize {
        1 + self.chain_info.id.as_str().as_bytes().encode_size()
            + self.chain_info.genesis.encode_size()
            + UInt(self.blocks_per_section.get()).encode_size()
    }
}

impl Read for Header {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let invalid = |why| Error::Invalid("Header", why);
        if u8::read(buf)? != FORMAT {
            return Err(invalid("format"));
        }
        let chain = Vec::<u8>::read_cfg(buf, &(RangeCfg::from(1..=ChainId::MAX), ()))?;
        let chain = String::from_utf8(chain).map_err(|_| invalid("chain id"))?;
        let chain = ChainId::new(chain).map_err(|_| invalid("chain id"))?;
        let chain_info = ChainInfo { id: chain, genesis: BlockRef::read(buf)? };
        let blocks: u64 = UInt::read(buf)?.into();
        let blocks_per_section =
            NonZeroU64::new(blocks).ok_or(invalid("no blocks in a section"))?;
        Ok(Self { chain_info, blocks_per_section })
    }
}

impl Write for Run {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_u8(self.slot);
        self.start.first.write(buf);
        self.start.base.write(buf);
        UInt(self.sequence).write(buf);
    }
}

impl EncodeSize for Run {
    fn encode_size(&self) -> usize {
        1 + self.start.first.encode_size()
            + self.start.base.encode_size()
            + UInt(self.sequence).encode_size()
    }
}

impl Read for Run {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let slot = u8::read(buf)?;
        let start = RunStart { first: Height::read(buf)?, base: Option::read(buf)? };
        if slot > 1 {
            return Err(Error::Invalid("Run", "slot"));
        }
        Ok(Self { slot, start, sequence: UInt::read(buf)?.into() })
    }
}

impl Write for Runs {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for Runs {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for Runs {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self(Vec::read_cfg(buf, &(RangeCfg::from(0..=2), ()))?))
    }
}

impl<T: Write> Write for AsOf<T> {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.sequence).write(buf);
        self.value.write(buf);
    }
}

impl<T: EncodeSize> EncodeSize for AsOf<T> {
    fn encode_size(&self) -> usize {
        UInt(self.sequence).encode_size() + self.value.encode_size()
    }
}

impl<T: Read<Cfg = ()>> Read for AsOf<T> {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self { sequence: UInt::read(buf)?.into(), value: T::read(buf)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{Hasher as _, Sha256};
    use tidewatch_core::Digest;

    fn block(height: u64) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([height as u8; 32]))
    }

    #[test]
    fn the_directory_format_is_frozen() {
        let chain_info = ChainInfo { id: ChainId::new("test:1").unwrap(), genesis: block(0) };
        let header = Header { chain_info, blocks_per_section: NonZeroU64::new(300).unwrap() };
        let start = RunStart { first: Height::new(7), base: Some(block(6)) };
        let runs = Runs(vec![Run { slot: 1, start, sequence: 400 }]);
        let anchors = AsOf { sequence: 400, value: runs.clone() };
        assert_eq!(Header::decode(header.encode()).unwrap(), header);
        assert_eq!(Runs::decode(runs.encode()).unwrap(), runs);
        assert_eq!(AsOf::<Runs>::decode(anchors.encode()).unwrap(), anchors);
        let all = [header.encode(), runs.encode(), anchors.encode()].concat();
        assert_eq!(
            Sha256::hash(&[&all]).to_string(),
            "0497b4494529131f658341096413feb95cd7f4b60eb577342feb19e4c31ceb56"
        );
    }
}
