//! Crashes in a small world: before every change of the disk that the last commit, an acknowledgement or
//! the keeping of evidence makes, and right after it.
//!
//! What was not synced is lost, or all of it is kept: these two are enumerated. In between there is no end of
//! parts that may be kept: of these the tests of acknowledgements draw one a crash, and those of
//! [`crash`](crate::tests::crash) more of them. There, too, are crashes while a store is opened.
//!
//! Several stores share a runtime, each with a disk that fails on its own; the crash is that of the
//! runtime. Another runtime opens all of them again, looks whether what it finds is consistent, and makes
//! the changes that are missing.

use super::{
    READER, Seen, Story, commits, histories,
    history::{Letter, Past},
    longer, note, remembered,
};
use crate::tests::{
    ALL, OnDisk, OnStore, TwinReader as _,
    crash::{assert_consistent, go_on, script},
    everything, on_disk, open_another,
    world::{Chain, chain_info},
};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use std::time::Duration;
use tidewatch_core::{Conflict, History as _, LocalView as _, Positions as _, Resume, Tier};
use tidewatch_testkit::host::{
    Trouble,
    crash::{LEFT, faults},
};

/// Histories in one runtime: each is as many stores as its last commit makes changes of the disk.
const BATCH: usize = 3;

/// No last commit makes so many changes of the disk.
const CHANGES_MAX: u64 = 100;

/// What the disk fails in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Commit,
    /// The consumer has acknowledged the first event, now it acknowledges the last one; then evidence is
    /// kept.
    Notes,
}

/// A history as commits, and what is cut off.
struct Case {
    letters: Vec<Letter>,
    cuts: usize,
    last: Last,
}

/// A store whose disk failed, or was cut off right after what it was to fail in.
struct Crashed<'a> {
    case: &'a Case,
    /// Commits and notes that came back.
    came_back: usize,
    story: String,
}

impl Case {
    /// How many commits and notes there are.
    const fn all(&self) -> usize {
        let commits = 1 + self.cuts.count_ones() as usize;
        match self.last {
            Last::Commit => commits,
            Last::Notes => commits + 2,
        }
    }

    /// Makes all commits and notes, and lets the disk fail after `n` changes in the last ones. How many
    /// came back.
    async fn fail(&self, context: &deterministic::Context, nth: u64, n: u64) -> usize {
        let (context, disk) = on_disk(context.child("crashing"));
        let mut store = open_another(&context, ALL, nth).await;
        let mut commits = commits(&self.letters, self.cuts);
        let last = commits.pop().unwrap();
        let before = commits.len();
        for changes in commits {
            store.commit(changes).await.unwrap();
        }
        match self.last {
            Last::Commit => {
                disk.fail_disk_after(n);
                before + usize::from(store.commit(last).await.is_ok())
            }
            Last::Notes => {
                store.commit(last).await.unwrap();
                before + 1 + notes(&mut store, &disk, n).await
            }
        }
    }

    /// Every chain that the history was on.
    fn chains(&self) -> Vec<Chain> {
        let ends = 0..=self.letters.len();
        ends.map(|end| Past::after(&self.letters[..end]).chain).collect()
    }
}

/// Makes the notes, on a disk that fails after `n` changes in the last two. How many of the two came back.
async fn notes(store: &mut OnStore<OnDisk>, disk: &Trouble, n: u64) -> usize {
    let records = everything(store).await;
    let (first, last) = (records.first().unwrap(), records.last().unwrap());
    store.store(READER, &first.cursor).await.unwrap();
    disk.fail_disk_after(n);
    if store.store(READER, &last.cursor).await.is_err() {
        return 0;
    }
    let theirs = last.watermarks.head().unwrap();
    let kept = store.keep_evidence(Conflict { ours: chain_info().genesis, theirs }).await;
    1 + usize::from(kept.is_ok())
}

