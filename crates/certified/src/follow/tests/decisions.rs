//! The decisions, by tables.

use crate::{
    epochs::tests::world::Epoched,
    follow::decide::{Healing, Holder, State, Verdict, heal},
};
use commonware_consensus::types::{Epoch, Round, View};
use tidewatch_core::Height;

fn height(value: u64) -> Height {
    Height::new(value)
}

fn epoch(value: u64) -> Epoch {
    Epoch::new(value)
}

/// Epochs of ten blocks: 9, 19 and 29 are boundaries.
#[test]
fn a_start_heals_what_lies_between_the_execution_layer_the_marshal_and_the_epochs() {
    use Holder::{Both, Execution, Marshal};
    let schemes = Epoched::new(10, vec![0], 0, true).schemes(0);
    struct Row {
        case: &'static str,
        durable: u64,
        processed: Option<u64>,
        known: u64,
        baseline: Option<u64>,
        missing: Option<(u64, Holder)>,
        floor: bool,
        lost: Option<(u64, u64)>,
        epoch: u64,
    }
    let row = |case, durable, processed, known| Row {
        case,
        durable,
        processed,
        known,
        baseline: None,
        missing: None,
        floor: false,
        lost: None,
        epoch: 0,
    };
    let table = [
        row("nothing yet", 0, None, 0),
        row("neither is ahead, within an epoch", 5, Some(5), 0),
        Row { epoch: 1, baseline: Some(9), ..row("neither, at a boundary", 9, Some(9), 1) },
        Row { epoch: 1, baseline: Some(9), ..row("neither, beyond it", 12, Some(12), 1) },
        Row { ..row("execution ahead, within an epoch", 8, Some(5), 0) },
        Row {
            baseline: Some(9),
            floor: true,
            ..row("execution ahead by a boundary that is known", 12, Some(5), 1)
        },
        Row {
            baseline: Some(9),
            missing: Some((9, Execution)),
            floor: true,
            ..row("execution ahead by one that is not", 12, Some(5), 0)
        },
        Row {
            baseline: Some(29),
            missing: Some((29, Execution)),
            floor: true,
            epoch: 2,
            ..row("execution ahead of an empty marshal", 34, None, 0)
        },
        Row {
            baseline: Some(9),
            missing: Some((9, Execution)),
            ..row("execution has the very boundary that comes next", 9, Some(8), 0)
        },
        Row { lost: Some((6, 8)), ..row("marshal ahead, within an epoch", 5, Some(8), 0) },
        Row {
            lost: Some((6, 12)),
            epoch: 1,
            ..row("marshal ahead by a boundary that is known", 5, Some(12), 1)
        },
        Row {
            missing: Some((9, Marshal)),
            lost: Some((6, 12)),
            epoch: 1,
            ..row("marshal ahead by one that is not", 5, Some(12), 0)
        },
        Row {
            missing: Some((9, Marshal)),
            lost: Some((9, 9)),
            epoch: 1,
            ..row("marshal has delivered a boundary and no more", 8, Some(9), 0)
        },
        Row {
            baseline: Some(9),
            missing: Some((9, Both)),
            epoch: 1,
            ..row("both have a boundary that is not known", 12, Some(12), 0)
        },
        Row {
            baseline: Some(9),
            missing: Some((9, Both)),
            lost: Some((11, 12)),
            epoch: 1,
            ..row("both have it, the marshal more", 10, Some(12), 0)
        },
        Row {
            baseline: Some(9),
            missing: Some((9, Both)),
            epoch: 1,
            ..row("both have it, execution more", 13, Some(11), 0)
        },
        Row {
            baseline: Some(9),
            missing: Some((19, Marshal)),
            lost: Some((13, 21)),
            epoch: 2,
            ..row("both are beyond what is known, the marshal by one more", 12, Some(21), 0)
        },
    ];
    for row in table {
        let healing = heal(
            &schemes,
            |epoch| epoch.get() <= row.known,
            height(row.durable),
            row.processed.map(height),
        );
        let expected = Healing {
            baseline: row.baseline.map(height),
            missing: row.missing.map(|(at, holder)| (height(at), holder)),
            floor: row.floor,
            lost: row.lost.map(|(from, to)| height(from)..=height(to)),
            epoch: epoch(row.epoch),
        };
        assert_eq!(healing, expected, "{}", row.case);
    }
}

