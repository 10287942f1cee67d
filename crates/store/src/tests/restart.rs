//! Opening what is there: another chain, another format, a long history, a closed store.

use super::{
    ALL, OnStore, TwinReader as _, commit, config, everything, known, on_disk, open, run, try_open,
    world::*,
};
use crate::{Config, Error, Retention};
use commonware_runtime::{Storage as _, Supervisor as _, deterministic};
use commonware_storage::Context;
use commonware_utils::NZUsize;
use futures::{FutureExt as _, pin_mut};
use std::{num::NonZeroU64, time::Duration};
use tidewatch_core::{
    Archive as _, Change, Cursor, EventLog as _, FaultKind, Height, History as _, LocalView as _,
    LogError, Positions as _, Resume, Tier, Watermarks,
};

#[test]
fn a_restart_finds_everything_as_it_was() {
    let runner = deterministic::Runner::timed(Duration::from_secs(60));
    let mut dice = Dice::new(7);
    let mut driver = Driver::new(Chain::of(3), true, 1);
    let (before, mut checkpoint) = runner.start_and_recover(|context| async move {
        let mut store = open(&context).await;
        for _ in 0..40 {
            commit(&mut store, driver.commit(&mut dice)).await;
        }
        let records = everything(&store).await;
        store.store("indexer", &records[9].cursor).await.unwrap();
        let conflict =
            tidewatch_core::Conflict { ours: driver.chain.at(1), theirs: driver.chain.at(2) };
        store.keep_evidence(conflict).await.unwrap();
        (records, driver, dice)
    });
    let (mut records, mut driver, mut dice) = before;
    for _ in 0..5 {
        let runner = deterministic::Runner::from(checkpoint);
        (records, driver, dice, checkpoint) = {
            let (after, checkpoint) = runner.start_and_recover(|context| async move {
                let mut store = open(&context).await;
                assert_eq!(store.watermarks().await.unwrap(), driver.watermarks);
                assert_eq!(everything(&store).await, records);
                assert_eq!(store.load("indexer").await.unwrap(), Some(records[9].cursor.clone()));
                assert_eq!(store.evidence_kept().len(), 1);
                for height in 0..=driver.chain.top() {
                    let found = known(&store, height).await;
                    assert!(found.is_none_or(|found| found == driver.chain.at(found.height.get())));
                }
                commit(&mut store, driver.commit(&mut dice)).await;
                (everything(&store).await, driver, dice)
            });
            (after.0, after.1, after.2, checkpoint)
        };
    }
}

#[test]
fn both_stores_answer_alike_whatever_happened_and_however_often_one_restarts() {
    for seed in 0..12 {
        run(|context| async move {
            let mut dice = Dice::new(seed);
            let mut driver = Driver::new(Chain::of(2), seed % 3 != 0, 1);
            let mut memory = super::memory_of(ALL).await;
            let mut store = open(&context).await;
            for _ in 0..30 {
                let changes = driver.commit(&mut dice);
                commit(&mut memory, changes.clone()).await;
                commit(&mut store, changes).await;
                if dice.roll(4) == 0 {
                    drop(store);
                    store = open(&context).await;
                }
                let asked = super::heights(0..driver.chain.top() + 3);
                let expected = memory.locate(&asked).await.unwrap();
                assert_eq!(store.locate(&asked).await.unwrap(), expected);
                assert_eq!(store.watermarks().await.unwrap(), memory.watermarks().await.unwrap());
                for height in 0..driver.chain.top() + 3 {
                    assert_eq!(store.block_at(height).await, memory.block_at(height).await);
                    assert_eq!(store.proof_at(height).await, memory.proof_at(height).await);
                }
            }
            assert_eq!(everything(&store).await, everything(&memory).await);
        });
    }
}

#[test]
fn tips_without_blocks_survive_a_restart() {
    run(|context| async move {
        let chain = Chain::of(500);
        let mut store = open(&context).await;
        for height in 1..=500 {
            commit(&mut store, vec![chain.up(Tier::Proposed, height)]).await;
        }
        let asked = super::heights((0..=500).rev());
        let before = store.locate(&asked).await.unwrap();
        store.writer.close().await.unwrap();
        let store = open(&context).await;
        assert_eq!(store.locate(&asked).await.unwrap(), before);
    });
}

