//! Test harness: runs the public interface over a scripted world.
//!
//! | item | purpose |
//! |---|---|
//! | [`Steps`] | one source and one view, single passes, no clock |
//! | [`Live`], [`Sink`], [`hand_over`] | a driver, and consumers of its log, in the deterministic runtime |
//! | [`open`], [`crash`], [`restart`] | the durable store on the runtime's disk, across crashes |
//! | [`grow`], [`announced`] | commits to a view, without a source |
//!
//! The scripted worlds are in `tidewatch_testkit`. Its view checks every event against the
//! invariants, so that a test asserts only the specifics of its bug.

mod live;
mod sink;
mod steps;

pub(crate) use live::{Live, Recorder};
pub(crate) use sink::{Sink, hand_over};
pub(crate) use steps::{Steps, pass};

use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_storage::Context;
use commonware_utils::NZUsize;
use std::{future::Future, ops::RangeInclusive, time::Duration};
use tidewatch_core::{
    Archive as _, ArchiveError, BlockRef, ChainInfo, Change, Event, EventLog, Fault, Height,
    LocalView, Record, Tier,
};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter, Reader, Store, Writer};
use tidewatch_stream::{Mode, Start, driver};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    view::Both,
    words::words,
};

/// Every block from genesis.
pub(crate) const ALL: Mode = Mode::GENESIS;

/// Every block from genesis, except those below the source's finalized tip.
pub(crate) const SKIP: Mode = Mode::Blocks { start: Start::Genesis, skip_finalized: true };

/// Every block from `height`.
pub(crate) const fn from(height: u64) -> Mode {
    Mode::Blocks { start: Start::Height(Height::new(height)), skip_finalized: false }
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Driver configuration in which no poll comes due during a test, so that only doorbells and requests
/// wake passes.
pub(crate) fn patient() -> driver::Config {
    driver::Config { poll: secs(3_600), ..driver::Config::default() }
}

/// `tier` moves up to `block`.
pub(crate) fn announced(tier: Tier, block: BlockRef) -> Change<TestBlock> {
    Change::Advanced { tier, tip: block.into(), proof: None }
}

/// Commits the blocks of `chain` at `heights`, one event for each.
pub(crate) async fn grow(
    view: &mut impl LocalView<Block = TestBlock>,
    chain: &Chain,
    heights: RangeInclusive<u64>,
) {
    for height in heights {
        view.commit(vec![Change::Blocks(chain.range(height, height))]).await.expect("commits");
    }
}

/// The height up to which `events` deliver every block from height 1, each once and in order.
pub(crate) fn whole_up_to(events: &[Event]) -> u64 {
    let mut last = 0;
    for event in events {
        if let Event::Blocks { from, to } = event {
            assert_eq!(from.height.get(), last + 1, "{:?}", words(events));
            last = to.height.get();
        }
    }
    last
}

/// All records of a log.
pub(crate) async fn history(log: &impl EventLog) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = log.read(records.len() as u64, NZUsize!(1024)).await.expect("reads");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The events of `records`, in compact notation.
pub(crate) fn told(records: &[Record]) -> Vec<String> {
    words(&records.iter().map(|record| record.event).collect::<Vec<_>>())
}

/// A store in memory, of which every commit is checked.
pub(crate) type Watched =
    tidewatch_testkit::view::Watched<MemoryWriter<TestBlock>, MemoryReader<TestBlock>>;

/// A store on the runtime's disk.
pub(crate) type Disk = OnDisk<deterministic::Context>;

/// A store on the disk of `E`.
pub(crate) type OnDisk<E> = Both<Writer<E, TestBlock>, Reader<E, TestBlock>>;

/// A store in memory.
pub(crate) type InMemory = Both<MemoryWriter<TestBlock>, MemoryReader<TestBlock>>;

/// An empty store in memory.
pub(crate) fn memory(chain_info: ChainInfo) -> InMemory {
    Memory::new(chain_info).into()
}

/// Opens the store of `chain_info`.
pub(crate) async fn open(
    context: &deterministic::Context,
    chain_info: &ChainInfo,
) -> Result<Disk, Fault> {
    let config = tidewatch_store::Config::new(chain_info.clone(), ());
    open_with(context.child("store"), config).await
}

/// The block that a store has at `height`; nothing where it has none.
pub(crate) async fn block_at<E: Context>(
    store: &Reader<E, TestBlock>,
    height: u64,
) -> Result<Option<TestBlock>, ArchiveError> {
    let height = Height::new(height);
    let known = store.locate(&[height]).await?.into_iter().next().flatten();
    match known.filter(|known| known.height == height) {
        Some(wanted) => store.block(wanted).await.map(Some),
        None => Ok(None),
    }
}

/// Opens the store that `config` names.
pub(crate) async fn open_with<E: Context>(
    context: E,
    config: tidewatch_store::Config<()>,
) -> Result<OnDisk<E>, Fault> {
    Store::open(context, config).await.map(Into::into)
}

/// Runs `test` in a runtime that gives up after two simulated hours.
pub(crate) fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(secs(7200)).start(test)
}

/// Runs `test`, then crashes the process: unsynced writes are lost.
pub(crate) fn crash<F: Future>(
    test: impl FnOnce(deterministic::Context) -> F,
) -> (F::Output, deterministic::Checkpoint) {
    deterministic::Runner::timed(secs(7200)).start_and_recover(test)
}

/// Runs `test` on the disk after a crash.
pub(crate) fn restart<F: Future>(
    checkpoint: deterministic::Checkpoint,
    test: impl FnOnce(deterministic::Context) -> F,
) -> F::Output {
    deterministic::Runner::from(checkpoint).start(test)
}
