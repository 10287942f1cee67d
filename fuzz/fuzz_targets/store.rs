//! `tidewatch-store` on a damaged disk.
//!
//! The input mutates files. A few real histories are written once; the fuzzer damages them, opens the
//! store, reads everything, continues writing, and opens it again. There are two kinds of damage, with
//! different guarantees:
//!
//! - *Failing disk*: in one file up to four adjacent bytes are changed, or the file is truncated,
//!   extended by a repeated byte, or removed. A checksum detects all of these. The opened store has a
//!   prefix of the history, plus at most one prune of the lost blocks; every read returns what was
//!   written, or a `CorruptRecord` that names the record; and the store accepts new commits.
//! - *Lying disk*: one item has arbitrary bytes under valid checksums. Its numbers may be anything, but
//!   nothing panics or hangs, and every rejection is typed.
//!
//! Damage that the checksums of the underlying journals do not cover is outside the scope of this
//! target: it accesses the disk only through them.
#![no_main]

use arbitrary::Arbitrary;
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{Encode as _, EncodeSize, Error, RangeCfg, Read, Write};
use commonware_runtime::{
    Blob as _, ReadOptions, Runner as _, Storage as _, Supervisor as _, WriteOptions,
    buffer::paged::{CacheRef, page_size},
    deterministic,
};
use commonware_storage::{
    journal::contiguous::{Contiguous as _, fixed, variable},
    metadata,
};
use commonware_utils::{NZU64, NZUsize, sequence::U64};
use libfuzzer_sys::fuzz_target;
use std::{num::NonZeroU64, sync::LazyLock};
use tidewatch_core::{
    Archive as _, ArchiveError, BlockRef, Change, Conflict, Cursor, Digest, Event, EventLog as _,
    Fault, FaultKind, Height, History as _, LocalView as _, LogError, Positions as _, Record,
    ResumeError, Tier, Watermarks,
};
use tidewatch_fuzz::{Both, Chain, DATA_MAX, Damage, ancestry, chain_info, proof, runner};
use tidewatch_sources::alto::AltoBlock;
use tidewatch_store::{Reader, Writer};

type Context = deterministic::Context;
type Store = Both<Writer<Context, AltoBlock>, Reader<Context, AltoBlock>>;

const PARTS: [&str; 18] = [
    "fuzz-meta",
    "fuzz-consumers",
    "fuzz-events_data",
    "fuzz-events_offsets-blobs",
    "fuzz-events_offsets-metadata",
    "fuzz-proofs-finalized_data",
    "fuzz-proofs-finalized_offsets-blobs",
    "fuzz-proofs-finalized_offsets-metadata",
    "fuzz-blocks-0_data",
    "fuzz-blocks-0_offsets-blobs",
    "fuzz-blocks-0_offsets-metadata",
    "fuzz-blocks-1_data",
    "fuzz-blocks-1_offsets-blobs",
    "fuzz-blocks-1_offsets-metadata",
    "fuzz-digests-0-blobs",
    "fuzz-digests-0-metadata",
    "fuzz-digests-1-blobs",
    "fuzz-digests-1-metadata",
];

const CONSUMER: &str = "indexer";
const PER_SECTION: NonZeroU64 = NZU64!(8);
/// As in the store.
const EVENTS_PER_SECTION: NonZeroU64 = NZU64!(4096);

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    history: u8,
    harm: Harm<'a>,
}

#[derive(Arbitrary, Debug)]
enum Harm<'a> {
    Fails { file: u8, how: Failure },
    Lies { item: Item, damage: Vec<Damage<'a>> },
}

