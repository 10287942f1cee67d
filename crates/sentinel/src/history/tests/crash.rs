//! A crash between every two changes of the disk, with what was not synced lost, kept, or kept in parts.

use super::*;
use tidewatch_testkit::host::{
    Host,
    crash::{LEFT, Left, faults},
};

/// One thing that a sentinel writes.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Slots from the first to the last are judged, in one change, under a committee of validator 1 and this one.
    Judge(u64, u64, u8),
    /// Slots above this one, and this epoch, are stale.
    Stale(u64, u64),
    /// An epoch, with a verdict.
    Accuse(u64),
    /// An epoch without one: the newest event is withdrawn.
    Withdraw(u64),
    /// The output took every event up to this one.
    Take(u64),
    /// Most lines are out of date: the next change rewrites the journal.
    Outdate,
}

use Op::*;

/// Slots of several committees, a reorg over two of them, verdicts that are given, withdrawn and taken; slots, epochs and
/// events that are too old to be kept. The journal is rewritten twice.
const STORY: [Op; 25] = [
    Judge(1, 1, 2),
    Judge(2, 2, 2),
    Judge(3, 4, 3),
    Accuse(0),
    Judge(5, 5, 3),
    Take(1),
    Outdate,
    Judge(6, 6, 3),
    Stale(2, 0),
    Withdraw(0),
    Judge(3, 6, 4),
    Accuse(0),
    Judge(7, 7, 4),
    Take(2),
    Accuse(1),
    Outdate,
    Stale(6, 1),
    Judge(7, 7, 5),
    Judge(8, 9, 5),
    Take(4),
    Accuse(2),
    Accuse(3),
    Judge(10, 10, 6),
    Take(6),
    Accuse(4),
];

fn judged(history: &History, (first, last): (u64, u64), with: u8) -> Change {
    let mut all = Change::default();
    for slot in first..=last {
        let members = [id(1), id(with)];
        let one = filed(history, slot, &members, 0, Proposal::Mined, &[1], true, vec![]);
        all.rows.extend(one.rows);
        all = Change { rows: all.rows, ..one };
    }
    all
}

fn evaluated(history: &History, epoch: u64, accused: bool) -> Change {
    let members: Committee = [id(1)].into();
    let (committee, known) = history.number(&members);
    let (epoch, sequence) = (Epoch(epoch), history.sequence() + 1);
    let performance = Performance { missed: 9, total: 10 };
    let validators = vec![Inactive { validator: id(1), performance, penalty: 7 }];
    let verdict = accused.then(|| (sequence, validators.clone()));
    let what = match accused {
        true => What::Inactive { epoch, validators },
        false => What::Withdrawn { epoch, verdict: sequence - 1 },
    };
    let performances = vec![performance];
    Change {
        committees: if known { vec![] } else { vec![(committee, members)] },
        processed: history.processed(),
        epochs: vec![EpochRecord { epoch, committee: Some(committee), performances, verdict }],
        evaluated: Some(epoch),
        events: vec![Event { sequence, what }],
        ..Change::default()
    }
}

async fn carry_out<E: Context>(disk: &mut Disk<E>, op: Op) -> Result<(), Error> {
    let change = match op {
        Judge(first, last, with) => judged(&disk.history, (first, last), with),
        Stale(slot, epoch) => Change {
            processed: Some(Slot(slot)),
            evaluated: epoch.checked_sub(1).map(Epoch),
            ..Change::default()
        },
        Accuse(epoch) => evaluated(&disk.history, epoch, true),
        Withdraw(epoch) => evaluated(&disk.history, epoch, false),
        Take(sequence) => return disk.given(sequence).await,
        // They say what is known already.
        Outdate => return disk.append(&vec![Record::Given(0); 2_100]).await,
    };
    disk.write(change).await
}

