//! One suite for both stores, and what only a disk can do.

mod corrupt;
mod crash;
mod cursors;
mod disk;
mod restart;
mod small_worlds;
mod suite;
mod tips_store;
mod world;

use crate::{Config, Memory, Store};
use commonware_runtime::{Runner as _, deterministic};
use commonware_storage::Context;
use commonware_utils::NZUsize;
use std::{future::Future, num::NonZeroU64, time::Duration};
use tidewatch_core::{
    BlockRef, Change, Conflict, EventLog, Fault, Height, LocalView, Record, TierProof, Watermarks,
};
use world::{TestBlock, chain_info};

/// What both stores are.
pub(crate) trait Twin: LocalView<Block = TestBlock> + EventLog {
    async fn block_at(&self, height: u64) -> Option<TestBlock>;
    async fn proof_at(&self, at_or_above: u64) -> Option<TierProof>;
    async fn evidence_kept(&self) -> Vec<Conflict>;
    fn readers_parked(&self) -> usize;
}

impl Twin for Memory<TestBlock> {
    async fn block_at(&self, height: u64) -> Option<TestBlock> {
        self.block(Height::new(height)).await.unwrap()
    }

    async fn proof_at(&self, at_or_above: u64) -> Option<TierProof> {
        self.proof(Height::new(at_or_above)).await.unwrap()
    }

    async fn evidence_kept(&self) -> Vec<Conflict> {
        self.evidence().await.unwrap()
    }

    fn readers_parked(&self) -> usize {
        self.parked()
    }
}

impl<E: Context> Twin for Store<E, TestBlock> {
    async fn block_at(&self, height: u64) -> Option<TestBlock> {
        self.block(Height::new(height)).await.unwrap()
    }

    async fn proof_at(&self, at_or_above: u64) -> Option<TierProof> {
        self.proof(Height::new(at_or_above)).await.unwrap()
    }

    async fn evidence_kept(&self) -> Vec<Conflict> {
        self.evidence().await.unwrap()
    }

    fn readers_parked(&self) -> usize {
        self.parked()
    }
}

pub(crate) fn config() -> Config<()> {
    // One page of cache: what is asked of the disk is not hidden.
    Config { page_cache_pages: NZUsize!(1), ..Config::new(chain_info(), ()) }
}

pub(crate) async fn open<E: Context>(context: &E) -> Store<E, TestBlock> {
    try_open(context).await.unwrap()
}

pub(crate) async fn try_open<E: Context>(context: &E) -> Result<Store<E, TestBlock>, Fault> {
    Store::open(context.child("store"), config()).await
}

/// The `nth` store of a context, keeping so many events.
pub(crate) async fn open_another<E: Context>(
    context: &E,
    events: u64,
    nth: u64,
) -> Store<E, TestBlock> {
    let retention = NonZeroU64::new(events).unwrap();
    let config = Config { retention, partition: format!("store-{nth}"), ..config() };
    Store::open(context.child("store").with_attribute("nth", nth), config).await.unwrap()
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

pub(crate) async fn memory_of(events: u64) -> Memory<TestBlock> {
    Memory::with_retention(chain_info(), NonZeroU64::new(events).unwrap())
}

/// A retention that no test comes near.
pub(crate) const ALL: u64 = 1 << 20;

pub(crate) fn heights(heights: impl IntoIterator<Item = u64>) -> Vec<Height> {
    heights.into_iter().map(Height::new).collect()
}

pub(crate) async fn known(view: &impl LocalView, height: u64) -> Option<BlockRef> {
    view.locate(&heights([height])).await.unwrap()[0]
}

pub(crate) async fn everything(log: &impl EventLog) -> Vec<Record> {
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
