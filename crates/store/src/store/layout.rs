//! Where each part lies on disk, and the items of its journals.

use crate::{Config, Part, Retention, records::Stored, retention::Files};
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{EncodeSize, Error, Read, ReadExt, Write};
use commonware_runtime::{
    BufferPooler,
    buffer::paged::{CacheRef, page_size},
};
use commonware_storage::{
    Context,
    journal::contiguous::{fixed, variable},
};
use commonware_utils::{NZU64, NZUsize};
use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    ops::Range,
};
use tidewatch_core::{BlockRef, Digest, Fault, TierProof};

/// Events in one file: 1.2 MiB, all of it read at a restart if it is the last.
pub(super) const EVENTS_PER_SECTION: NonZeroU64 = NZU64!(4096);
/// Proofs in one file: 1.2 MiB of BLS certificates.
pub(super) const PROOFS_PER_SECTION: NonZeroU64 = NZU64!(4096);
/// One page fills one page of the disk, checksum included.
const PAGE: NonZeroU16 = page_size(4096);
/// Read at once when a file is checked at a restart.
const REPLAY_BUFFER: NonZeroUsize = NZUsize!(256 * 1024);

pub(super) type Blocks<E> = variable::Journal<E, Held>;
pub(super) type Digests<E> = fixed::Journal<E, Digest>;
pub(super) type Events<E> = variable::Journal<E, Stored>;
pub(super) type EventsReader<E> = variable::Reader<'static, E, Stored>;
pub(super) type BlocksReader<E> = variable::Reader<'static, E, Held>;
pub(super) type DigestsReader<E> = fixed::Reader<'static, E, Digest>;
pub(super) type Proofs<E> = variable::Journal<E, Held>;
pub(super) type ProofsReader<E> = variable::Reader<'static, E, Held>;

/// Names and sizes of the parts of one store.
#[derive(Clone)]
pub(super) struct Layout {
    prefix: String,
    page_cache: CacheRef,
    write_buffer: NonZeroUsize,
    pub(super) blocks_per_section: NonZeroU64,
    pub(super) retention: Retention,
}

impl Layout {
    pub(super) fn new<C>(pooler: &impl BufferPooler, config: &Config<C>) -> Self {
        Self {
            prefix: config.partition.clone(),
            page_cache: CacheRef::from_pooler(pooler, PAGE, config.page_cache_pages),
            write_buffer: config.write_buffer_bytes,
            blocks_per_section: config.blocks_per_section,
            retention: config.retention,
        }
    }

    pub(super) fn partition(&self, part: Part) -> String {
        format!("{}-{part}", self.prefix)
    }

    async fn variable<E: Context, V: commonware_codec::CodecShared<Cfg = ()>>(
        &self,
        context: E,
        part: Part,
        config: (String, NonZeroU64),
        at: Option<u64>,
    ) -> Result<variable::Journal<E, V>, Fault> {
        let config = variable::Config {
            partition: config.0,
            items_per_section: config.1,
            compression: None,
            codec_config: (),
            page_cache: self.page_cache.clone(),
            write_buffer: self.write_buffer,
            replay_buffer: REPLAY_BUFFER,
        };
        let journal = match at {
            Some(size) => variable::Journal::init_at_size(context, config, size).await,
            None => variable::Journal::init(context, config).await,
        };
        journal.map_err(|error| part.failed(error))
    }

    pub(super) async fn events<E: Context>(&self, context: &E) -> Result<Events<E>, Fault> {
        let config = (self.partition(Part::Events), EVENTS_PER_SECTION);
        self.variable(context.child("events"), Part::Events, config, None).await
    }

    /// The proofs called `name`: those of a tier, or those of history.
    pub(super) async fn proofs<E: Context>(
        &self,
        context: &E,
        name: &'static str,
    ) -> Result<Proofs<E>, Fault> {
        let config = (format!("{}-{name}", self.partition(Part::Proofs)), PROOFS_PER_SECTION);
        let context = context.child("proofs").with_attribute("tier", name);
        self.variable(context, Part::Proofs, config, None).await
    }

    /// The blocks of a run; emptied and started at a height with `at`.
    pub(super) async fn blocks<E: Context>(
        &self,
        context: &E,
        slot: u8,
        at: Option<u64>,
    ) -> Result<Blocks<E>, Fault> {
        let config = (self.slot(Part::Blocks, slot), self.blocks_per_section);
        let context = context.child("blocks").with_attribute("slot", slot);
        self.variable(context, Part::Blocks, config, at).await
    }