#[derive(Arbitrary, Debug)]
enum Failure {
    Changed { at: u32, by: [u8; 4] },
    Cut(u32),
    Grown { fill: u8, by: u16 },
    Gone,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Item {
    Meta(u8),
    Position,
    Event(u8),
    Proof(u8),
    Block(u8),
    Digest(u8),
}

/// One file: its partition, its name, its bytes.
type File = (&'static str, Vec<u8>, Vec<u8>);

/// A written history.
struct History {
    files: Vec<File>,
    records: Vec<Record>,
    acknowledged: Vec<Cursor>,
    evidence: Vec<Conflict>,
    slot: u8,
}

struct World {
    chains: Vec<Chain>,
    histories: Vec<History>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let chain = Chain::of(40);
    let chains = vec![chain.forked(12, 28, 1), chain];
    let histories = [(true, true), (true, false), (false, true), (false, false)]
        .map(|(blocks, closed)| History::write(&chains, blocks, closed));
    World { histories: histories.into(), chains }
});

async fn open(context: &Context, nth: u64) -> Result<Store, Fault> {
    let config = tidewatch_store::Config {
        partition: "fuzz".into(),
        blocks_per_section: PER_SECTION,
        page_cache_pages: NZUsize!(4),
        ..tidewatch_store::Config::new(chain_info(), AltoBlock::codec(DATA_MAX))
    };
    let context = context.child("store").with_attribute("nth", nth);
    tidewatch_store::Store::open(context, config).await.map(Into::into)
}

impl History {
    fn write(chains: &[Chain], blocks: bool, closed: bool) -> Self {
        runner().start(|context| async move {
            let mut store = open(&context, 0).await.expect("opens");
            let mut acknowledged = Vec::new();
            if blocks {
                Self::blocks(&mut store, chains, &mut acknowledged).await
            } else {
                Self::tips(&mut store, &chains[1]).await
            }
            let conflict = Conflict {
                ours: chains[1].at(3),
                theirs: BlockRef::new(Height::new(3), Digest([9; 32])),
            };
            store.keep_evidence(conflict).await.expect("keeps");
            let records = everything(&store).await.expect("reads");
            acknowledged.push(records.last().expect("written").cursor.clone());
            store.store(CONSUMER, acknowledged.last().expect("one")).await.expect("keeps");
            if closed {
                store.writer.close().await.expect("closes");
            } else {
                drop(store);
            }
            let files = files(&context).await;
            let slot = u8::from(files.iter().any(|(part, ..)| *part == "fuzz-blocks-1_data"));
            Self { files, records, acknowledged, evidence: vec![conflict], slot }
        })
    }

    /// Two ranges, a reorg, advancing tiers.
    async fn blocks(store: &mut Store, chains: &[Chain], acknowledged: &mut Vec<Cursor>) {
        let [fork, chain] = chains else { unreachable!("two chains") };
        let up = |chain: &Chain, at| chain.up(Tier::Proposed, at);
        commit(store, vec![chain.blocks(1, 4), up(chain, 4)]).await;
        commit(store, vec![fork.blocks(8, 18), up(fork, 18), fork.finalize(9)]).await;
        let first = everything(store).await.expect("reads").pop().expect("written");
        store.store(CONSUMER, &first.cursor).await.expect("keeps");
        acknowledged.push(first.cursor);
        let watermarks = store.watermarks().await.expect("open");
        let prune = chain.prune(&watermarks, 12);
        commit(store, vec![prune, chain.blocks(13, 20), up(chain, 20)]).await;
        for at in (14..=20).step_by(2) {
            let blocks = chain.blocks(at + 7, at + 8);
            commit(store, vec![chain.finalize(at), blocks, up(chain, at + 8)]).await;
        }
    }

    async fn tips(store: &mut Store, chain: &Chain) {
        for at in 3..=35 {
            commit(store, vec![chain.up(Tier::Proposed, at), chain.finalize(at - 2)]).await;
        }
    }
}

async fn commit(store: &mut Store, changes: Vec<Change<AltoBlock>>) {
    store.commit(changes).await.expect("follows the rules");
}

async fn files(context: &Context) -> Vec<File> {
    let mut files = Vec::new();
    for part in PARTS {
        for name in context.scan(part).await.unwrap_or_default() {
            let (blob, len) = context.open(part, &name).await.expect("opens");
            let read = blob.read_at(0, len as usize, ReadOptions::default()).await.expect("reads");
            files.push((part, name, read.coalesce().as_ref().to_vec()));
        }
    }
    files
}

async fn restore(context: &Context, files: &[File]) {
    for (part, name, bytes) in files {
        let (blob, _) = context.open(part, name).await.expect("opens");
        blob.write_at(0, bytes.clone(), WriteOptions::default()).await.expect("writes");
        blob.sync().await.expect("syncs");
    }
}

async fn everything(store: &Store) -> Result<Vec<Record>, LogError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let more = store.read(records.len() as u64, NZUsize!(100)).await?;
        if more.is_empty() {
            return Ok(records);
        }
        records.extend(more);
    }
}

