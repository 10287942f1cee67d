//! A disk that changes what was written to it.

use super::{OnStore, TwinReader as _, commit, everything, open, run, try_open, world::*};
use commonware_runtime::{Blob as _, ReadOptions, Storage as _, WriteOptions, deterministic};
use tidewatch_core::{
    Event, EventLog as _, FaultKind, Height, LocalView as _, LogError, Positions as _, Tier,
};

const PARTS: [&str; 13] = [
    "tidewatch-meta",
    "tidewatch-consumers",
    "tidewatch-events_data",
    "tidewatch-events_offsets-blobs",
    "tidewatch-events_offsets-metadata",
    "tidewatch-proofs-finalized_data",
    "tidewatch-proofs-finalized_offsets-blobs",
    "tidewatch-proofs-finalized_offsets-metadata",
    "tidewatch-blocks-0_data",
    "tidewatch-blocks-0_offsets-blobs",
    "tidewatch-blocks-0_offsets-metadata",
    "tidewatch-digests-0-blobs",
    "tidewatch-digests-0-metadata",
];

pub(super) type Files = Vec<(String, Vec<u8>, Vec<u8>)>;

/// Everything on disk.
pub(super) async fn files(context: &deterministic::Context) -> Files {
    let mut files = Vec::new();
    for part in PARTS {
        for name in context.scan(part).await.unwrap_or_default() {
            let (blob, len) = context.open(part, &name).await.unwrap();
            let read = blob.read_at(0, len as usize, ReadOptions::default()).await.unwrap();
            files.push((part.into(), name, read.coalesce().as_ref().to_vec()));
        }
    }
    files
}

pub(super) async fn restore(context: &deterministic::Context, files: &Files) {
    for part in PARTS {
        let _ = context.remove(part, None).await;
    }
    for (part, name, bytes) in files {
        let (blob, _) = context.open(part, name).await.unwrap();
        blob.write_at(0, bytes.clone(), WriteOptions::default()).await.unwrap();
        blob.sync().await.unwrap();
    }
}

async fn flip(context: &deterministic::Context, part: &str, name: &[u8], at: usize) {
    let (blob, _) = context.open(part, name).await.unwrap();
    let byte = blob.read_at(at as u64, 1, ReadOptions::default()).await.unwrap().coalesce();
    let flipped = vec![byte.as_ref()[0] ^ 0x10];
    blob.write_at(at as u64, flipped, WriteOptions::default()).await.unwrap();
    blob.sync().await.unwrap();
}

/// A store of 100 blocks, with proofs, in a few commits; cleanly closed or not.
async fn written(context: &deterministic::Context, closed: bool) -> (Chain, Files) {
    let chain = Chain::of(100);
    let mut store = open(context).await;
    for at in (1..=91).step_by(10) {
        let tip = at + 9;
        commit(
            &mut store,
            vec![chain.blocks(at, tip), chain.up(Tier::Proposed, tip), chain.finalize(at)],
        )
        .await;
    }
    let last = everything(&store).await.pop().unwrap();
    store.store("indexer", &last.cursor).await.unwrap();
    if closed {
        store.writer.close().await.unwrap();
    } else {
        drop(store);
    }
    (chain, files(context).await)
}

/// Whatever the store answers is true, or a fault that says which record is wrong.
async fn assert_true_or_named(store: &OnStore<deterministic::Context>, chain: &Chain, what: &str) {
    let named = |fault: tidewatch_core::Fault| {
        assert_eq!(fault.kind, FaultKind::CorruptRecord, "{what}: {fault}");
    };
    let watermarks = store.watermarks().await.unwrap();
    let top = watermarks.delivered.map_or(0, |delivered| delivered.height.get());
    for height in 1..=top {
        match store.try_block_at(height).await {
            Ok(block) => assert_eq!(block, Some(chain.block(height)), "{what}"),
            Err(fault) => named(fault),
        }
        match store.locate(&[Height::new(height)]).await {
            Ok(known) => assert_eq!(known, [Some(chain.at(height))], "{what}"),
            Err(fault) => named(fault),
        }
        match store.try_proof_at(height).await {
            Ok(found) => assert!(found.is_none_or(|found| found == proof(found.block)), "{what}"),
            Err(fault) => named(fault),
        }
    }
    for sequence in 0..30 {
        match store.read(sequence, 1.try_into().unwrap()).await {
            Ok(records) => {
                for record in records {
                    if let Event::Blocks { to, .. } = record.event {
                        assert_eq!(to, chain.at(to.height.get()), "{what}");
                    }
                }
            }
            Err(LogError::Fault(fault)) => named(fault),
            Err(other) => panic!("{what}: {other}"),
        }
    }
    match store.load("indexer").await {
        Ok(cursor) => assert!(cursor.is_none_or(|cursor| cursor.handled() == 30), "{what}"),
        Err(fault) => named(fault),
    }
}

