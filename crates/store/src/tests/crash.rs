//! Crashes: between every two changes of the disk, with what was not synced lost, kept, or kept in
//! parts.

use super::{OnStore, TwinReader as _, commit, everything, folded, known, on_disk, open, world::*};
use commonware_runtime::deterministic;
use commonware_storage::Context;
use std::time::Duration;
use tidewatch_core::{Change, FaultKind, LocalView as _, Record, Tier, Watermarks};
use tidewatch_testkit::host::crash::{LEFT, Left, faults};

/// A commit, and where the view stands after each of its changes.
pub(super) struct Step {
    pub(super) changes: Vec<Change<TestBlock>>,
    after: Vec<Watermarks>,
}

pub(super) fn script(commits: Vec<Vec<Change<TestBlock>>>) -> Vec<Step> {
    let mut watermarks = Watermarks::none();
    let step = |changes: Vec<Change<TestBlock>>| {
        let after = changes.iter().map(|change| {
            watermarks.apply(&change.event(&watermarks).unwrap());
            watermarks
        });
        Step { after: after.collect(), changes }
    };
    commits.into_iter().map(step).collect()
}

/// Blocks, tiers, a reorg, a skip, another skip, and an ordinary end.
fn story() -> (Vec<Step>, Vec<Chain>) {
    let old = Chain::of(60);
    let new = old.forked(6, 54, 1);
    let mut watermarks = Watermarks::none();
    let mut commits = Vec::new();
    let mut push = |changes: Vec<Change<TestBlock>>| {
        for change in &changes {
            watermarks.apply(&change.event(&watermarks).unwrap());
        }
        commits.push(changes);
        watermarks
    };
    push(vec![old.blocks(1, 6), old.up(Tier::Proposed, 6), old.finalize(3)]);
    let now = push(vec![old.blocks(7, 12), old.up(Tier::Proposed, 12), old.finalize(5)]);
    push(vec![old.prune(&now, 6), new.blocks(7, 14), new.up(Tier::Proposed, 14)]);
    push(vec![new.blocks(30, 34), new.up(Tier::Proposed, 34), new.finalize(32)]);
    push(vec![new.blocks(45, 46), new.blocks(50, 52), new.finalize(50)]);
    push(vec![new.blocks(53, 53), new.up(Tier::Proposed, 53)]);
    (script(commits), vec![old, new])
}

/// The view stands where a prefix of the script leads, with everything that was acknowledged, and
/// nothing in it contradicts anything else. Returns the number of events.
pub(super) async fn assert_consistent<E: Context>(
    store: &OnStore<E>,
    steps: &[Step],
    acknowledged: usize,
    chains: &[Chain],
) -> usize {
    let all: Vec<Watermarks> = steps.iter().flat_map(|step| step.after.clone()).collect();
    let least: usize = steps[..acknowledged].iter().map(|step| step.after.len()).sum();
    let records = everything(store).await;
    assert!(records.len() >= least, "{} events of {least} that were acknowledged", records.len());
    assert!(records.len() <= all.len());
    let watermarks = store.watermarks().await.unwrap();
    assert_eq!(folded(Watermarks::none(), &records), watermarks);
    assert!(records.iter().zip(&all).all(|(record, watermarks)| record.watermarks == *watermarks));
    if let Some(delivered) = watermarks.delivered {
        let top = delivered.height.get();
        let on = |chain: &&Chain| top <= chain.top() && chain.at(top) == delivered;
        let chain = chains.iter().find(on).expect("a block of no chain");
        assert_eq!(known(store, top).await, Some(delivered));
        let first = first_of(&records);
        for height in first..=top {
            assert_eq!(known(store, height).await, Some(chain.at(height)));
            assert_eq!(store.block_at(height).await, Some(chain.block(height)));
        }
    }
    let finalized = watermarks.tips.block(Tier::Finalized);
    let stored = store.proof_at(finalized.map_or(0, |block| block.height.get())).await;
    assert_eq!(stored.map(|proof| proof.block), finalized, "the proof of what is finalized");
    records.len()
}

/// The driver goes on from where the view stands, which is after so many events.
pub(super) async fn go_on<E: Context>(store: &mut OnStore<E>, steps: &[Step], events: usize) {
    let mut left = events;
    for step in steps {
        let skip = left.min(step.changes.len());
        left -= skip;
        commit(store, step.changes[skip..].to_vec()).await;
    }
}

/// Where the run that the last of `records` belongs to starts.
fn first_of(records: &[Record]) -> u64 {
    let mut before = Watermarks::none();
    let mut first = 1;
    for record in records {
        if let tidewatch_core::Event::Blocks { from, .. } = record.event
            && before.delivered.is_none_or(|delivered| delivered.height.next() != from.height)
        {
            first = from.height.get();
        }
        before = record.watermarks;
    }
    first
}

