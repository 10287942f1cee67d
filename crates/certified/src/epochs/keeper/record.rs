//! Boundaries on disk.

use super::Config;
use crate::Error;
use bytes::Bytes;
use commonware_codec::{Decode as _, DecodeExt as _, Encode as _, RangeCfg};
use commonware_consensus::types::Epoch;
use commonware_storage::{
    Context,
    metadata::{self, Metadata},
};
use commonware_utils::sequence::U64;
use std::time::SystemTime;
use tidewatch_core::{BlockRef, ChainId, Fault};
use tracing::warn;

/// Largest boundary that is kept, with its certificate, in bytes.
const RECORD_MAX: usize = 16 * 1024 * 1024;

/// Under this key is the name of the chain. No epoch has this number.
const CHAIN: u64 = u64::MAX;
/// Under this key is something where a boundary was imported.
const PINNED: u64 = u64::MAX - 1;
/// Under this key is when somebody last said what to trust: at the first start, or with an import. In
/// milliseconds since the Unix epoch.
const TRUSTED: u64 = u64::MAX - 2;

/// A boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The epoch that it gives the scheme of.
    pub epoch: Epoch,
    /// The boundary's name.
    pub block: BlockRef,
    /// The boundary, encoded.
    pub bytes: Bytes,
    /// Its certificate, where it came with one.
    pub proof: Option<Bytes>,
}

/// How it is written under its epoch.
type Stored = (BlockRef, Option<Bytes>, Bytes);

/// All of them, of one chain.
pub(super) struct Records<E: Context> {
    disk: Metadata<E, U64, Bytes>,
    about: String,
}

/// A time in milliseconds since the Unix epoch.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What faults of a chain's boundaries are about.
pub(super) fn about(chain: &ChainId) -> String {
    format!("the epochs of {chain}")
}

/// Whatever chain it is of.
async fn disk<E: Context>(
    context: &E,
    partition: &str,
    about: &str,
) -> Result<Metadata<E, U64, Bytes>, Fault> {
    let codec_config = RangeCfg::from(0..=RECORD_MAX);
    let config = metadata::Config { partition: partition.into(), codec_config };
    let disk = Metadata::init(context.child("disk"), config).await;
    disk.map_err(|error| Fault::new(about, Error::Disk(error)))
}

impl<E: Context> Records<E> {
    /// Opens them, or begins with none: what is trusted was said just now then.
    pub(super) async fn open(context: &E, config: &Config) -> Result<Self, Fault> {
        let about = about(&config.chain);
        let disk = disk(context, &config.partition, &about).await?;
        let name = Bytes::copy_from_slice(config.chain.as_str().as_bytes());
        let disk = match disk.get(&U64::new(CHAIN)) {
            Some(found) if *found == name => disk,
            Some(found) => {
                let found = String::from_utf8_lossy(found).into_owned();
                let chain = config.chain.clone();
                return Err(Fault::new(about, Error::OtherChain { found, chain }));
            }
            None => {
                let mut disk = disk;
                disk.put(U64::new(CHAIN), name);
                disk.put(U64::new(TRUSTED), millis(context.current()).encode());
                let named = disk.sync().await;
                named.map_err(|error| Fault::new(about.clone(), Error::Disk(error)))?
            }
        };
        Ok(Self { disk, about })
    }

    /// All of them, in the order of their epochs.
    pub(super) fn all(&self) -> Result<Vec<Record>, Fault> {
        all(&self.disk, &self.about)
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.disk.get(&U64::new(PINNED)).is_some()
    }

    /// When somebody last said what to trust, in milliseconds since the Unix epoch.
    pub(super) fn trusted_ms(&self) -> Option<u64> {
        self.disk.get(&U64::new(TRUSTED)).and_then(|bytes| u64::decode(bytes.clone()).ok())
    }

    /// Writes one, with the next [`Records::sync`]. One that is too large to be read again is left out: it is
    /// fetched after a restart.
    pub(super) fn put(&mut self, record: Record) {
        let Record { epoch, block, bytes, proof } = record;
        let stored: Stored = (block, proof, bytes);
        let stored = stored.encode();
        match stored.len() <= RECORD_MAX {
            true => drop(self.disk.put(U64::new(epoch.get()), stored)),
            false => warn!(chain = %self.about, %epoch, bytes = stored.len(), "not kept"),
        }
    }

    pub(super) async fn sync(self) -> Result<Self, Fault> {
        let Self { disk, about } = self;
        let disk =
            disk.sync().await.map_err(|error| Fault::new(about.clone(), Error::Disk(error)))?;
        Ok(Self { disk, about })
    }
}

fn all<E: Context>(disk: &Metadata<E, U64, Bytes>, about: &str) -> Result<Vec<Record>, Fault> {
    let part = RangeCfg::from(0..=RECORD_MAX);
    let mut epochs: Vec<u64> =
        disk.keys().map(u64::from).filter(|epoch| *epoch < TRUSTED).collect();
    epochs.sort_unstable();
    let record = |epoch: u64| {
        let bytes = disk.get(&U64::new(epoch))?.clone();
        let epoch = Epoch::new(epoch);
        let stored = Stored::decode_cfg(bytes, &((), part, part));
        let stored = stored.map(|(block, proof, bytes)| Record { epoch, block, bytes, proof });
        Some(stored.map_err(|error| Fault::new(about, Error::Unreadable { epoch, error })))
    };
    epochs.into_iter().filter_map(record).collect()
}

/// The newest boundary that is kept in `partition`, and the name of its chain; `None` if there is none. No
/// follower may run on it.
///
/// # Errors
///
/// The disk fails, or what it holds does not decode.
pub async fn newest<E: Context>(
    context: &E,
    partition: &str,
) -> Result<Option<(ChainId, Record)>, Fault> {
    let disk = disk(context, partition, partition).await?;
    let chain = disk.get(&U64::new(CHAIN)).and_then(|name| std::str::from_utf8(name).ok());
    let Some(chain) = chain.and_then(|name| ChainId::new(name).ok()) else { return Ok(None) };
    Ok(all(&disk, partition)?.pop().map(|record| (chain, record)))
}

/// Writes a boundary that somebody vouched for at `now`: a follower that starts on `config`'s partition begins
/// from it. No follower may run on it meanwhile.
///
/// # Errors
///
/// The disk fails, or it belongs to another chain; `WrongChain` too if another boundary is known for that
/// epoch already.
pub async fn import<E: Context>(
    context: &E,
    config: &Config,
    record: Record,
    now: SystemTime,
) -> Result<(), Fault> {
    let mut records = Records::open(context, config).await?;
    let epoch = record.epoch;
    let known = records.all()?.into_iter().find(|known| known.epoch == epoch);
    if let Some(known) = known.filter(|known| known.block != record.block) {
        let error = Error::OtherBoundary { epoch, ours: known.block, theirs: record.block };
        return Err(Fault::new(about(&config.chain), error));
    }
    records.put(record);
    records.disk.put(U64::new(PINNED), Bytes::new());
    records.disk.put(U64::new(TRUSTED), millis(now).encode());
    records.sync().await.map(drop)
}