fn flip_everywhere(closed: bool) {
    run(|context| async move {
        let (chain, files) = written(&context, closed).await;
        let (mut refused, mut opened) = (0, 0);
        for (part, name, bytes) in &files {
            // Every byte of small files, and a sample of large ones.
            let step = (bytes.len() / 60).max(1);
            for at in (0..bytes.len()).step_by(step) {
                restore(&context, &files).await;
                flip(&context, part, name, at).await;
                let what = format!("{part}/{name:02x?} at {at} of {}", bytes.len());
                match try_open(&context).await {
                    Ok(store) => {
                        opened += 1;
                        assert_true_or_named(&store, &chain, &what).await;
                    }
                    Err(fault) => {
                        refused += 1;
                        assert_eq!(fault.kind, FaultKind::CorruptRecord, "{what}: {fault}");
                        assert_ne!(fault.detail, "", "{what}");
                    }
                }
            }
        }
        assert!(refused > 50 && opened > 50, "{refused} refused, {opened} opened");
    });
}

/// A directory that cannot be listed looks like that, for want of a descriptor or of a permission.
#[test]
fn a_store_whose_events_are_gone_is_refused_and_its_blocks_stay() {
    run(|context| async move {
        let (chain, files) = written(&context, true).await;
        for part in ["tidewatch-events_data", "tidewatch-events_offsets-blobs"] {
            let _ = context.remove(part, None).await;
        }
        let _ = context.remove("tidewatch-events_offsets-metadata", None).await;
        let Err(refused) = try_open(&context).await else { panic!("opened") };
        assert_eq!(refused.kind, FaultKind::CorruptRecord);
        assert!(refused.detail.starts_with("events at 0: the events are gone"), "{refused}");
        for (part, name, bytes) in files.iter().filter(|(part, ..)| part.contains("events")) {
            let (blob, _) = context.open(part, name).await.unwrap();
            blob.write_at(0, bytes.clone(), WriteOptions::default()).await.unwrap();
            blob.sync().await.unwrap();
        }
        let store = try_open(&context).await.unwrap();
        assert_eq!(store.block_at(100).await, Some(chain.block(100)));
    });
}

/// Also right after the last change of what it holds, when the older copy would know less.
#[test]
fn either_copy_of_the_meta_data_may_be_damaged_and_nothing_is_lost() {
    run(|context| async move {
        for blocks in [1, 100] {
            let chain = Chain::of(100);
            let mut store = open(&context).await;
            commit(&mut store, vec![chain.blocks(1, blocks)]).await;
            let watermarks = store.watermarks().await.unwrap();
            drop(store);
            let files = files(&context).await;
            let copies: Vec<_> =
                files.iter().filter(|(part, ..)| *part == "tidewatch-meta").collect();
            assert_eq!(copies.len(), 2);
            for (part, name, bytes) in copies {
                for at in [0, bytes.len() / 2, bytes.len() - 1] {
                    restore(&context, &files).await;
                    flip(&context, part, name, at).await;
                    let what = format!("{blocks} blocks, {name:02x?} at {at}");
                    let store = try_open(&context).await;
                    let store = store.unwrap_or_else(|fault| panic!("{what}: {fault}"));
                    assert_eq!(store.watermarks().await.unwrap(), watermarks, "{what}");
                    assert_eq!(store.block_at(blocks).await, Some(chain.block(blocks)), "{what}");
                }
            }
            for part in PARTS {
                let _ = context.remove(part, None).await;
            }
        }
    });
}

