use super::*;
use crate::chain::Chain;
use tidewatch_core::{Cursor, Tip};

fn record_of(watermarks: Watermarks, event: Event, sequence: u64) -> Record {
    let cursor = Cursor::new(&Chain::new('a', 1).chain_info().id, sequence + 1, &watermarks, &[]);
    Record { event, watermarks, cursor }
}

fn told(events: &[Event]) -> Vec<Record> {
    let mut watermarks = Watermarks::none();
    let records = events.iter().enumerate().map(|(sequence, event)| {
        watermarks.apply(event);
        record_of(watermarks, *event, sequence as u64)
    });
    records.collect()
}

/// What is broken first in `records`, as `check` sees it.
fn broken(
    records: &[Record],
    check: impl Fn(&Watermarks, &Record) -> Result<Watermarks, Breach>,
) -> Result<(), String> {
    let folded = records.iter().try_fold(Watermarks::none(), |before, it| check(&before, it));
    folded.map(drop).map_err(|breach| format!("{breach:#}"))
}

#[test]
fn each_law_is_seen_to_be_broken() {
    let (a, b) = (Chain::new('a', 9), Chain::new('a', 4).fork(3, 'b', 9));
    let blocks = |chain: &Chain, from, to| Event::Blocks { from: chain.at(from), to: chain.at(to) };
    let up = |tier, block| Event::Advanced { tier, tip: Tip::from(block) };
    let back = |tier, block| Event::Regressed { tier, tip: Tip::from(block) };
    let prune = |to, tips| Event::Pruned { to, depth: 0, tips };
    let (proposed, finalized) = (Tier::Proposed, Tier::Finalized);
    let tips = |height| TipSet::unknown().with(proposed, a.at(height)).with(finalized, a.at(2));
    let sound = [blocks(&a, 1, 5), up(proposed, a.at(5)), up(finalized, a.at(2))];
    let after = |event: Event| [&sound[..], &[event]].concat();
    let other = Chain::new('c', 9);
    let table = [
        ("sound", sound.to_vec(), None),
        ("sound: grows", after(blocks(&a, 6, 9)), None),
        ("sound: skips", after(blocks(&a, 8, 9)), None),
        ("sound: back", after(back(proposed, a.at(4))), None),
        ("sound: prune", after(prune(a.at(3), tips(3))), None),
        ("not pruned", after(blocks(&b, 3, 6)), Some("3b replaces 5a, which was not pruned")),
        ("backwards", vec![blocks(&a, 5, 1)], Some("blocks 5a-1a at")),
        (
            "ladder",
            vec![blocks(&a, 1, 5), up(Tier::Proven, a.at(2))],
            Some("is not below or at proposed tip none"),
        ),
        (
            "not delivered",
            vec![blocks(&a, 1, 5), up(proposed, a.at(6))],
            Some("6a is announced and was not delivered, the head is 5a"),
        ),
        ("final back", after(back(finalized, a.at(1))), Some("finalized moved from 2a to 1a")),
        ("final other", after(up(finalized, other.at(2))), Some("finalized moved from 2a to 2c")),
        (
            "final gone",
            after(prune(a.at(1), TipSet::unknown().with(proposed, a.at(1)))),
            Some("finalized was 2a, and is unknown"),
        ),
        ("up in place", after(up(proposed, a.at(5))), Some("proposed 5a at")),
        ("up, but down", after(up(proposed, a.at(4))), Some("proposed 4a at")),
        (
            "back, but up",
            vec![blocks(&a, 1, 5), up(proposed, a.at(4)), back(proposed, a.at(5))],
            Some("back proposed 5a at"),
        ),
        (
            "back from nowhere",
            vec![blocks(&a, 1, 5), back(proposed, a.at(3))],
            Some("back proposed"),
        ),
        (
            "a prune raises",
            vec![blocks(&a, 1, 5), up(proposed, a.at(2)), prune(a.at(4), tips(3))],
            Some("prune 4a"),
        ),
        ("a prune of nothing", after(prune(a.at(5), tips(5))), Some("prune 5a")),
    ];
    for (case, events, want) in table {
        let got = broken(&told(&events), |before, it| record(Ladder::Rollup, before, it));
        let fits = match (&got, want) {
            (Ok(()), None) => true,
            (Err(got), Some(want)) => got.contains(want),
            _ => false,
        };
        assert!(fits, "{case}: {got:?}");
    }
}

#[test]
fn an_event_whose_watermarks_are_not_its_fold_is_against_the_law() {
    let chain = Chain::new('a', 5);
    let event = Event::Blocks { from: chain.at(1), to: chain.at(3) };
    let watermarks = Watermarks { delivered: Some(chain.at(4)), ..Watermarks::none() };
    let elsewhere = [record_of(watermarks, event, 0)];
    for got in [
        broken(&elsewhere, |before, it| record(Ladder::Rollup, before, it)),
        broken(&elsewhere, fold),
        broken(&elsewhere, leads),
    ] {
        assert!(got.is_err_and(|got| got.contains("leads to 3a: - - - -, its record has 4a")));
    }
    let mut one = told(&[event]).remove(0);
    one.cursor = record_of(Watermarks::none(), event, 0).cursor;
    for got in [fold(&Watermarks::none(), &one), record(Ladder::Rollup, &Watermarks::none(), &one)]
    {
        assert_eq!(got, Err(Breach::Cursor));
    }
}

#[test]
fn a_bridge_leads_on_by_its_blocks_whatever_its_checkpoints_are() {
    let chain = Chain::new('a', 5);
    let event = Event::Advanced { tier: Tier::Proven, tip: chain.at(3).into() };
    let tips = TipSet::unknown().with(Tier::Proven, chain.checkpoint(3));
    let bridge = record_of(Watermarks { tips, ..Watermarks::none() }, event, 0);
    assert!(leads(&Watermarks::none(), &bridge).is_ok());
    assert!(fold(&Watermarks::none(), &bridge).is_err());
}

#[test]
fn a_block_goes_on_from_what_is_below_it() {
    let (a, b) = (Chain::new('a', 9), Chain::new('a', 4).fork(3, 'b', 9));
    let on = |below, height| link(a.at(below), &b.blocks()[height]);
    assert_eq!(on(2, 3), Ok(()));
    assert_eq!(on(2, 7), Ok(()), "whether blocks are missing is another question");
    assert_eq!(on(3, 4), Err(Breach::NotLinked { at: b.at(4), below: a.at(3) }));
    for below in [4, 5] {
        assert_eq!(on(below, 4), Err(Breach::Replaces { at: b.at(4), below: a.at(below) }));
    }
    let delivered = |height| Watermarks { delivered: a.get(height), ..Watermarks::none() };
    let blocks = |from| Event::Blocks { from: a.at(from), to: a.at(9) };
    assert_eq!(dense(&delivered(5), &blocks(6)), Ok(()));
    assert_eq!(dense(&Watermarks::none(), &blocks(6)), Ok(()), "they begin anywhere");
    let hole = Breach::Hole { at: a.at(7), below: a.at(5) };
    assert_eq!(dense(&delivered(5), &blocks(7)), Err(hole));
}
