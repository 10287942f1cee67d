//! Retention: what is trimmed, what holds it, and what is left after a crash in between.

use super::{
    ALL, OnStore, Twin, TwinReader as _, commit,
    corrupt::{Files, files, restore},
    everything, heights, on_disk, open_with, run, twins,
    world::*,
};
use crate::{Config, Keep, Retention, Slowest};
use commonware_runtime::{
    Clock as _, Metrics as _, Runner as _, Storage as _, Supervisor as _, deterministic,
};
use commonware_storage::Context;
use commonware_utils::{NZU64, NZUsize};
use futures::FutureExt as _;
use std::{num::NonZeroU64, time::Duration};
use tidewatch_core::{
    Archive as _, ArchiveError, Change, EventLog as _, FaultKind, Height, History as _,
    LocalView as _, LogError, Pin, Positions as _, Resume, Tier,
};
use tidewatch_testkit::host::crash::{LEFT, Left, faults};

twins! {
    pins_are_listed_until_they_are_dropped,
    the_slowest_consumer_is_shown,
}

async fn pins_are_listed_until_they_are_dropped<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(40));
    assert_eq!(store.retained().await.oldest_block, None);
    commit(&mut store, vec![chain.blocks(3, 40), chain.finalize(9), chain.finalize(30)]).await;
    let retained = store.retained().await;
    assert_eq!((retained.oldest_event, retained.pins), (0, vec![]));
    assert_eq!(retained.oldest_block, Some(Height::new(3)));
    assert_eq!(retained.oldest_proofs[Tier::Finalized.index()], Some(Height::new(9)));
    assert_eq!(retained.oldest_proofs[Tier::Proven.index()], None);
    let (prover, server) =
        (store.pin("prover", chain.at(5)), store.clone().pin("server", chain.at(7)));
    let both = [("prover".into(), chain.at(5)), ("server".into(), chain.at(7))];
    assert_eq!(store.retained().await.pins, both);
    prover.advance(chain.at(8));
    drop(server);
    assert_eq!(store.retained().await.pins, [("prover".into(), chain.at(8))]);
    drop(prover);
    assert_eq!(store.retained().await.pins, []);
}

async fn the_slowest_consumer_is_shown<S: Twin>(open: impl AsyncFn(u64) -> S) {
    let (mut store, chain) = (open(ALL).await, Chain::of(5));
    for height in 1..=5 {
        commit(&mut store, vec![chain.blocks(height, height)]).await;
    }
    let records = everything(&store).await;
    assert_eq!(store.retained().await.slowest, None);
    store.store("fast", &records[3].cursor).await.unwrap();
    store.store("slow", &records[1].cursor).await.unwrap();
    let shown = |consumer: &str, handled| {
        Some(Slowest { consumer: consumer.into(), handled, behind: 5 - handled })
    };
    assert_eq!(store.retained().await.slowest, shown("slow", 2));
    store.store("slow", &records[4].cursor).await.unwrap();
    assert_eq!(store.retained().await.slowest, shown("fast", 4));
    store.forget("fast").await.unwrap();
    assert_eq!(store.retained().await.slowest, shown("slow", 5));
}

const NONE: Keep = Keep { count: None, bytes: None, age: None };

fn count(count: u64) -> Keep {
    Keep { count: NonZeroU64::new(count), ..NONE }
}

fn bytes(bytes: u64) -> Keep {
    Keep { bytes: NonZeroU64::new(bytes), ..NONE }
}

fn seconds(seconds: u64) -> Keep {
    Keep { age: Some(Duration::from_secs(seconds)), ..NONE }
}

/// A store with ten blocks in a file.
fn tens(retention: Retention) -> Config<()> {
    Config { retention, blocks_per_section: NZU64!(10), ..super::config() }
}

fn blocks(blocks: Keep) -> Config<()> {
    tens(Retention { blocks, ..Retention::default() })
}

fn proofs(proofs: Keep) -> Config<()> {
    tens(Retention { proofs, ..Retention::default() })
}

async fn oldest_block<S: Twin>(store: &S) -> u64 {
    store.retained().await.oldest_block.unwrap().get()
}

async fn oldest_proof<S: Twin>(store: &S) -> u64 {
    store.retained().await.oldest_proofs[Tier::Finalized.index()].unwrap().get()
}