#[test]
fn a_directory_of_another_chain_is_refused_naming_both() {
    run(|context| async move {
        open(&context).await;
        let other = Config { chain_info: named("test:2"), ..config() };
        let refused = super::open_with(&context, other).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::WrongChain);
        assert!(
            refused.detail.contains("test:1") && refused.detail.contains("test:2"),
            "{refused}"
        );
        let mut genesis = chain_info();
        genesis.genesis = Chain::of(1).at(1);
        let other = Config { chain_info: genesis, ..config() };
        let refused = super::open_with(&context, other).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::WrongChain, "another genesis is another chain");
        open(&context).await;
    });
}

#[test]
fn a_directory_of_another_format_is_refused_saying_what_to_do() {
    run(|context| async move {
        use commonware_codec::RangeCfg;
        use commonware_storage::metadata::{Config, Metadata};
        let config =
            Config { partition: "tidewatch-meta".into(), codec_config: RangeCfg::from(0..=100) };
        let meta = Metadata::<_, commonware_utils::sequence::U64, bytes::Bytes>::init(
            context.child("x"),
            config,
        );
        meta.await.unwrap().put_sync(0.into(), vec![1, 3, 4].into()).await.unwrap();
        let refused = try_open(&context).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::InvalidConfig);
        assert!(
            refused.detail.contains("format 1, written by an earlier version")
                && refused.detail.contains("name another directory, or move this one aside"),
            "{refused}"
        );
    });
}

#[test]
fn a_lost_header_is_not_taken_for_a_new_directory() {
    run(|context| async move {
        let chain = Chain::of(5);
        let mut store = open(&context).await;
        commit(&mut store, vec![chain.blocks(1, 5)]).await;
        store.writer.close().await.unwrap();
        context.remove("tidewatch-meta", None).await.unwrap();
        let refused = try_open(&context).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::CorruptRecord);
    });
}

#[test]
fn a_section_size_is_that_of_the_directory() {
    run(|context| async move {
        let chain = Chain::of(50);
        let blocks_per_section = NonZeroU64::new(8).unwrap();
        let config = Config { blocks_per_section, ..config() };
        let mut store = super::open_with(&context, config).await.unwrap();
        commit(&mut store, vec![chain.blocks(1, 50)]).await;
        store.writer.close().await.unwrap();
        let store = open(&context).await;
        for height in 0..=50 {
            assert_eq!(known(&store, height).await, Some(chain.at(height)));
        }
    });
}

#[test]
fn one_commit_of_blocks_and_tiers_is_one_round_of_payload_and_one_of_events() {
    run(|context| async move {
        let (context, disk) = on_disk(context);
        let chain = Chain::of(100);
        let mut store = open(&context).await;
        commit(&mut store, vec![chain.blocks(1, 10)]).await;
        commit(&mut store, vec![chain.blocks(11, 12)]).await;
        disk.take();
        let changes =
            vec![chain.blocks(13, 20), chain.up(Tier::Proposed, 20), chain.up(Tier::Proven, 18)];
        commit(&mut store, changes).await;
        // Blocks and events: data, offsets, and how far both are known to be durable. Digests: data
        // and that mark. The five of the payload are under way together, then the three of the events.
        assert_eq!(disk.take().syncs, 3 + 2 + 3);
        commit(&mut store, vec![chain.up(Tier::Proven, 19)]).await;
        assert_eq!(disk.take().syncs, 3, "events alone");
        commit(&mut store, vec![]).await;
        assert_eq!(disk.take().syncs, 0);
    });
}

/// So many full sections of 1,024 blocks and of 4,096 events, without a clean end.
async fn write_sections<E: Context>(context: &E, sections: u64) {
    let chain = Chain::of(sections * 1024);
    let blocks_per_section = NonZeroU64::new(1024).unwrap();
    let config = Config { blocks_per_section, ..config() };
    let mut store = super::open_with(context, config).await.unwrap();
    for top in (1..=sections * 16).map(|commits| commits * 64) {
        let mut changes = vec![chain.blocks(top - 63, top), chain.finalize(top)];
        for height in (top - 63..top).chain(top - 63..=top) {
            let back = chain.back(Tier::Checkpointed, height);
            changes.extend([chain.up(Tier::Checkpointed, top), back]);
        }
        commit(&mut store, changes).await;
    }
    assert_eq!(store.read(sections * 4096 - 1, NZUsize!(9)).await.unwrap().len(), 1);
}

