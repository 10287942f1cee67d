//! Durable positions of consumers, beside the log: storing one does not wait for a commit, and loading
//! one does not wait for a write.

use crate::{Damage, Part, Slowest, error::Cause, limits};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{DecodeExt as _, Encode, EncodeSize, Error, RangeCfg, Read, ReadExt, Write};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_storage::{Context, metadata};
use commonware_utils::sync::{AsyncMutex, Mutex};
use std::collections::BTreeMap;
use tidewatch_core::{Cursor, Digest, Fault};

/// Larger than any position: a name and a cursor.
const POSITION_MAX: usize = 1024;

type Disk<E> = metadata::Metadata<E, Digest, Bytes>;

pub(super) struct Positions<E: Context> {
    /// `None` once a write failed or was cut off.
    disk: AsyncMutex<Option<Disk<E>>>,
    /// Positions that wait for the next write, `None` where one is to be forgotten: however many
    /// wait, they are one write.
    waiting: Mutex<BTreeMap<String, Option<Cursor>>>,
    /// What is durable; `None` once a write failed or was cut off.
    durable: Mutex<Option<BTreeMap<Digest, Bytes>>>,
    /// Events that each consumer durably acknowledged, as far as its position can be read.
    handled: Mutex<BTreeMap<String, u64>>,
    cause: Cause,
}

impl<E: Context> Positions<E> {
    pub(super) async fn open(context: E, partition: String, cause: Cause) -> Result<Self, Fault> {
        let codec_config = RangeCfg::from(0..=POSITION_MAX);
        let config = metadata::Config { partition, codec_config };
        let disk = Disk::init(context, config).await;
        let disk = disk.map_err(|error| Part::Consumers.failed(error))?;
        let durable = copy(&disk);
        // One that cannot be read holds no events: it is refused when its consumer asks for it.
        let readable = durable.values().filter_map(|bytes| Position::decode(bytes.clone()).ok());
        let handled = readable.map(|position| (position.consumer, position.cursor.handled()));
        let handled = Mutex::new(handled.collect());
        Ok(Self {
            handled,
            disk: AsyncMutex::new(Some(disk)),
            waiting: Mutex::default(),
            durable: Mutex::new(Some(durable)),
            cause,
        })
    }

    pub(super) fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let durable = self.durable.lock();
        let Some(bytes) = durable.as_ref().ok_or_else(|| self.cause.fault())?.get(&key(consumer))
        else {
            return Ok(None);
        };
        let position = decode(consumer, bytes)?;
        if position.consumer == consumer {
            Ok(Some(position.cursor))
        } else {
            Err(Part::Consumers.corrupt(0, Damage::OtherConsumer(consumer.into())))
        }
    }

    pub(super) fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        let durable = self.durable.lock();
        let positions = durable.as_ref().ok_or_else(|| self.cause.fault())?.values();
        let mut list = positions
            .map(|bytes| decode("a consumer", bytes))
            .map(|position| position.map(|position| (position.consumer, position.cursor)))
            .collect::<Result<Vec<_>, _>>()?;
        list.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(list)
    }

    /// Durably replaces the position of `consumer`, or forgets it. Says whether it had one.
    pub(super) async fn replace(
        &self,
        consumer: &str,
        cursor: Option<Cursor>,
    ) -> Result<bool, Fault> {
        let stores = cursor.is_some();
        let had = self
            .durable
            .lock()
            .as_ref()
            .ok_or_else(|| self.cause.fault())?
            .contains_key(&key(consumer));
        self.waiting.lock().insert(consumer.into(), cursor);
        let mut slot = self.disk.lock().await;
        // Somebody who wrote meanwhile wrote this one too: it is there, or there was no room for it.
        let waiting = {
            let mut waiting = self.waiting.lock();
            let waits = waiting.contains_key(consumer);
            if waits { std::mem::take(&mut *waiting) } else { BTreeMap::new() }
        };
        if !waiting.is_empty() {
            let disk = slot.take().ok_or_else(|| self.cause.fault())?;
            let cut_off = CutOff(Some(&self.durable));
            let handled = |(name, cursor): (&String, &Option<Cursor>)| {
                (name.clone(), cursor.as_ref().map(Cursor::handled))
            };
            let written: Vec<_> = waiting.iter().map(handled).collect();
            let written_to = write(disk, waiting).await;
            let disk = written_to.inspect_err(|fault| self.cause.note(fault))?;
            self.note(&disk, written);
            cut_off.came_back(copy(&disk));
            *slot = Some(disk);
        }
        let disk = slot.as_ref().ok_or_else(|| self.cause.fault())?;
        if stores {
            admit(disk, consumer)?;
        }
        Ok(had)
    }

    /// Follows what was written; what there was no room for has no position.
    fn note(&self, disk: &Disk<E>, written: Vec<(String, Option<u64>)>) {
        let mut all = self.handled.lock();
        for (consumer, handled) in written {
            match handled.filter(|_| disk.get(&key(&consumer)).is_some()) {
                Some(handled) => drop(all.insert(consumer, handled)),
                None => drop(all.remove(&consumer)),
            }
        }
    }

    /// Events that the consumer acknowledged that acknowledged most.
    pub(super) fn most(&self) -> u64 {
        self.handled.lock().values().copied().max().unwrap_or(0)
    }

    /// The consumer that acknowledged the fewest of `end` events.
    pub(super) fn slowest(&self, end: u64) -> Option<Slowest> {
        let handled = self.handled.lock();
        Slowest::of(handled.iter().map(|(consumer, handled)| (consumer, *handled)), end)
    }

    /// Fails every later call.
    pub(super) async fn close(&self) {
        self.disk.lock().await.take();
        self.durable.lock().take();
    }
}