/// A note that came back is there; one that did not is there in whole or not at all. Once they are made
/// again, the store is what it would have been.
async fn assert_noted(store: &mut OnStore<OnDisk>, came_back: usize, letters: &[Letter]) {
    let end = everything(store).await.len() as u64;
    let position = store.load(READER).await.unwrap().expect("the first one came back");
    let handled = position.handled();
    assert!(handled == end || (came_back == 0 && handled == 1), "{handled} of {end}");
    let resumed = store.resume(&position).await.unwrap();
    assert_eq!(resumed, Resume::Exact { next: handled });
    let kept = store.evidence_kept().len();
    assert!(kept == 1 || (came_back < 2 && kept == 0), "{kept} kept, {came_back} came back");
    let mut memory = remembered(letters).await;
    note(&mut memory).await;
    note(store).await;
    assert_eq!(Seen::of(store).await, Seen::of(&memory).await);
}

/// Crashes every case at every change of the disk. How often that was.
fn crash(cases: &[Case], left: usize) -> usize {
    let mut crashes = 0;
    for batch in cases.chunks(BATCH) {
        let config = deterministic::Config::new().with_timeout(Some(Duration::from_secs(60)));
        let runner = deterministic::Runner::new(config.with_seed(crashes as u64));
        let (crashed, checkpoint) = runner.start_and_recover(|context| async move {
            *context.storage_fault_config().write() = faults(LEFT[left]);
            let mut crashed: Vec<Crashed<'_>> = Vec::new();
            for case in batch {
                for n in 0.. {
                    assert!(n < CHANGES_MAX, "the last commit does not end");
                    let story = format!("cut {:b}, crash after {n}, left {left}", case.cuts);
                    let _stories = (Story::of(&case.letters), Story(story.clone()));
                    let came_back = case.fail(&context, crashed.len() as u64, n).await;
                    crashed.push(Crashed { case, came_back, story });
                    if came_back == case.all() {
                        break;
                    }
                }
            }
            crashed
        });
        crashes += crashed.len();
        deterministic::Runner::from(checkpoint).start(|context| async move {
            let (context, _) = on_disk(context);
            for (nth, Crashed { case, came_back, story }) in (0..).zip(crashed) {
                let _stories = (Story::of(&case.letters), Story(story));
                let mut store = open_another(&context, ALL, nth).await;
                let (steps, chains) = (script(commits(&case.letters, case.cuts)), case.chains());
                let acknowledged = came_back.min(steps.len());
                let events = assert_consistent(&store, &steps, acknowledged, &chains).await;
                if case.last == Last::Notes {
                    assert_noted(&mut store, came_back - acknowledged, &case.letters).await;
                }
                go_on(&mut store, &steps, events).await;
                assert_consistent(&store, &steps, steps.len(), &chains).await;
            }
        });
    }
    crashes
}

/// What was not synced is lost, kept, or kept in parts, of [`LEFT`].
const LOST: usize = 0;
const KEPT: usize = 3;
const TORN: usize = 2;

#[test]
fn a_crash_at_every_change_of_the_disk_in_every_two_first_changes_is_recovered() {
    let apart_and_together = histories(2).into_iter().flat_map(|letters| {
        [1, 0].map(|cuts| Case { letters: letters.clone(), cuts, last: Last::Commit })
    });
    let cases: Vec<_> = apart_and_together.collect();
    let crashes = [LOST, KEPT].map(|left| crash(&cases, left));
    assert_eq!((cases.len(), crashes), (94, [2_088, 2_088]));
}

#[test]
fn a_crash_at_every_change_of_the_disk_in_every_two_later_changes_is_recovered() {
    // Two blocks, of which one is finalized.
    let one = Letter::Blocks { gap: 0, count: 1, fork: 0 };
    let start = [one, Letter::Up(Tier::Finalized), one, Letter::Up(Tier::Proposed)];
    let pairs = longer(&start).flat_map(|history| longer(&history).collect::<Vec<_>>());
    let case = |letters| Case { letters, cuts: 0b1000, last: Last::Commit };
    let cases: Vec<_> = pairs.map(case).collect();
    let crashes = [LOST, KEPT].map(|left| crash(&cases, left));
    assert_eq!((cases.len(), crashes), (47, [1_496, 1_496]));
}

#[test]
fn a_crash_at_every_change_of_the_disk_in_an_acknowledgement_loses_none_that_came_back() {
    let case = |letters| Case { letters, cuts: 0, last: Last::Notes };
    let cases: Vec<_> = histories(2).into_iter().map(case).collect();
    let crashes = [LOST, KEPT, TORN].map(|left| crash(&cases, left));
    assert_eq!((cases.len(), crashes), (47, [188, 188, 188]));
}