#[test]
fn a_restart_reads_the_same_whatever_the_length_of_the_history() {
    let cost = |sections: u64| {
        run(|context| async move {
            let (context, disk) = on_disk(context);
            write_sections(&context, sections).await;
            disk.take();
            let store = open(&context).await;
            let opened = disk.take();
            let delivered = store.watermarks().await.unwrap().delivered.unwrap();
            assert_eq!(delivered.height.get(), sections * 1024);
            opened
        })
    };
    let (short, long) = (cost(1), cost(4));
    // Records of a longer history name a few more locators, hence the fifth.
    assert!(long.read_bytes <= short.read_bytes + short.read_bytes / 5, "{short:?}, {long:?}");
    // An older file is opened, looked at once, and told that it is durable, which it is: blocks
    // and events with their offsets, and digests.
    let files = 3 * 5;
    assert!(long.reads <= short.reads + 2 * files, "{short:?}, {long:?}");
    assert!(long.changes <= short.changes + 2 * files, "{short:?}, {long:?}");
}

#[test]
fn a_restart_replays_no_event() {
    run(|context| async move {
        let chain = Chain::of(30);
        let mut store = open(&context).await;
        for height in 1..=30 {
            commit(&mut store, vec![chain.blocks(height, height)]).await;
        }
        let cursor = everything(&store).await.pop().unwrap().cursor;
        store.store("indexer", &cursor).await.unwrap();
        drop(store);
        let store = open(&context).await;
        let cursor = store.load("indexer").await.unwrap().unwrap();
        assert_eq!(store.resume(&cursor).await, Ok(Resume::Exact { next: 30 }));
        assert_eq!(store.read(30, NZUsize!(100)).await.unwrap(), []);
        assert!(store.wait(30).now_or_never().is_none());
    });
}

#[test]
fn a_closed_store_refuses_everything_and_ends_every_wait() {
    run(|context| async move {
        let chain = Chain::of(5);
        let mut store = open(&context).await;
        commit(&mut store, vec![chain.blocks(1, 5)]).await;
        let reader = store.clone();
        let waiting = reader.wait(1);
        pin_mut!(waiting);
        assert!((&mut waiting).now_or_never().is_none());
        store.writer.close().await.unwrap();
        let Err(LogError::Fault(fault)) = waiting.await else { panic!("the wait goes on") };
        assert_eq!(fault.kind, FaultKind::Disk);
        let start = Cursor::start(&chain_info().id);
        for fault in [
            reader.watermarks().unwrap_err(),
            reader.evidence().unwrap_err(),
            reader.locate(&[]).await.unwrap_err(),
            reader.store("a", &start).await.unwrap_err(),
            reader.forget("a").await.unwrap_err(),
            reader.load("a").await.unwrap_err(),
            reader.list().await.unwrap_err(),
        ] {
            assert_eq!(fault.kind, FaultKind::Disk);
            assert!(fault.detail.contains("restart"), "{fault}");
        }
        assert!(reader.read(0, NZUsize!(1)).await.is_err() && reader.resume(&start).await.is_err());
        assert!(reader.block(chain.at(1)).await.is_err());
        assert!(reader.range(chain.at(1), chain.at(2), NZUsize!(1)).await.is_err());
        assert!(reader.proof(Tier::Finalized, chain.at(1)).await.is_err());
    });
}