/// Blocks from `oldest` on are there, those below are refused by type; all of them are located.
async fn assert_blocks<S: Twin>(store: &S, chain: &Chain, (first, oldest, top): (u64, u64, u64)) {
    assert_eq!(oldest_block(store).await, oldest);
    for height in first..=top {
        let wanted = chain.at(height);
        let trimmed = Err(ArchiveError::Trimmed { wanted, oldest: Height::new(oldest) });
        let answer = if height < oldest { trimmed } else { Ok(chain.block(height)) };
        assert_eq!(store.block(wanted).await, answer);
        assert_eq!(store.located(&heights([height])).await.unwrap(), [Some(wanted)]);
    }
    if first < oldest {
        let wanted = chain.at(oldest - 1);
        let refused = store.range(wanted, chain.at(top), NZUsize!(9)).await;
        assert_eq!(refused, Err(ArchiveError::Trimmed { wanted, oldest: Height::new(oldest) }));
    }
    let range = store.range(chain.at(oldest), chain.at(top), NZUsize!(1_000)).await.unwrap();
    assert_eq!(range.len() as u64, top + 1 - oldest);
}

/// Delivers `from..=to` five at a time, and finalizes `finalized`.
async fn deliver<E: Context>(
    store: &mut OnStore<E>,
    chain: &Chain,
    (from, to): (u64, u64),
    finalized: u64,
) {
    for at in (from..=to).step_by(5) {
        commit(store, vec![chain.blocks(at, (at + 4).min(to))]).await;
    }
    commit(store, vec![chain.finalize(finalized)]).await;
}

#[test]
fn blocks_are_trimmed_by_count_and_by_bytes_below_finality() {
    for (keep, finalized, oldest) in [
        (NONE, 100, 3),
        (count(1_000), 100, 3),
        (count(25), 100, 70),
        (count(21), 100, 80),
        (count(1), 100, 100),
        (count(25), 43, 40),
        // 248 bytes each: one in the newest file, and two files of ten.
        (bytes(6_000), 100, 80),
        (Keep { count: NonZeroU64::new(11), ..bytes(6_000) }, 100, 90),
    ] {
        run(|context| async move {
            let (chain, config) = (Chain::of(120), blocks(keep));
            let mut store = open_with(&context, config.clone()).await.unwrap();
            deliver(&mut store, &chain, (3, 100), finalized).await;
            let first = everything(&store).await.remove(0).cursor;
            assert_blocks(&store, &chain, (3, oldest, 100)).await;
            assert_eq!(store.resume(&first).await, Ok(Resume::Exact { next: 1 }));
            drop(store);
            let mut store = open_with(&context, config.clone()).await.unwrap();
            assert_blocks(&store, &chain, (3, oldest, 100)).await;
            assert_eq!(store.resume(&first).await, Ok(Resume::Exact { next: 1 }));
            deliver(&mut store, &chain, (101, 120), 120).await;
            let oldest = match (keep, finalized) {
                (Keep { bytes: None, count: Some(count), .. }, _) if count.get() <= 25 => {
                    (121 - count.get()) / 10 * 10
                }
                (Keep { bytes: None, .. }, _) => 3,
                // The file that was there at the start has more bytes than what is in it.
                _ => 110,
            };
            assert_blocks(&store, &chain, (3, oldest, 120)).await;
        });
    }
}

#[test]
fn without_finality_nothing_is_trimmed() {
    run(|context| async move {
        let chain = Chain::of(100);
        let mut store = open_with(&context, blocks(count(1))).await.unwrap();
        commit(&mut store, vec![chain.blocks(3, 100), chain.up(Tier::Proven, 100)]).await;
        assert_blocks(&store, &chain, (3, 3, 100)).await;
    });
}

#[test]
fn blocks_are_trimmed_by_age_of_their_file() {
    run(|context| async move {
        let (chain, config) = (Chain::of(100), blocks(seconds(10)));
        let mut store = open_with(&context, config.clone()).await.unwrap();
        deliver(&mut store, &chain, (1, 53), 53).await;
        context.sleep(Duration::from_secs(6)).await;
        deliver(&mut store, &chain, (54, 100), 100).await;
        assert_eq!(oldest_block(&store).await, 1);
        context.sleep(Duration::from_secs(6)).await;
        commit(&mut store, vec![]).await;
        assert_blocks(&store, &chain, (1, 50, 100)).await;
        drop(store);
        // What was there at the start counts from the start.
        let mut store = open_with(&context, config).await.unwrap();
        context.sleep(Duration::from_secs(9)).await;
        commit(&mut store, vec![]).await;
        assert_blocks(&store, &chain, (1, 50, 100)).await;
        context.sleep(Duration::from_secs(2)).await;
        commit(&mut store, vec![]).await;
        assert_blocks(&store, &chain, (1, 100, 100)).await;
    });
}