/// Runs the story from an empty disk until change `n` of the disk fails, crashes, and opens it again.
/// Returns whether the story came to its end.
fn crash_at(n: u64, left: Left) -> bool {
    let config =
        deterministic::Config::new().with_seed(n).with_timeout(Some(Duration::from_secs(60)));
    let (acknowledged, checkpoint) =
        deterministic::Runner::new(config).start_and_recover(|context| async move {
            *context.storage_fault_config().write() = faults(left);
            let (context, disk) = on_disk(context);
            disk.fail_disk_after(n);
            let (steps, _) = story();
            let Ok(mut store) = super::try_open(&context).await else { return 0 };
            let mut acknowledged = 0;
            for step in steps {
                if store.commit(step.changes).await.is_err() {
                    let closed = store.watermarks().await.unwrap_err();
                    assert_eq!(
                        closed.kind,
                        FaultKind::Disk,
                        "nothing goes on after a failed write"
                    );
                    break;
                }
                acknowledged += 1;
            }
            acknowledged
        });
    let done = acknowledged == story().0.len();
    // The first restart crashes too, at a place of its own; what it repaired must not be in the way.
    let (_, checkpoint) =
        deterministic::Runner::from(checkpoint).start_and_recover(|context| async move {
            let (context, disk) = on_disk(context);
            disk.fail_disk_after(n % 13);
            super::try_open(&context).await.map(drop)
        });
    let (_, checkpoint) =
        deterministic::Runner::from(checkpoint).start_and_recover(|context| async move {
            let mut store = open(&context).await;
            let (steps, chains) = story();
            let events = assert_consistent(&store, &steps, acknowledged, &chains).await;
            go_on(&mut store, &steps, events).await;
            assert_consistent(&store, &steps, steps.len(), &chains).await;
        });
    commonware_runtime::Runner::start(
        deterministic::Runner::from(checkpoint),
        |context| async move {
            let (steps, chains) = story();
            assert_consistent(&open(&context).await, &steps, steps.len(), &chains).await;
        },
    );
    done
}

fn crash_everywhere(left: Left) {
    let end = (0..2_000).find(|n| crash_at(*n, left)).expect("the story ends");
    assert!(end > 50, "the story has {end} changes of the disk");
}

#[test]
fn a_crash_between_any_two_changes_of_the_disk_that_loses_what_was_not_synced_is_recovered() {
    crash_everywhere(LEFT[0]);
}

#[test]
fn a_crash_between_any_two_changes_of_the_disk_that_keeps_beginnings_of_writes_is_recovered() {
    crash_everywhere(LEFT[1]);
}

#[test]
fn a_crash_between_any_two_changes_of_the_disk_that_keeps_parts_of_writes_is_recovered() {
    crash_everywhere(LEFT[2]);
}

#[test]
fn a_crash_between_any_two_changes_of_the_disk_that_keeps_all_writes_is_recovered() {
    crash_everywhere(LEFT[3]);
}

/// Random histories, with and without blocks, on a disk that fails at random.
#[test]
fn histories_survive_any_number_of_crashes() {
    for seed in 0..24 {
        let mut dice = Dice::new(seed);
        let mut driver = Driver::new(Chain::of(2), seed % 3 != 0, 1);
        let config = deterministic::Config::new().with_seed(seed).with_timeout(None);
        let mut runner = deterministic::Runner::new(config);
        let mut records: Vec<Record> = Vec::new();
        for _ in 0..10 {
            let left = LEFT[dice.roll(4) as usize];
            let fail_after = dice.roll(400);
            let ((after, kept), checkpoint) = runner.start_and_recover(|context| async move {
                let mut dice = dice;
                let mut driver = driver;
                let store = open(&context).await;
                let found = everything(&store).await;
                assert!(found.len() >= records.len(), "acknowledged events are gone");
                // Not the cursors: a prune that came since takes locators off them.
                assert_eq!(happened(&found[..records.len()]), happened(&records));
                let watermarks = store.watermarks().await.unwrap();
                assert_eq!(folded(Watermarks::none(), &found), watermarks);
                driver.at(watermarks);
                drop(store);
                *context.storage_fault_config().write() = faults(left);
                let (context, disk) = on_disk(context);
                disk.fail_disk_after(fail_after);
                records = found;
                let Ok(again) = super::try_open(&context).await else {
                    return ((dice, driver), records);
                };
                store_until_it_fails(again, &mut driver, &mut dice, &mut records).await;
                ((dice, driver), records)
            });
            (dice, driver) = after;
            records = kept;
            runner = deterministic::Runner::from(checkpoint);
        }
    }
}

fn happened(records: &[Record]) -> Vec<(tidewatch_core::Event, Watermarks)> {
    records.iter().map(|record| (record.event, record.watermarks)).collect()
}

async fn store_until_it_fails<E: Context>(
    mut store: OnStore<E>,
    driver: &mut Driver,
    dice: &mut Dice,
    records: &mut Vec<Record>,
) {
    for _ in 0..40 {
        let changes = driver.commit(dice);
        if store.commit(changes).await.is_err() {
            return;
        }
        *records = everything(&store).await;
    }
}