#[test]
fn events_past_retention_are_removed_from_disk_a_file_at_a_time() {
    run(|context| async move {
        let retention = Retention::events(NonZeroU64::new(1_000).unwrap());
        let config = Config { retention, ..config() };
        let mut store = super::open_with(&context, config.clone()).await.unwrap();
        let chain = Chain::of(1);
        commit(&mut store, vec![chain.blocks(1, 1), chain.up(Tier::Proven, 0)]).await;
        for _ in 0..100 {
            let moves =
                (0..50).flat_map(|_| [chain.up(Tier::Proven, 1), chain.back(Tier::Proven, 0)]);
            commit(&mut store, moves.collect()).await;
        }
        let files = async || context.scan("tidewatch-events_data").await.unwrap().len();
        assert_eq!(files().await, 1, "10,002 events, of which the first two files are gone");
        assert!(store.read(9_001, NZUsize!(1)).await.is_err());
        assert_eq!(store.read(9_002, NZUsize!(1)).await.unwrap().len(), 1);
        drop(store);
        let store = super::open_with(&context, config).await.unwrap();
        assert_eq!(store.read(9_002, NZUsize!(5_000)).await.unwrap().len(), 1_000);
        assert_eq!(folded_from(&store, 9_002).await, store.watermarks().await.unwrap());
    });
}

async fn folded_from<E: Context>(store: &OnStore<E>, from: u64) -> Watermarks {
    let records = store.read(from, NZUsize!(5_000)).await.unwrap();
    super::folded(records[0].watermarks, &records[1..])
}

#[test]
fn a_slow_reader_delays_nobody_and_reads_what_was_there() {
    run(|context| async move {
        let chain = Chain::of(200);
        let mut store = super::open_another(&context, ALL, 1).await;
        commit(&mut store, vec![chain.blocks(1, 1)]).await;
        let reader = store.clone();
        for next in 0..199 {
            let reading = reader.read(next, NZUsize!(1));
            pin_mut!(reading);
            // The reader holds its read open over a whole commit.
            let early = (&mut reading).now_or_never();
            commit(&mut store, vec![chain.blocks(next + 2, next + 2)]).await;
            let records = match early {
                Some(records) => records.unwrap(),
                None => reading.await.unwrap(),
            };
            let expected = chain.blocks(next + 1, next + 1).event(&Watermarks::none()).unwrap();
            assert_eq!(records[0].event, expected);
        }
    });
}

#[test]
fn readers_read_while_a_commit_waits_for_the_disk() {
    run(|context| async move {
        let (context, disk) = on_disk(context);
        let chain = Chain::of(50);
        let mut store = open(&context).await;
        for height in 1..=40 {
            commit(&mut store, vec![chain.blocks(height, height)]).await;
        }
        let cursor = everything(&store).await.pop().unwrap().cursor;
        let readers = vec![store.clone(); 50];
        disk.stall_syncs();
        let committing = store.commit(vec![chain.blocks(41, 50)]);
        pin_mut!(committing);
        assert!((&mut committing).now_or_never().is_none());
        for (sequence, reader) in (0..40).zip(&readers) {
            let records =
                reader.read(sequence, NZUsize!(10)).now_or_never().expect("does not wait");
            assert_eq!(records.unwrap()[0].sequence(), sequence);
            let delivered = reader.watermarks().unwrap().delivered;
            assert_eq!(delivered, Some(chain.at(40)), "what is not durable is not shown");
            let block = reader.block(chain.at(sequence + 1)).now_or_never();
            assert_eq!(block.expect("does not wait").unwrap(), chain.block(sequence + 1));
            let range = reader.range(chain.at(1), chain.at(40), NZUsize!(40)).now_or_never();
            assert_eq!(range.expect("does not wait").unwrap().len(), 40);
            let proof = reader.proof(Tier::Finalized, chain.at(1)).now_or_never();
            assert_eq!(proof.expect("does not wait").unwrap(), None);
            let resumed = reader.resume(&cursor).now_or_never().expect("does not wait");
            assert_eq!(resumed, Ok(Resume::Exact { next: 40 }));
            let located = reader.locate(&[Height::new(3)]).now_or_never();
            assert_eq!(located.expect("does not wait").unwrap(), [Some(chain.at(3))]);
            reader.load("a").now_or_never().expect("does not wait").unwrap();
        }
        assert_eq!(cursor.delivered(), Some(chain.at(40)));
    });
}