#[test]
fn a_changed_byte_anywhere_is_never_read_as_something_else() {
    flip_everywhere(true);
}

#[test]
fn a_changed_byte_anywhere_after_a_crash_is_never_read_as_something_else() {
    flip_everywhere(false);
}

#[test]
fn a_changed_block_is_named_by_its_height_and_the_rest_stays_readable() {
    run(|context| async move {
        let (chain, _) = written(&context, true).await;
        // Block 20 of 250 bytes is in the second page of its file.
        let [name] = &context.scan("tidewatch-blocks-0_data").await.unwrap()[..] else {
            panic!("files")
        };
        flip(&context, "tidewatch-blocks-0_data", name, 5_000).await;
        let store = match try_open(&context).await {
            Ok(store) => store,
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::CorruptRecord);
                assert!(fault.detail.starts_with("blocks"), "{fault}");
                return;
            }
        };
        let fault = store.try_block_at(20).await.unwrap_err();
        assert!(fault.detail.starts_with("blocks at 20:"), "{fault}");
        assert_eq!(store.block_at(60).await, Some(chain.block(60)));
    });
}

async fn unfinalized(context: &deterministic::Context, finalized: u64) -> Chain {
    let chain = Chain::of(40);
    let mut store = open(context).await;
    let start = vec![chain.blocks(1, 20), chain.up(Tier::Proposed, 20), chain.finalize(finalized)];
    commit(&mut store, start).await;
    commit(&mut store, vec![chain.blocks(21, 40), chain.up(Tier::Proposed, 40)]).await;
    chain
}

/// Cuts the last page off a journal, as a disk that lost it would.
async fn lose_end(context: &deterministic::Context, part: &str) {
    let [name] = &context.scan(part).await.unwrap()[..] else { panic!("one file") };
    let (blob, len) = context.open(part, name).await.unwrap();
    blob.resize(len - 4096).await.unwrap();
    blob.sync().await.unwrap();
}

#[test]
fn lost_blocks_that_are_not_finalized_are_pruned_and_asked_for_again() {
    run(|context| async move {
        let chain = unfinalized(&context, 5).await;
        lose_end(&context, "tidewatch-blocks-0_data").await;
        let mut store = open(&context).await;
        let watermarks = store.watermarks().await.unwrap();
        let delivered = watermarks.delivered.unwrap();
        assert!(delivered.height.get() < 40 && delivered.height.get() >= 20, "{delivered}");
        assert_eq!(watermarks.tips.block(Tier::Proposed), Some(delivered));
        let records = everything(&store).await;
        assert!(
            matches!(records.last().unwrap().event, Event::Pruned { to, .. } if to == delivered)
        );
        commit(&mut store, vec![chain.blocks(delivered.height.get() + 1, 40)]).await;
        drop(store);
        let store = open(&context).await;
        assert_eq!(store.block_at(40).await, Some(chain.block(40)));
    });
}

#[test]
fn lost_blocks_that_are_finalized_are_refused_naming_them() {
    run(|context| async move {
        let chain = unfinalized(&context, 20).await;
        {
            let mut store = open(&context).await;
            commit(&mut store, vec![chain.finalize(40)]).await;
        }
        lose_end(&context, "tidewatch-blocks-0_data").await;
        let refused = try_open(&context).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::CorruptRecord);
        assert!(refused.detail.starts_with("blocks"), "{refused}");
    });
}

#[test]
fn lost_digests_are_made_again_from_blocks() {
    run(|context| async move {
        let chain = unfinalized(&context, 20).await;
        lose_end(&context, "tidewatch-digests-0-blobs").await;
        let store = match try_open(&context).await {
            Ok(store) => store,
            Err(fault) => {
                assert!(fault.detail.starts_with("digests"), "{fault}");
                return;
            }
        };
        for height in 1..=40 {
            assert_eq!(super::known(&store, height).await, Some(chain.at(height)));
        }
    });
}