#[test]
fn a_pin_holds_blocks_until_it_is_advanced_or_dropped() {
    run(|context| async move {
        let chain = Chain::of(100);
        let mut store = open_with(&context, blocks(count(25))).await.unwrap();
        let pin: Pin = store.pin("prover", chain.at(55));
        deliver(&mut store, &chain, (1, 100), 100).await;
        assert_blocks(&store, &chain, (1, 50, 100)).await;
        assert_eq!(store.retained().await.pins, [("prover".into(), chain.at(55))]);
        let text = context.encode();
        for (gauge, value) in
            [("oldest_block", 50), ("lowest_pin", 55), ("pins", 1), ("oldest_event", 0)]
        {
            let line = format!("store_retention_{gauge} {value}");
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        pin.advance(chain.at(62));
        commit(&mut store, vec![]).await;
        assert_blocks(&store, &chain, (1, 60, 100)).await;
        // A pin on what is gone brings nothing back, and holds what is left.
        let late = store.pin("late", chain.at(7));
        drop(pin);
        commit(&mut store, vec![]).await;
        assert_blocks(&store, &chain, (1, 60, 100)).await;
        drop(late);
        commit(&mut store, vec![]).await;
        assert_blocks(&store, &chain, (1, 70, 100)).await;
    });
}

#[test]
fn what_a_trim_has_chosen_is_refused_before_it_is_removed() {
    run(|context| async move {
        let (on_disk, disk) = on_disk(context);
        let chain = Chain::of(100);
        let mut store = open_with(&on_disk, blocks(count(25))).await.unwrap();
        let pin = store.pin("prover", chain.at(1));
        deliver(&mut store, &chain, (1, 100), 100).await;
        let reader = store.reader.clone();
        assert_eq!(reader.block(chain.at(35)).await, Ok(chain.block(35)));
        drop(pin);
        disk.give_way(1);
        let trimming = store.commit(vec![]);
        futures::pin_mut!(trimming);
        assert!((&mut trimming).now_or_never().is_none(), "waits for the disk");
        let late = reader.pin("late", chain.at(35));
        let refused = reader.block(chain.at(35)).await;
        let (wanted, oldest) = (chain.at(35), Height::new(70));
        assert_eq!(refused, Err(ArchiveError::Trimmed { wanted, oldest }));
        assert_eq!(reader.block(chain.at(70)).await, Ok(chain.block(70)));
        trimming.await.unwrap();
        assert_eq!(reader.block(chain.at(35)).await, refused);
        drop(late);
    });
}

#[test]
fn a_new_run_and_a_reorg_go_on_beside_trimmed_blocks() {
    run(|context| async move {
        let (chain, config) = (Chain::of(300), blocks(count(5)));
        let mut store = open_with(&context, config.clone()).await.unwrap();
        deliver(&mut store, &chain, (1, 100), 60).await;
        let (watermarks, fork) = (store.watermarks().await.unwrap(), chain.forked(60, 240, 1));
        commit(&mut store, vec![chain.prune(&watermarks, 60), fork.blocks(61, 110)]).await;
        assert_blocks(&store, &fork, (1, 60, 110)).await;
        deliver(&mut store, &fork, (205, 230), 205).await;
        assert_blocks(&store, &fork, (205, 205, 230)).await;
        deliver(&mut store, &fork, (231, 233), 233).await;
        assert_blocks(&store, &fork, (205, 220, 233)).await;
        drop(store);
        assert_blocks(&open_with(&context, config).await.unwrap(), &fork, (205, 220, 233)).await;
    });
}

/// Commits `events` events in one commit.
async fn commit_events<E: Context>(store: &mut OnStore<E>, chain: &Chain, events: u64) {
    let moves = |_| [chain.up(Tier::Proven, 1), chain.back(Tier::Proven, 0)];
    commit(store, (0..events / 2).flat_map(moves).collect()).await;
}

fn events(events: Keep, unacknowledged_max: u64) -> Config<()> {
    tens(Retention { events, unacknowledged_max, ..Retention::default() })
}

#[test]
fn events_are_held_for_a_slow_consumer_up_to_a_limit() {
    run(|context| async move {
        let (chain, config) = (Chain::of(1), events(count(1_000), 5_000));
        let mut store = open_with(&context, config.clone()).await.unwrap();
        commit(&mut store, vec![chain.blocks(1, 1), chain.up(Tier::Proven, 0)]).await;
        let start = everything(&store).await.remove(0).cursor;
        store.store("slow", &start).await.unwrap();
        let files = async || context.scan("tidewatch-events_data").await.unwrap().len();
        commit_events(&mut store, &chain, 5_000).await;
        assert_eq!(store.retained().await.oldest_event, 1, "the next that it needs");
        assert_eq!((store.resume(&start).await, files().await), (Ok(Resume::Exact { next: 1 }), 2));
        commit_events(&mut store, &chain, 6_000).await;
        let retained = store.retained().await;
        assert_eq!((retained.oldest_event, files().await), (11_002 - 1_000 - 5_000, 2));
        let slowest = Slowest { consumer: "slow".into(), handled: 1, behind: 11_001 };
        assert_eq!((retained.slowest, retained.unacknowledged_max), (Some(slowest), 5_000));
        let too_old = store.read(5_001, NZUsize!(1)).await;
        assert_eq!(too_old, Err(LogError::TooOld { wanted: 5_001, oldest: 5_002 }));
        // The blocks are there, so that it misses none.
        let led_on = store.resume(&start).await;
        assert!(matches!(led_on, Ok(Resume::Forked { next: 11_002, .. })), "{led_on:?}");
        // It goes on, and holds less; where it is forgotten, nothing.
        let later = store.read(8_000, NZUsize!(1)).await.unwrap().remove(0).cursor;
        store.store("slow", &later).await.unwrap();
        commit_events(&mut store, &chain, 2).await;
        assert_eq!(store.retained().await.oldest_event, 8_001);
        drop(store);
        let mut store = open_with(&context, config).await.unwrap();
        assert_eq!(store.retained().await.oldest_event, 8_001, "also after a restart");
        store.forget("slow").await.unwrap();
        commit_events(&mut store, &chain, 2).await;
        assert_eq!(store.retained().await.oldest_event, 11_006 - 1_000);
    });
}

#[test]
fn by_default_a_slow_consumer_holds_nothing() {
    run(|context| async move {
        let (chain, config) = (Chain::of(1), tens(Retention::events(NZU64!(1_000))));
        let mut store = open_with(&context, config).await.unwrap();
        commit(&mut store, vec![chain.blocks(1, 1), chain.up(Tier::Proven, 0)]).await;
        let start = everything(&store).await.remove(0).cursor;
        store.store("slow", &start).await.unwrap();
        commit_events(&mut store, &chain, 2_000).await;
        assert_eq!(store.retained().await.oldest_event, 1_002);
    });
}

#[test]
fn events_are_trimmed_by_age_of_their_file() {
    run(|context| async move {
        let (chain, config) = (Chain::of(1), events(seconds(10), 100));
        let mut store = open_with(&context, config).await.unwrap();
        commit(&mut store, vec![chain.blocks(1, 1), chain.up(Tier::Proven, 0)]).await;
        commit_events(&mut store, &chain, 4_000).await;
        context.sleep(Duration::from_secs(6)).await;
        commit_events(&mut store, &chain, 1_000).await;
        context.sleep(Duration::from_secs(6)).await;
        commit_events(&mut store, &chain, 2).await;
        assert_eq!(store.retained().await.oldest_event, 0, "the first file is six seconds old");
        let cursor = store.read(4_089, NZUsize!(1)).await.unwrap().remove(0).cursor;
        store.store("slow", &cursor).await.unwrap();
        context.sleep(Duration::from_secs(6)).await;
        commit_events(&mut store, &chain, 2).await;
        assert_eq!(store.retained().await.oldest_event, 4_090, "the consumer holds six more");
        store.forget("slow").await.unwrap();
        commit_events(&mut store, &chain, 2).await;
        assert_eq!(store.retained().await.oldest_event, 4_096);
    });
}

/// Finalizes `from..=to` in one commit, each with a proof.
fn proved(chain: &Chain, from: u64, to: u64) -> Vec<Change<TestBlock>> {
    (from..=to).map(|height| chain.finalize(height)).collect()
}

async fn assert_proofs<S: Twin>(store: &S, chain: &Chain, oldest: u64) {
    assert_eq!(oldest_proof(store).await, oldest);
    for (asked, found) in [(1, oldest), (oldest, oldest), (oldest + 1, oldest + 1)] {
        let stored = store.proof(Tier::Finalized, chain.at(asked)).await.unwrap();
        assert_eq!(stored, Some(proof(chain.at(found))), "at {asked}");
    }
}

#[test]
fn proofs_are_trimmed_by_count_unless_a_pin_holds_them() {
    run(|context| async move {
        let (chain, config) = (Chain::of(5_000), proofs(count(100)));
        let mut store = open_with(&context, config.clone()).await.unwrap();
        let pin = store.pin("prover", chain.at(4_096));
        commit(&mut store, vec![chain.blocks(1, 5_000)]).await;
        commit(&mut store, proved(&chain, 1, 4_900)).await;
        // The first file has the proofs of the blocks 1 to 4096.
        assert_proofs(&store, &chain, 1).await;
        pin.advance(chain.at(4_097));
        commit(&mut store, vec![]).await;
        assert_proofs(&store, &chain, 4_097).await;
        assert_eq!(oldest_block(&store).await, 1);
        drop(store);
        let mut store = open_with(&context, config).await.unwrap();
        assert_proofs(&store, &chain, 4_097).await;
        commit(&mut store, proved(&chain, 4_901, 5_000)).await;
        assert_proofs(&store, &chain, 4_097).await;
    });
}

#[test]
fn proofs_are_trimmed_by_age_of_their_file() {
    run(|context| async move {
        let (chain, config) = (Chain::of(4_500), proofs(seconds(10)));
        let mut store = open_with(&context, config).await.unwrap();
        commit(&mut store, vec![chain.blocks(1, 4_500)]).await;
        commit(&mut store, proved(&chain, 1, 4_200)).await;
        context.sleep(Duration::from_secs(6)).await;
        commit(&mut store, proved(&chain, 4_201, 4_400)).await;
        assert_proofs(&store, &chain, 1).await;
        context.sleep(Duration::from_secs(6)).await;
        commit(&mut store, vec![]).await;
        assert_proofs(&store, &chain, 4_097).await;
        context.sleep(Duration::from_secs(60 - 20)).await;
        commit(&mut store, vec![]).await;
        assert_proofs(&store, &chain, 4_097).await;
    });
}

#[test]
fn digests_that_are_lost_below_trimmed_blocks_move_the_start_of_the_run() {
    run(|context| async move {
        let (chain, config) = (Chain::of(130), blocks(count(25)));
        let mut store = open_with(&context, config.clone()).await.unwrap();
        deliver(&mut store, &chain, (3, 100), 100).await;
        let old = everything(&store).await.remove(0).cursor;
        store.writer.close().await.unwrap();
        for part in ["tidewatch-digests-0-blobs", "tidewatch-digests-0-metadata"] {
            context.remove(part, None).await.unwrap();
        }
        // Whatever the restart is cut off at, the next one goes on.
        let mut cut_off = 0;
        for n in 0.. {
            let (on_disk, disk) = on_disk(context.child("cut").with_attribute("nth", n));
            disk.fail_disk_after(n);
            if open_with(&on_disk, config.clone()).await.is_ok() {
                break;
            }
            cut_off += 1;
        }
        assert!(cut_off > 5, "cut off {cut_off} times");
        let mut store = open_with(&context, config.clone()).await.unwrap();
        assert_blocks(&store, &chain, (70, 70, 100)).await;
        let located = store.located(&heights([69, 68])).await.unwrap();
        assert_eq!(located, [Some(chain.at(69)), None]);
        assert_eq!(store.resume(&old).await, Ok(Resume::Exact { next: 1 }));
        deliver(&mut store, &chain, (101, 130), 130).await;
        drop(store);
        let store = open_with(&context, config).await.unwrap();
        assert_blocks(&store, &chain, (70, 100, 130)).await;
    });
}

#[test]
fn blocks_that_are_gone_and_were_not_trimmed_are_refused() {
    run(|context| async move {
        let (chain, config) = (Chain::of(100), blocks(count(25)));
        let mut store = open_with(&context, config.clone()).await.unwrap();
        deliver(&mut store, &chain, (3, 100), 100).await;
        store.writer.close().await.unwrap();
        context.remove("tidewatch-blocks-0_data", Some(&7_u64.to_be_bytes())).await.unwrap();
        let fault = open_with(&context, config).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::CorruptRecord, "{fault}");
        assert!(fault.detail.contains("blocks"), "{fault}");
    });
}