fuzz_target!(|input: Input<'_>| {
    let world = &*WORLD;
    let history = &world.histories[usize::from(input.history) % world.histories.len()];
    runner().start(|context| async move {
        match input.harm {
            Harm::Fails { file, how } => fails(&context, world, history, file, &how).await,
            Harm::Lies { item, damage } => lies(&context, world, history, item, &damage).await,
        }
    });
});

async fn fails(context: &Context, world: &World, history: &History, file: u8, how: &Failure) {
    let mut files = history.files.clone();
    let at = usize::from(file) % files.len();
    let bytes = &mut files[at].2;
    match how {
        Failure::Changed { at, by } => {
            let start = *at as usize % (bytes.len() + 1);
            bytes[start..].iter_mut().zip(by).for_each(|(byte, by)| *byte ^= by);
        }
        Failure::Cut(at) => bytes.truncate(*at as usize % (bytes.len() + 1)),
        Failure::Grown { fill, by } => bytes.extend(std::iter::repeat_n(*fill, usize::from(*by))),
        Failure::Gone => drop(files.remove(at)),
    }
    restore(context, &files).await;
    let mut store = match open(context, 1).await {
        Ok(store) => store,
        Err(fault) => return named(&fault),
    };
    let watermarks = written(world, history, &store).await;
    let Some(watermarks) = watermarks else { return };
    let chain = &world.chains[1];
    let head = watermarks.head().map_or(0, |head| head.height.get());
    if head >= chain.top()
        || watermarks.head().is_some_and(|head| head != chain.at(head.height.get()))
    {
        return;
    }
    let next = if watermarks.delivered.is_some() {
        chain.blocks(head + 1, head + 1)
    } else {
        chain.up(Tier::Proposed, head + 1)
    };
    if let Err(fault) = store.commit(vec![next]).await {
        return named(&fault);
    }
    let after = store.watermarks().await.expect("open");
    drop(store);
    let again = open(context, 2).await.expect("opens what it wrote");
    assert_eq!(again.watermarks().await, Ok(after), "after another restart");
}

/// Reads everything from a store on a failing disk, and returns its watermarks.
async fn written(world: &World, history: &History, store: &Store) -> Option<Watermarks> {
    let watermarks = store.watermarks().await.expect("open");
    let records = match everything(store).await {
        Ok(records) => records,
        Err(LogError::Fault(fault)) => {
            named(&fault);
            return None;
        }
        Err(other) => panic!("{other}"),
    };
    for (sequence, record) in records.iter().enumerate() {
        // Not the cursor: a prune takes locators off those before it.
        let what = |record: &Record| (record.event, record.watermarks, record.sequence());
        let right = history.records.get(sequence).map(what) == Some(what(record));
        // One event at the end reports the loss.
        let said = sequence + 1 == records.len() && matches!(record.event, Event::Pruned { .. });
        assert!(right || said, "{record:?} was not written");
    }
    let last = records.last().map_or_else(Watermarks::none, |record| record.watermarks);
    assert_eq!(watermarks, last, "the watermarks are those of the last event");
    read_view(world, &watermarks, store).await;
    match store.load(CONSUMER).await {
        Ok(found) => assert!(found.is_none_or(|found| history.acknowledged.contains(&found))),
        Err(fault) => named(&fault),
    }
    let evidence = store.evidence().expect("open");
    assert!(history.evidence.starts_with(&evidence));
    for cursor in &history.acknowledged {
        match store.resume(cursor).await {
            Err(ResumeError::Fault(fault)) => named(&fault),
            Err(ResumeError::Malformed(_) | ResumeError::WrongChain { .. }) => panic!("{cursor}"),
            _ => {}
        }
    }
    Some(watermarks)
}

