//! PS-28: a crash between every two changes of the disk, with what was not synced lost, kept, or kept in parts.

use super::*;
use crate::{Handle, plan::Stage};
use tidewatch_testkit::host::crash::{LEFT, Left, faults};

/// One thing that a scheduler does.
#[derive(Clone, Copy, Debug)]
enum Op {
    Add(u64, u8),
    Submit(u64, u8),
    Prove(u64, u8),
    Poison(u64, u8),
    Commit(u64, u8),
    Prune(u64, u8),
}

use Op::*;

/// A chain that is proven, reorged below what waits and below what is proven, and goes on.
const STORY: [Op; 28] = [
    Add(1, 0),
    Add(2, 0),
    Submit(1, 0),
    Add(3, 0),
    Prove(2, 0),
    Prove(1, 0),
    Commit(1, 0),
    Commit(2, 0),
    Prove(3, 0),
    Add(4, 0),
    Prune(2, 0),
    Add(3, 1),
    Submit(3, 1),
    Poison(3, 1),
    Prune(2, 0),
    Add(3, 0),
    Commit(3, 0),
    Prune(1, 0),
    Add(2, 2),
    Prove(2, 2),
    Commit(2, 2),
    Prune(1, 0),
    Add(2, 0),
    Prove(2, 0),
    Commit(2, 0),
    Add(3, 0),
    Commit(3, 0),
    Add(4, 0),
];

/// The tip, and each job above it.
type Stands = (BlockRef, Vec<(Key, Stage)>);

async fn stands<E: Context>(disk: &Disk<E>) -> Stands {
    let stage = |job: &Saved| match &job.state {
        State::Open if job.handles.is_empty() => Stage::Pending,
        State::Open => Stage::Running,
        State::Proved(_) => Stage::Proved,
        State::Poisoned(_) => Stage::Poisoned,
    };
    (disk.tip(), disk.jobs().map(|job| (job.key, stage(&job))).collect())
}

async fn carry_out<E: Context>(disk: &mut Disk<E>, op: Op) -> Result<(), Error> {
    match op {
        Add(height, fork) => {
            let key = key(height, fork);
            disk.add(&[(key, inputs(&key))]).await.map(drop)
        }
        Submit(height, fork) => {
            let handle = ("worker".to_owned(), Handle::of(&key(height, fork)));
            disk.change(&key(height, fork), |job| job.handles.push(handle)).await
        }
        Prove(height, fork) => {
            let key = key(height, fork);
            disk.proved(&key, &proof(&key)).await.map(drop)
        }
        Poison(height, fork) => {
            disk.change(&key(height, fork), |job| {
                job.state = State::Poisoned("because".into());
                job.handles.clear();
            })
            .await
        }
        Commit(height, fork) => {
            disk.commit(&key(height, fork)).await?;
            disk.committed(&key(height, fork)).await;
            Ok(())
        }
        Prune(height, fork) => disk.prune(key(height, fork).block).await,
    }
}

/// Where the story stands after each of its steps, on a disk that never fails.
fn expected() -> Vec<Stands> {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        let mut expected = vec![stands(&disk).await];
        for op in STORY {
            carry_out(&mut disk, op).await.unwrap();
            expected.push(stands(&disk).await);
        }
        expected
    })
}

/// The chain that ends in the tip: fork 0, but for a moment at height 2.
fn chain(tip: BlockRef) -> Vec<Key> {
    let fork = |height| u8::from(height == tip.height.get() && tip != key(height, 0).block) * 2;
    (1..=tip.height.get()).map(|height| key(height, fork(height))).collect()
}

async fn assert_recoverable<E: Context>(disk: &Disk<E>) {
    let (tip, jobs) = stands(disk).await;
    for key in chain(tip) {
        let found = disk.proof(key.block).await.unwrap();
        assert!(found == Some(proof(&key)), "no proof of {key} below the tip");
    }
    for (key, stage) in jobs {
        assert_eq!(disk.inputs(&key).await.unwrap(), inputs(&key), "invariant 3");
        if stage == Stage::Proved {
            let found = disk.proof(key.block).await.unwrap();
            assert!(found == Some(proof(&key)), "no proof of {key}");
        }
    }
}

/// Runs the story until change `n` of the disk fails, crashes, and opens what is left. Returns whether the
/// story came to its end.
fn crash_at(n: u64, left: Left, expected: &[Stands]) -> bool {
    let config =
        deterministic::Config::new().with_seed(n).with_timeout(Some(Duration::from_secs(60)));
    let (done, left) = deterministic::Runner::new(config).start_and_recover(|context| async move {
        *context.storage_fault_config().write() = faults(left);
        let (context, faults) = Host::late(context, 0);
        faults.fail_disk_after(n);
        let Ok(mut disk) = open(&context).await else { return 0 };
        for (done, op) in STORY.into_iter().enumerate() {
            if carry_out(&mut disk, op).await.is_err() {
                return done;
            }
        }
        STORY.len()
    });
    // The first restart crashes too, at a place of its own; what it repaired must not be in the way.
    let (_, left) = deterministic::Runner::from(left).start_and_recover(|context| async move {
        let (context, faults) = Host::late(context, 0);
        faults.fail_disk_after(n % 17);
        open(&context).await.map(drop)
    });
    let expected = expected.to_vec();
    deterministic::Runner::from(left).start(|context| async move {
        let mut disk = open(&context).await.unwrap();
        assert_recoverable(&disk).await;
        let found = stands(&disk).await;
        let at = (done..=done + 1).find(|at| expected.get(*at) == Some(&found));
        let at = at.unwrap_or_else(|| panic!("change {n}, after step {done}: {found:?}"));
        for op in &STORY[at..] {
            carry_out(&mut disk, *op).await.unwrap();
            assert_recoverable(&disk).await;
        }
        assert_eq!(Some(&stands(&disk).await), expected.last());
    });
    done == STORY.len()
}

fn crash_everywhere(left: Left) {
    let expected = expected();
    let end = (0..3_000).find(|n| crash_at(*n, left, &expected)).expect("the story ends");
    assert!(end > 100, "the story has {end} changes of the disk");
}

#[test]
fn a_crash_between_any_two_changes_that_loses_what_was_not_synced_is_recovered() {
    crash_everywhere(LEFT[0]);
}

#[test]
fn a_crash_between_any_two_changes_that_keeps_beginnings_of_writes_is_recovered() {
    crash_everywhere(LEFT[1]);
}

#[test]
fn a_crash_between_any_two_changes_that_keeps_parts_of_writes_is_recovered() {
    crash_everywhere(LEFT[2]);
}

#[test]
fn a_crash_between_any_two_changes_that_keeps_all_writes_is_recovered() {
    crash_everywhere(LEFT[3]);
}