const BEFORE: u64 = 4_300;

/// Files before the trim: two of events, of proofs and, with 1,000 blocks in each, five of blocks.
fn before(chain: Chain) -> Files {
    run(|context| async move {
        let config = Config { blocks_per_section: NZU64!(1_000), ..super::config() };
        let mut store = open_with(&context, config).await.unwrap();
        commit(&mut store, vec![chain.blocks(1, BEFORE)]).await;
        commit(&mut store, proved(&chain, 1, BEFORE - 50)).await;
        store.writer.close().await.unwrap();
        files(&context).await
    })
}

fn trims() -> Config<()> {
    let [events, proofs] = [count(40); 2];
    let retention = Retention { events, blocks: count(100), proofs, unacknowledged_max: 0 };
    Config { retention, blocks_per_section: NZU64!(1_000), ..super::config() }
}

async fn assert_after_a_crash<E: Context>(store: &OnStore<E>, chain: &Chain, acknowledged: bool) {
    let watermarks = store.watermarks().await.unwrap();
    let top = watermarks.delivered.unwrap().height.get();
    assert!(top >= if acknowledged { BEFORE + 5 } else { BEFORE });
    assert!(oldest_block(store).await <= 4_000, "blocks that the limits keep are gone");
    for height in 4_000..=top {
        assert_eq!(store.block_at(height).await, Some(chain.block(height)));
    }
    let all = heights([1, 999, 2_500, 3_999]);
    let expected = [1, 999, 2_500, 3_999].map(|at| Some(chain.at(at)));
    assert_eq!(store.located(&all).await.unwrap(), expected);
    let finalized = watermarks.tips.block(Tier::Finalized);
    let found = store.proof_at(finalized.unwrap().height.get()).await;
    assert_eq!(found.map(|proof| proof.block), finalized);
    assert_eq!(store.proof_at(4_200).await, Some(proof(chain.at(4_200))));
    let retained = store.retained().await;
    let records = store.read(retained.oldest_event, NZUsize!(1_000)).await.unwrap();
    let end = records.last().unwrap().sequence() + 1;
    assert!(end > BEFORE - 50 && end - retained.oldest_event <= 40);
    super::folded(records[0].watermarks, &records[1..]);
}