#[test]
fn a_commit_that_is_dropped_while_it_writes_closes_the_store_until_it_is_opened_again() {
    run(|context| async move {
        let (on_disk, disk) = on_disk(context.child("first"));
        let chain = Chain::of(50);
        let mut store = open(&on_disk).await;
        commit(&mut store, vec![chain.blocks(1, 40)]).await;
        disk.stall_syncs();
        assert!(store.commit(vec![chain.blocks(41, 50)]).now_or_never().is_none());
        assert_eq!(store.watermarks().await.unwrap_err().kind, FaultKind::Disk);
        assert_eq!(store.commit(vec![]).await.unwrap_err().kind, FaultKind::Disk);
        drop(store);
        let mut store = open(&context).await;
        let delivered = store.watermarks().await.unwrap().delivered.unwrap();
        assert_eq!(delivered, chain.at(40));
        commit(&mut store, vec![chain.blocks(41, 50)]).await;
        assert_eq!(store.block_at(50).await, Some(chain.block(50)));
    });
}

/// Whichever actor asks first afterwards, what ended it all is told.
#[test]
fn after_a_write_that_failed_everybody_is_told_why() {
    run(|context| async move {
        let (on_disk, disk) = on_disk(context.child("first"));
        let chain = Chain::of(50);
        let mut store = open(&on_disk).await;
        commit(&mut store, vec![chain.blocks(1, 40)]).await;
        let reader = store.clone();
        let waiting = reader.wait(1);
        pin_mut!(waiting);
        assert!((&mut waiting).now_or_never().is_none());
        disk.fail_disk_after(0);
        let cause = store.commit(vec![chain.blocks(41, 50)]).await.unwrap_err();
        let told = cause.reason::<Error>().map(ToString::to_string);
        assert!(told.is_some_and(|told| told.starts_with("blocks: ")), "{cause}");
        let Err(LogError::Fault(waited)) = waiting.await else { panic!("the wait goes on") };
        let later = store.commit(vec![]).await.unwrap_err();
        for fault in [waited, later, reader.watermarks().unwrap_err()] {
            assert_eq!(fault, cause);
            assert!(fault.reason::<Error>().is_some());
        }
    });
}

#[test]
fn a_commit_that_is_dropped_before_it_writes_changes_nothing() {
    run(|context| async move {
        let chain = Chain::of(5);
        let mut store = open(&context).await;
        drop(store.commit(vec![chain.blocks(1, 5)]));
        assert_eq!(store.watermarks().await.unwrap(), Watermarks::none());
        commit(&mut store, vec![chain.blocks(1, 5)]).await;
    });
}

#[test]
fn a_large_commit_asks_little_of_the_disk() {
    run(|context| async move {
        let (context, disk) = on_disk(context);
        let chain = Chain::of(20_000);
        let mut store = open(&context).await;
        disk.take();
        commit(&mut store, vec![chain.blocks(1, 20_000), chain.finalize(20_000)]).await;
        let done = disk.take();
        // 5.7 MiB in writes of a buffer each; 18 barriers for the start of the run, the end of the
        // first section, and the commit itself.
        assert!(done.changes < 250 && done.syncs < 40, "{done:?}");
    });
}

/// A long history is taken in range by range, and no tier is announced before the last one.
#[test]
fn certificates_of_history_survive_a_restart_up_to_what_is_delivered() {
    let certified = |block| Change::Certified(proof(block));
    run(|context| async move {
        let chain = Chain::of(40);
        let mut store = open(&context).await;
        commit(&mut store, vec![chain.blocks(1, 10), certified(chain.at(10))]).await;
        commit(&mut store, vec![chain.blocks(11, 20), certified(chain.at(20))]).await;
        drop(store);
        let mut store = open(&context).await;
        assert_eq!(store.proof_at(1).await, Some(proof(chain.at(10))));
        assert_eq!(store.proof_at(11).await, Some(proof(chain.at(20))));
        let watermarks = store.watermarks().await.unwrap();
        let other = chain.forked(12, 9, 1);
        let reorg =
            vec![chain.prune(&watermarks, 12), other.blocks(13, 21), certified(other.at(21))];
        commit(&mut store, reorg).await;
        drop(store);
        let store = open(&context).await;
        assert_eq!(store.proof_at(10).await, Some(proof(chain.at(10))));
        assert_eq!(store.proof_at(11).await, Some(proof(other.at(21))), "20 was pruned");
    });
}
