//! Durable positions of consumers, beside the log: acknowledging does not wait for a commit.

use super::fault::Part;
use crate::limits;
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{DecodeExt as _, Encode, EncodeSize, Error, RangeCfg, Read, ReadExt, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_storage::{Context, metadata};
use std::collections::BTreeMap;
use tidewatch_core::{Cursor, Digest, Fault, Rule};

/// Larger than any position: a name and a cursor.
const POSITION_MAX: usize = 1024;

pub(super) struct Consumers<E: Context>(metadata::Metadata<E, Digest, Bytes>);

impl<E: Context> Consumers<E> {
    pub(super) async fn open(context: E, partition: String) -> Result<Self, Fault> {
        let codec_config = RangeCfg::from(0..=POSITION_MAX);
        let config = metadata::Config { partition, codec_config };
        let store = metadata::Metadata::init(context, config).await;
        Ok(Self(store.map_err(|error| Part::Consumers.failed(error))?))
    }

    pub(super) fn get(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let Some(bytes) = self.0.get(&key(consumer)) else { return Ok(None) };
        let corrupt = |why: String| Part::Consumers.corrupt(0, format!("{consumer}: {why}"));
        let position =
            Position::decode(bytes.clone()).map_err(|error| corrupt(error.to_string()))?;
        if position.consumer != consumer.as_bytes() {
            return Err(corrupt("the position of another consumer".into()));
        }
        Ok(Some(position.cursor))
    }

    /// Whether there is room for `consumer`.
    pub(super) fn admit(&self, consumer: &str) -> Result<(), Fault> {
        let known = self.0.get(&key(consumer)).is_some();
        limits::consumers(consumer, known, self.0.keys().count())
    }

    /// Durably replaces the positions of those among `positions` that there is room for, in one write.
    pub(super) async fn put(mut self, positions: BTreeMap<String, Cursor>) -> Result<Self, Fault> {
        for (consumer, cursor) in positions {
            if self.admit(&consumer).is_ok() {
                let key = key(&consumer);
                let position = Position { consumer: consumer.into(), cursor };
                self.0.put(key, position.encode());
            }
        }
        if !Rule::PositionSynced.kept() {
            return Ok(self);
        }
        let stored = self.0.sync().await;
        Ok(Self(stored.map_err(|error| Part::Consumers.failed(error))?))
    }
}

fn key(consumer: &str) -> Digest {
    Sha256::hash(&[consumer.as_bytes()])
}

struct Position {
    consumer: Vec<u8>,
    cursor: Cursor,
}

impl Write for Position {
    fn write(&self, buf: &mut impl BufMut) {
        self.consumer.write(buf);
        self.cursor.write(buf);
    }
}

impl EncodeSize for Position {
    fn encode_size(&self) -> usize {
        self.consumer.encode_size() + self.cursor.encode_size()
    }
}

impl Read for Position {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let consumer = Vec::read_cfg(buf, &(RangeCfg::from(1..=limits::NAME_MAX), ()))?;
        Ok(Self { consumer, cursor: Cursor::read(buf)? })
    }
}