/// Crashes at change `n` of the disk of a commit that trims everything, and opens it again. Returns whether
/// the commit came to its end.
fn crash_at(n: u64, left: Left, (chain, before): (&Chain, &Files)) -> bool {
    let config =
        deterministic::Config::new().with_seed(n).with_timeout(Some(Duration::from_secs(60)));
    let last = |chain: &Chain| vec![chain.blocks(BEFORE + 1, BEFORE + 5), chain.finalize(BEFORE)];
    let (story, files) = (chain.clone(), before.clone());
    let (done, checkpoint) =
        deterministic::Runner::new(config).start_and_recover(|context| async move {
            restore(&context, &files).await;
            *context.storage_fault_config().write() = faults(left);
            let (context, disk) = on_disk(context);
            let mut store = open_with(&context, trims()).await.unwrap();
            disk.fail_disk_after(n);
            store.commit(last(&story)).await.is_ok()
        });
    // The first restart crashes too, at a place of its own.
    let (_, checkpoint) =
        deterministic::Runner::from(checkpoint).start_and_recover(|context| async move {
            let (context, disk) = on_disk(context);
            disk.fail_disk_after(n % 13);
            open_with(&context, trims()).await.map(drop)
        });
    let story = chain.clone();
    deterministic::Runner::from(checkpoint).start(|context| async move {
        let mut store = open_with(&context, trims()).await.unwrap();
        assert_after_a_crash(&store, &story, done).await;
        let delivered = store.watermarks().await.unwrap().delivered.unwrap().height.get();
        let next = vec![story.blocks(delivered + 1, BEFORE + 9), story.finalize(BEFORE + 9)];
        commit(&mut store, next).await;
        assert_after_a_crash(&store, &story, true).await;
        let retained = store.retained().await;
        assert_eq!(retained.oldest_block, Some(Height::new(4_000)));
        assert_eq!(oldest_proof(&store).await, 4_097);
        drop(store);
        let store = open_with(&context, trims()).await.unwrap();
        assert_after_a_crash(&store, &story, true).await;
        assert_eq!(store.retained().await, retained);
    });
    done
}

#[test]
fn a_crash_at_any_change_of_the_disk_that_a_trim_makes_is_recovered() {
    let chain = Chain::of(BEFORE + 20);
    let before = before(chain.clone());
    for left in LEFT {
        let crash = |n: &u64| crash_at(*n, left, (&chain, &before));
        let end = (0..500).find(crash).expect("the commit ends");
        assert!(end > 20, "the commit and its trim have {end} changes of the disk");
    }
}