    /// The digests of a run; emptied and started at a height with `at`.
    pub(super) async fn digests<E: Context>(
        &self,
        context: &E,
        slot: u8,
        at: Option<u64>,
    ) -> Result<Digests<E>, Fault> {
        let context = context.child("digests").with_attribute("slot", slot);
        let config = fixed::Config {
            partition: self.slot(Part::Digests, slot),
            items_per_blob: self.blocks_per_section,
            page_cache: self.page_cache.clone(),
            write_buffer: self.write_buffer,
            replay_buffer: REPLAY_BUFFER,
        };
        let journal = match at {
            Some(size) => fixed::Journal::init_at_size(context, config, size).await,
            None => fixed::Journal::init(context, config).await,
        };
        journal.map_err(|error| Part::Digests.failed(error))
    }

    /// The files of a journal that is open, with the length of each on disk, where it counts.
    async fn files<E: Context>(
        &self,
        context: &E,
        part: Part,
        partition: &str,
        per_file: NonZeroU64,
        (bounds, weighed): (Range<u64>, bool),
    ) -> Result<Files, Fault> {
        let mut bytes = Vec::new();
        if weighed {
            let partition = format!("{partition}_data");
            let failed = |error: commonware_runtime::Error| part.failed(error);
            let mut names = context.scan(&partition).await.map_err(failed)?;
            names.sort();
            for name in names {
                bytes.push(context.open(&partition, &name).await.map_err(failed)?.1);
            }
        }
        Ok(self.files_of(per_file, bounds, &bytes, context))
    }

    pub(super) fn files_of<E: Context>(
        &self,
        per_file: NonZeroU64,
        bounds: Range<u64>,
        bytes: &[u64],
        context: &E,
    ) -> Files {
        Files::new(per_file, (bounds.start, bounds.end), bytes, context.current())
    }

    pub(super) async fn event_files<E: Context>(
        &self,
        context: &E,
        bounds: Range<u64>,
    ) -> Result<Files, Fault> {
        let (partition, weighed) =
            (self.partition(Part::Events), self.retention.events.bytes.is_some());
        let bounds = (bounds, weighed);
        self.files(context, Part::Events, &partition, EVENTS_PER_SECTION, bounds).await
    }

    pub(super) async fn block_files<E: Context>(
        &self,
        context: &E,
        slot: u8,
        bounds: Range<u64>,
    ) -> Result<Files, Fault> {
        let partition = self.slot(Part::Blocks, slot);
        let bounds = (bounds, self.retention.blocks.bytes.is_some());
        self.files(context, Part::Blocks, &partition, self.blocks_per_section, bounds).await
    }

    pub(super) async fn proof_files<E: Context>(
        &self,
        context: &E,
        name: &str,
        bounds: Range<u64>,
    ) -> Result<Files, Fault> {
        let partition = format!("{}-{name}", self.partition(Part::Proofs));
        let bounds = (bounds, self.retention.proofs.bytes.is_some());
        self.files(context, Part::Proofs, &partition, PROOFS_PER_SECTION, bounds).await
    }

    fn slot(&self, part: Part, slot: u8) -> String {
        format!("{}-{slot}", self.partition(part))
    }
}

/// Bytes as they are, for items that are decoded when they are asked for: a restart that checks a
/// file must not decode every block in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held(pub(super) Bytes);

impl Write for Held {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }
}

impl EncodeSize for Held {
    fn encode_size(&self) -> usize {
        self.0.len()
    }
}

impl Read for Held {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        // The journal frames and checksums items: what is left is the item.
        Ok(Self(buf.copy_to_bytes(buf.remaining())))
    }
}

impl Held {
    /// A proof of a tier: the block, then the proof as the chain encodes it.
    pub(super) fn of_proof(proof: &TierProof) -> Self {
        let mut bytes = Vec::with_capacity(proof.block.encode_size() + proof.bytes.len());
        proof.block.write(&mut bytes);
        bytes.put_slice(&proof.bytes);
        Self(bytes.into())
    }

    /// The proof that [`Held::of_proof`] made this of.
    pub(super) fn into_proof(mut self) -> Result<TierProof, Error> {
        let block = BlockRef::read(&mut self.0)?;
        Ok(TierProof { block, bytes: self.0 })
    }
}