/// Everything that is recorded, in words: with the members of each committee, whatever its number is.
fn stands(history: &History) -> String {
    let rows: Vec<_> = history
        .rows
        .iter()
        .map(|row| {
            let members = match &row.outcome {
                Outcome::Judged(filed) => Some(history.members(filed.committee)),
                _ => None,
            };
            (row, members)
        })
        .collect();
    let epochs = history.epochs.values();
    let epochs: Vec<_> =
        epochs.map(|epoch| (epoch, epoch.committee.map(|of| history.members(of)))).collect();
    let counts = (history.processed, history.evaluated, history.sequence, history.given);
    format!("{rows:?} {epochs:?} {:?} {counts:?}", history.events)
}

fn small() -> Limits {
    limits(8, 3)
}

/// Where the story stands after each of its steps, on a disk that never fails.
fn expected() -> Vec<String> {
    simulate(|context| async move {
        let mut disk = open(&context, small()).await.unwrap();
        let mut expected = vec![stands(&disk.history)];
        for op in STORY {
            carry_out(&mut disk, op).await.unwrap();
            expected.push(stands(&disk.history));
        }
        assert!(disk.len() < 2_100, "it was rewritten twice: {} lines", disk.len());
        expected
    })
}

/// Runs the story until change `n` of the disk fails, crashes, and opens what is left. Returns whether the story came
/// to its end.
fn crash_at(n: u64, left: Left, expected: &[String]) -> bool {
    let config =
        deterministic::Config::new().with_seed(n).with_timeout(Some(Duration::from_secs(60)));
    let (done, left) = deterministic::Runner::new(config).start_and_recover(|context| async move {
        *context.storage_fault_config().write() = faults(left);
        let (host, trouble) = Host::late(context.child("host"), n);
        trouble.fail_disk_after(n);
        let Ok(mut disk) = open(&host, small()).await else { return 0 };
        for (done, op) in STORY.into_iter().enumerate() {
            if carry_out(&mut disk, op).await.is_err() {
                let again = carry_out(&mut disk, op).await;
                assert!(
                    matches!(again, Err(Error::Closed)),
                    "nothing goes on after a failed write"
                );
                return done;
            }
        }
        STORY.len()
    });
    // The first restart crashes too, at a place of its own; what it repaired must not be in the way.
    let (_, left) = deterministic::Runner::from(left).start_and_recover(|context| async move {
        let (host, trouble) = Host::late(context.child("host"), n);
        trouble.fail_disk_after(n % 13);
        open(&host, small()).await.map(drop)
    });
    let expected = expected.to_vec();
    deterministic::Runner::from(left).start(|context| async move {
        let mut disk = open(&context, small()).await.unwrap();
        let found = stands(&disk.history);
        let at = (done..=done + 1).find(|at| expected.get(*at) == Some(&found));
        let at = at.unwrap_or_else(|| panic!("change {n}, after step {done}: {found}"));
        for (nth, op) in STORY.into_iter().enumerate().skip(at) {
            carry_out(&mut disk, op).await.unwrap();
            assert_eq!(stands(&disk.history), expected[nth + 1], "change {n}, step {nth} again");
        }
    });
    done == STORY.len()
}

fn crash_everywhere(left: Left) {
    let expected = expected();
    let end = (0..3_000).find(|n| crash_at(*n, left, &expected)).expect("the story ends");
    assert!(end > 60, "the story has {end} changes of the disk");
}

#[test]
fn ss_crash_between_any_two_changes_that_loses_what_was_not_synced_leaves_all_of_a_pass_or_nothing()
{
    crash_everywhere(LEFT[0]);
}

#[test]
fn ss_crash_between_any_two_changes_that_keeps_beginnings_leaves_all_of_a_pass_or_nothing() {
    crash_everywhere(LEFT[1]);
}

#[test]
fn ss_crash_between_any_two_changes_that_keeps_parts_leaves_all_of_a_pass_or_nothing() {
    crash_everywhere(LEFT[2]);
}

#[test]
fn ss_crash_between_any_two_changes_that_keeps_all_writes_leaves_all_of_a_pass_or_nothing() {
    crash_everywhere(LEFT[3]);
}