async fn read_view(world: &World, watermarks: &Watermarks, store: &Store) {
    let finalized = watermarks.tips.block(Tier::Finalized);
    let Some(head) = watermarks.head() else { return };
    let chain = ancestry(&world.chains, head);
    let heights: Vec<_> = (0..=head.height.get() + 1).map(Height::new).collect();
    match store.locate(&heights).await {
        Ok(known) => {
            for (height, known) in heights.iter().zip(known) {
                let Some(known) = known else { continue };
                let right = known.height == Height::zero() || is(&chain, known);
                assert!(right && known.height <= *height, "{known} at {height}");
            }
        }
        Err(fault) => named(&fault),
    }
    for at in 1..=head.height.get() + 1 {
        let height = Height::new(at);
        let Some(right) = chain.get(at as usize - 1) else { continue };
        let wanted = tidewatch_core::Block::reference(right);
        match store.block(wanted).await {
            Ok(block) => assert_eq!(&block, right),
            Err(ArchiveError::Fault(fault)) => named(&fault),
            Err(ArchiveError::OffChain { .. }) => panic!("{wanted} is on the chain"),
            Err(_) => {}
        }
        match store.proof(Tier::Finalized, wanted).await {
            Ok(Some(found)) => {
                assert_eq!(found, proof(found.block));
                assert!(is(&chain, found.block) && found.block.height >= height);
                assert!(finalized.is_some_and(|finalized| found.block.height <= finalized.height));
            }
            Ok(None) => {}
            Err(ArchiveError::Fault(fault)) => named(&fault),
            Err(other) => panic!("{other}"),
        }
    }
}

fn is(chain: &[AltoBlock], name: BlockRef) -> bool {
    use tidewatch_core::Block as _;
    chain.get(name.height.get() as usize - 1).is_some_and(|block| block.reference() == name)
}

/// Checks a fault that a failing disk may cause.
fn named(fault: &Fault) {
    assert_eq!(fault.kind, FaultKind::CorruptRecord, "{fault}");
    assert!(!fault.detail.is_empty() && fault.detail.len() < 1_000, "{fault}");
}

/// Raw bytes, for items of any journal.
#[derive(Clone, Debug)]
struct Raw(Bytes);

impl Write for Raw {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }
}

impl EncodeSize for Raw {
    fn encode_size(&self) -> usize {
        self.0.len()
    }
}

impl Read for Raw {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        Ok(Self(buf.copy_to_bytes(buf.remaining())))
    }
}