/// Closes the positions that readers see, where a write did not come back.
struct CutOff<'a>(Option<&'a Mutex<Option<BTreeMap<Digest, Bytes>>>>);

impl CutOff<'_> {
    fn came_back(mut self, durable: BTreeMap<Digest, Bytes>) {
        if let Some(published) = self.0.take() {
            *published.lock() = Some(durable);
        }
    }
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if let Some(published) = self.0 {
            published.lock().take();
        }
    }
}

/// At most 256 references: the bytes themselves are shared.
fn copy<E: Context>(disk: &Disk<E>) -> BTreeMap<Digest, Bytes> {
    disk.keys().filter_map(|key| Some((*key, disk.get(key)?.clone()))).collect()
}

/// Whether there is room for `consumer`.
fn admit<E: Context>(disk: &Disk<E>, consumer: &str) -> Result<(), Fault> {
    let known = disk.get(&key(consumer)).is_some();
    limits::consumers(consumer, known, disk.keys().count())
}

/// Durably makes those changes among `waiting` that there is room for, in one write.
async fn write<E: Context>(
    mut disk: Disk<E>,
    waiting: BTreeMap<String, Option<Cursor>>,
) -> Result<Disk<E>, Fault> {
    // What is forgotten first makes room for what is stored.
    for (consumer, _) in waiting.iter().filter(|(_, cursor)| cursor.is_none()) {
        disk.remove(&key(consumer));
    }
    for (consumer, cursor) in waiting {
        if let Some(cursor) = cursor
            && admit(&disk, &consumer).is_ok()
        {
            let key = key(&consumer);
            disk.put(key, Position { consumer, cursor }.encode());
        }
    }
    disk.sync().await.map_err(|error| Part::Consumers.failed(error))
}

fn key(consumer: &str) -> Digest {
    Sha256::hash(&[consumer.as_bytes()])
}

fn decode(consumer: &str, bytes: &Bytes) -> Result<Position, Fault> {
    let position = Position::decode(bytes.clone());
    position.map_err(|error| {
        Part::Consumers.corrupt(0, Damage::Position { consumer: consumer.into(), error })
    })
}

struct Position {
    consumer: String,
    cursor: Cursor,
}

impl Write for Position {
    fn write(&self, buf: &mut impl BufMut) {
        self.consumer.as_bytes().write(buf);
        self.cursor.write(buf);
    }
}

impl EncodeSize for Position {
    fn encode_size(&self) -> usize {
        self.consumer.as_bytes().encode_size() + self.cursor.encode_size()
    }
}

impl Read for Position {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let consumer = Vec::read_cfg(buf, &(RangeCfg::from(1..=limits::NAME_MAX), ()))?;
        let consumer =
            String::from_utf8(consumer).map_err(|_| Error::Invalid("Position", "name"))?;
        Ok(Self { consumer, cursor: Cursor::read(buf)? })
    }
}
