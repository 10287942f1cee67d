//! One suite for both stores, and what only a disk can do.

mod archive;
mod beside;
mod corrupt;
mod crash;
mod cursors;
mod restart;
mod small_worlds;
mod suite;
mod tips_store;
mod trim;
pub(crate) mod world;

use crate::{
    Config, Memory, MemoryReader, MemoryWriter, Reader, Retained, Retention, Store, Writer,
};
use commonware_runtime::{Runner as _, deterministic};
use commonware_storage::Context;
use commonware_utils::NZUsize;
use std::{future::Future, num::NonZeroU64, ops::Deref, time::Duration};
use tidewatch_core::{
    Archive, ArchiveError, BlockRef, Change, Conflict, Digest, EventLog as _, Fault, Height,
    History, LocalView, Record, Tier, TierProof, Watermarks,
};
use tidewatch_testkit::{
    host::{Host, Trouble},
    view::Both,
};
use world::{TestBlock, chain_info};

/// A context on a disk that can fail.
pub(crate) type OnDisk = Host<deterministic::Context>;

/// Puts `context` on a disk that syncs as late as it may. Nobody reads the metrics there.
pub(crate) fn on_disk(context: deterministic::Context) -> (OnDisk, Trouble) {
    let (host, disk) = Host::late(context, 0);
    disk.hide_metrics();
    (host, disk)
}

pub(crate) type OnStore<E> = Both<Writer<E, TestBlock>, Reader<E, TestBlock>>;
pub(crate) type InMemory = Both<MemoryWriter<TestBlock>, MemoryReader<TestBlock>>;

/// What readers of both stores are.
pub(crate) trait TwinReader: History + Archive<Block = TestBlock> {
    fn located(
        &self,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<BlockRef>>, Fault>> + Send;
    fn evidence_kept(&self) -> Vec<Conflict>;
    fn readers_parked(&self) -> usize;
    fn retained(&self) -> impl Future<Output = Retained> + Send;

    /// The block that the reader knows at `height`; `None` where it has none.
    async fn try_block_at(&self, height: u64) -> Result<Option<TestBlock>, Fault> {
        let known = self.located(&heights([height])).await?[0];
        let Some(wanted) = known.filter(|known| known.height.get() == height) else {
            return Ok(None);
        };
        match self.block(wanted).await {
            Ok(block) => Ok(Some(block)),
            Err(ArchiveError::Fault(fault)) => Err(fault),
            Err(ArchiveError::Ahead { .. } | ArchiveError::Trimmed { .. }) => Ok(None),
            Err(off @ ArchiveError::OffChain { .. }) => panic!("{off}"),
        }
    }

    async fn block_at(&self, height: u64) -> Option<TestBlock> {
        self.try_block_at(height).await.unwrap()
    }

    /// The lowest proof of finality at or above `at_or_above`.
    async fn try_proof_at(&self, at_or_above: u64) -> Result<Option<TierProof>, Fault> {
        let known = self.located(&heights([at_or_above])).await?[0];
        let some = BlockRef::new(Height::new(at_or_above), Digest([0; 32]));
        let block = known.filter(|known| known.height == some.height).unwrap_or(some);
        match self.proof(Tier::Finalized, block).await {
            Ok(proof) => Ok(proof),
            Err(ArchiveError::Fault(fault)) => Err(fault),
            Err(ArchiveError::Ahead { .. }) => Ok(None),
            Err(other) => panic!("{other}"),
        }
    }

    async fn proof_at(&self, at_or_above: u64) -> Option<TierProof> {
        self.try_proof_at(at_or_above).await.unwrap()
    }
}

macro_rules! twin_reader {
    () => {
        async fn located(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
            self.locate(heights).await
        }

        fn evidence_kept(&self) -> Vec<Conflict> {
            self.evidence().unwrap()
        }

        fn readers_parked(&self) -> usize {
            self.parked()
        }

        async fn retained(&self) -> Retained {
            self.retention().await.unwrap()
        }
    };
}

impl TwinReader for MemoryReader<TestBlock> {
    twin_reader!();
}

impl<E: Context> TwinReader for Reader<E, TestBlock> {
    twin_reader!();
}

/// What both stores are.
pub(crate) trait Twin: LocalView<Block = TestBlock> + Deref<Target: TwinReader> {}

impl<S: LocalView<Block = TestBlock> + Deref<Target: TwinReader>> Twin for S {}

pub(crate) fn config() -> Config<()> {
    // One page of cache: what is asked of the disk is not hidden.
    Config { page_cache_pages: NZUsize!(1), ..Config::new(chain_info(), ()) }
}

pub(crate) async fn open<E: Context>(context: &E) -> OnStore<E> {
    try_open(context).await.unwrap()
}

pub(crate) async fn try_open<E: Context>(context: &E) -> Result<OnStore<E>, Fault> {
    open_with(context, config()).await
}

pub(crate) async fn open_with<E: Context>(
    context: &E,
    config: Config<()>,
) -> Result<OnStore<E>, Fault> {
    Store::open(context.child("store"), config).await.map(Into::into)
}

/// The `nth` store of a context, keeping so many events.
pub(crate) async fn open_another<E: Context>(context: &E, events: u64, nth: u64) -> OnStore<E> {
    let retention = Retention::events(NonZeroU64::new(events).unwrap());
    let config = Config { retention, partition: format!("store-{nth}"), ..config() };
    let context = context.child("store").with_attribute("nth", nth);
    Store::open(context, config).await.unwrap().into()
}

pub(crate) fn run<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(60)).start(test)
}

/// Every case against both stores.
macro_rules! twins {
    ($($(#[$doc:meta])* $case:ident,)+) => {
        mod memory {
            $($(#[$doc])* #[test]
            fn $case() {
                crate::tests::run(|_| super::$case(crate::tests::memory_of));
            })+
        }

        mod durable {
            $($(#[$doc])* #[test]
            fn $case() {
                crate::tests::run(|context| async move {
                    let opened = std::cell::Cell::new(0);
                    let open = async |events| {
                        opened.set(opened.get() + 1);
                        crate::tests::open_another(&context, events, opened.get()).await
                    };
                    super::$case(open).await;
                });
            })+
        }
    };
}
pub(crate) use twins;

pub(crate) async fn memory_of(events: u64) -> InMemory {
    Memory::with_retention(chain_info(), NonZeroU64::new(events).unwrap()).into()
}

/// A retention that no test comes near.
pub(crate) const ALL: u64 = 1 << 20;

pub(crate) fn heights(heights: impl IntoIterator<Item = u64>) -> Vec<Height> {
    heights.into_iter().map(Height::new).collect()
}

pub(crate) async fn known(view: &impl LocalView, height: u64) -> Option<BlockRef> {
    view.locate(&heights([height])).await.unwrap()[0]
}

pub(crate) async fn everything<S: Twin>(log: &S) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = log.read(records.len() as u64, NZUsize!(100)).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The replay law.
pub(crate) fn folded<'a>(
    mut watermarks: Watermarks,
    records: impl IntoIterator<Item = &'a Record>,
) -> Watermarks {
    for record in records {
        watermarks.apply(&record.event);
        assert_eq!(watermarks, record.watermarks, "after event {}", record.sequence());
    }
    watermarks
}

pub(crate) async fn commit<V: LocalView<Block = TestBlock>>(
    view: &mut V,
    changes: Vec<Change<TestBlock>>,
) {
    view.commit(changes).await.unwrap();
}