async fn lies(
    context: &Context,
    world: &World,
    history: &History,
    item: Item,
    damage: &[Damage<'_>],
) {
    restore(context, &history.files).await;
    let forge = |bytes: Bytes| {
        let mut bytes = bytes.to_vec();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        Raw(bytes.into())
    };
    let slot = history.slot;
    match item {
        Item::Meta(key) => forge_meta(context, U64::new(u64::from(key) % 4), forge).await,
        Item::Position => forge_position(context, forge).await,
        Item::Event(back) => {
            forge_item(context, "fuzz-events".into(), EVENTS_PER_SECTION, back, forge).await
        }
        Item::Proof(back) => {
            forge_item(context, "fuzz-proofs-finalized".into(), EVENTS_PER_SECTION, back, forge)
                .await
        }
        Item::Block(back) => {
            forge_item(context, format!("fuzz-blocks-{slot}"), PER_SECTION, back, forge).await
        }
        Item::Digest(back) => {
            forge_digest(context, format!("fuzz-digests-{slot}"), back, forge).await
        }
    }
    let mut store = match open(context, 1).await {
        Ok(store) => store,
        Err(fault) => return typed(&fault),
    };
    if let Err(LogError::Fault(fault)) = everything(&store).await {
        typed(&fault);
    }
    let watermarks = store.watermarks().await.expect("open");
    let heights = [0, 1, 12, 20, u64::MAX]
        .into_iter()
        .map(Height::new)
        .chain(watermarks.head().map(|head| head.height));
    for height in heights {
        let any = BlockRef::new(height, Digest([9; 32]));
        let known = store.locate(&[height]).await.ok().and_then(|known| known[0]);
        for wanted in [known.unwrap_or(any), any] {
            if let Err(ArchiveError::Fault(fault)) = store.block(wanted).await {
                typed(&fault);
            }
            if let Err(ArchiveError::Fault(fault)) = store.proof(Tier::Finalized, wanted).await {
                typed(&fault);
            }
        }
        let read = [
            store.locate(&[height]).await.map(drop),
            store.evidence().map(drop),
            store.load(CONSUMER).await.map(drop),
        ];
        read.iter().filter_map(|read| read.as_ref().err()).for_each(typed);
    }
    for cursor in
        history.acknowledged.iter().chain(history.records.iter().map(|record| &record.cursor))
    {
        if let Err(ResumeError::Fault(fault)) = store.resume(cursor).await {
            typed(&fault);
        }
    }
    // The result does not matter, only that nothing panics.
    let chain = &world.chains[1];
    let _ = store.commit(vec![chain.up(Tier::Proposed, 28), chain.finalize(28)]).await;
    let _ = store.commit(vec![chain.prune(&watermarks, 25)]).await;
    let _ = store.commit(vec![chain.blocks(29, 32)]).await;
    drop(store);
    if let Err(fault) = open(context, 2).await {
        typed(&fault);
    }
}

/// Checks a fault that a lying disk may cause.
fn typed(fault: &Fault) {
    use FaultKind::{CorruptRecord, Disk, InvalidConfig, WrongChain};
    assert!(matches!(fault.kind, CorruptRecord | Disk | InvalidConfig | WrongChain), "{fault}");
    assert!(fault.detail.len() < 2_000, "{fault}");
}

async fn forge_meta(context: &Context, key: U64, forge: impl Fn(Bytes) -> Raw) {
    let config =
        metadata::Config { partition: "fuzz-meta".into(), codec_config: RangeCfg::from(..) };
    let meta = metadata::Metadata::<_, U64, Bytes>::init(context.child("forge"), config)
        .await
        .expect("opens");
    let Some(value) = meta.get(&key).cloned() else { return };
    // The checksummed metadata store does not read values above its own limit.
    let Raw(value) = forge(value);
    meta.put_sync(key, value.slice(..value.len().min(16 * 1024))).await.expect("writes");
}

async fn forge_position(context: &Context, forge: impl Fn(Bytes) -> Raw) {
    let config =
        metadata::Config { partition: "fuzz-consumers".into(), codec_config: RangeCfg::from(..) };
    let positions = metadata::Metadata::<_, Digest, Bytes>::init(context.child("forge"), config)
        .await
        .expect("opens");
    let Some(key) = positions.keys().next().copied() else { return };
    let Some(value) = positions.get(&key).cloned() else { return };
    let Raw(value) = forge(value);
    positions.put_sync(key, value.slice(..value.len().min(1_024))).await.expect("writes");
}

fn cache(context: &Context) -> CacheRef {
    CacheRef::from_pooler(context, page_size(4096), NZUsize!(4))
}

/// Replaces the item `back` positions from the end, and keeps those after it.
async fn forge_item(
    context: &Context,
    partition: String,
    per_section: NonZeroU64,
    back: u8,
    forge: impl Fn(Bytes) -> Raw,
) {
    let config = variable::Config {
        partition,
        items_per_section: per_section,
        compression: None,
        codec_config: (),
        page_cache: cache(context),
        write_buffer: NZUsize!(65_536),
        replay_buffer: NZUsize!(65_536),
    };
    let journal =
        variable::Journal::<_, Raw>::init(context.child("forge"), config).await.expect("opens");
    let bounds = journal.bounds();
    if bounds.is_empty() {
        return;
    }
    let at = bounds.end - 1 - u64::from(back) % (bounds.end - bounds.start);
    let mut items = Vec::new();
    for position in at..bounds.end {
        items.push(journal.read(position).await.expect("reads"));
    }
    items[0] = forge(items[0].0.clone());
    let mut journal = journal.rewind(at).await.expect("rewinds");
    for item in &items {
        (journal, _) = journal.append(item).await.expect("appends");
    }
    journal.sync().await.expect("syncs");
}

async fn forge_digest(
    context: &Context,
    partition: String,
    back: u8,
    forge: impl Fn(Bytes) -> Raw,
) {
    let config = fixed::Config {
        partition,
        items_per_blob: PER_SECTION,
        page_cache: cache(context),
        write_buffer: NZUsize!(65_536),
        replay_buffer: NZUsize!(65_536),
    };
    let journal =
        fixed::Journal::<_, Digest>::init(context.child("forge"), config).await.expect("opens");
    let bounds = journal.bounds();
    if bounds.is_empty() {
        return;
    }
    let at = bounds.end - 1 - u64::from(back) % (bounds.end - bounds.start);
    let mut items = Vec::new();
    for position in at..bounds.end {
        items.push(journal.read(position).await.expect("reads"));
    }
    let mut forged = forge(items[0].encode()).0.to_vec();
    forged.resize(32, 0);
    items[0] = Digest(forged.try_into().expect("32 bytes"));
    let mut journal = journal.rewind(at).await.expect("rewinds");
    for item in &items {
        (journal, _) = journal.append(item).await.expect("appends");
    }
    journal.sync().await.expect("syncs");
}