/// Whatever the three say: the floor is never above what is durable, and nothing that the marshal would deliver
/// anew is redelivered.
#[test]
fn no_start_moves_the_floor_beyond_what_is_durable() {
    let schemes = Epoched::new(4, vec![0], 0, true).schemes(0);
    for durable in 0..14 {
        for processed in (0..14).map(Some).chain([None]) {
            for known in 0..5 {
                let processed = processed.map(height);
                let healing =
                    heal(&schemes, |epoch| epoch.get() <= known, height(durable), processed);
                let baseline = healing.baseline.unwrap_or_default();
                assert!(baseline.get() <= durable);
                assert!(!healing.floor || Some(baseline) > processed);
                if let Some(lost) = healing.lost {
                    assert!(!healing.floor);
                    assert_eq!(lost.start().get(), durable + 1);
                    assert_eq!(Some(*lost.end()), processed);
                }
                if let Some((boundary, _)) = healing.missing {
                    assert!(boundary <= height(durable).max(processed.unwrap_or_default()));
                }
            }
        }
    }
}

#[test]
fn finalizations_are_ordered_by_round_and_those_of_a_later_epoch_wait() {
    let round = |at: u64, view| Round::new(epoch(at), View::new(view));
    let mut state = State::new(epoch(1), false);
    let table = [
        (round(1, 5), Verdict::Report),
        (round(1, 5), Verdict::Stale),
        (round(1, 4), Verdict::Stale),
        (round(0, 900), Verdict::Stale),
        (round(2, 1), Verdict::Hold),
        (round(1, 6), Verdict::Report),
        (round(9, 1), Verdict::Hold),
    ];
    for (round, verdict) in table {
        assert_eq!(state.finalized(round), verdict, "{round:?}");
    }
    state.entered(epoch(2));
    assert_eq!(state.finalized(round(2, 1)), Verdict::Report);
    state.entered(epoch(1));
    assert_eq!(state.epoch(), epoch(2), "a block that is delivered again leads nowhere back");
}

#[test]
fn a_later_epoch_is_hinted_at_once_and_again_in_the_next_epoch() {
    let mut state = State::new(epoch(1), false);
    assert_eq!(state.hint(), None);
    for (claimed, hint) in [(0, None), (1, None), (4, Some(1)), (4, None), (9, None), (2, None)] {
        state.claim(epoch(claimed));
        assert_eq!(state.hint(), hint.map(epoch), "{claimed}");
    }
    state.entered(epoch(2));
    assert_eq!(state.hint(), Some(epoch(2)));
    assert_eq!(state.hint(), None);
    for at in 3..=8 {
        state.entered(epoch(at));
        assert_eq!(state.hint(), Some(epoch(at)));
    }
    state.entered(epoch(9));
    assert_eq!(state.hint(), None, "it is there");
}

#[test]
fn the_floor_follows_a_hint_once_where_skipping_is_allowed() {
    for skip in [false, true] {
        let mut state = State::new(epoch(1), skip);
        let (boundary, tip) = (height(19), height(19));
        assert!(!state.may_skip(boundary, height(12), tip), "no hint");
        state.claim(epoch(2));
        assert!(state.hint().is_some());
        assert_eq!(state.may_skip(boundary, height(12), tip), skip);
        assert!(!state.may_skip(boundary, height(12), height(18)), "the marshal has it not");
        assert!(!state.may_skip(boundary, height(19), tip), "it comes next anyway");
        state.skipped();
        assert!(!state.may_skip(boundary, height(12), tip), "once");
    }
}
