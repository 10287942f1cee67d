//! What every history of events keeps to, whatever the source did.

use tidewatch_core::{Event, Ladder, Record, Tier, Watermarks};

/// What is against the law in `records`, which begin where `watermarks` stand; folds them into `watermarks`.
pub(super) fn broken(
    ladder: Ladder,
    watermarks: &mut Watermarks,
    records: &[Record],
) -> Option<String> {
    for record in records {
        let before = *watermarks;
        watermarks.apply(&record.event);
        let at =
            |what: String| Some(format!("event {}, {}: {what}", record.sequence(), record.event));
        if *watermarks != record.watermarks {
            return at(format!("folded it gives {watermarks:?}, it says {:?}", record.watermarks));
        }
        if !record.cursor.stands_at(watermarks) {
            return at("its cursor stands elsewhere".into());
        }
        if let Err(broken) = watermarks.tips.check(ladder) {
            return at(broken.to_string());
        }
        if let (Event::Blocks { from, .. }, Some(below)) = (&record.event, before.delivered)
            && from.height <= below.height
        {
            return at(format!("it replaces {below}, which was not pruned"));
        }
        let finalized = watermarks.tips.block(Tier::Finalized);
        if let Some(was) = before.tips.block(Tier::Finalized)
            && finalized.is_none_or(|is| is != was && is.height <= was.height)
        {
            return at(format!("finalized was {was}"));
        }
        let head = watermarks.delivered.map(|head| head.height);
        let mut tips = Tier::ALL.into_iter().filter_map(|tier| watermarks.tips.block(tier));
        if let Some(tip) = tips.find(|tip| head.is_some_and(|head| tip.height > head)) {
            return at(format!("{tip} was not delivered"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{Cursor, Tip, TipSet};
    use tidewatch_testkit::chain::Chain;

    fn record(watermarks: Watermarks, event: Event, sequence: u64) -> Record {
        let cursor =
            Cursor::new(&Chain::new('a', 1).chain_info().id, sequence + 1, &watermarks, &[]);
        Record { event, watermarks, cursor }
    }

    fn told(events: &[Event]) -> Vec<Record> {
        let mut watermarks = Watermarks::none();
        let records = events.iter().enumerate().map(|(sequence, event)| {
            watermarks.apply(event);
            record(watermarks, *event, sequence as u64)
        });
        records.collect()
    }

    #[test]
    fn each_law_is_seen_to_be_broken() {
        let (a, b) = (Chain::new('a', 9), Chain::new('a', 4).fork(3, 'b', 9));
        let blocks =
            |chain: &Chain, from, to| Event::Blocks { from: chain.at(from), to: chain.at(to) };
        let up = |tier, block| Event::Advanced { tier, tip: Tip::from(block) };
        let back = |tier, block| Event::Regressed { tier, tip: Tip::from(block) };
        let prune = |to, tips| Event::Pruned { to, depth: 0, tips };
        let (proposed, finalized) = (Tier::Proposed, Tier::Finalized);
        let sound = [blocks(&a, 1, 5), up(proposed, a.at(5)), up(finalized, a.at(2))];
        let after = |event: Event| [&sound[..], &[event]].concat();
        let table = [
            ("sound", sound.to_vec(), None),
            ("not pruned", after(blocks(&b, 3, 6)), Some("not pruned")),
            ("ladder", vec![blocks(&a, 1, 5), up(Tier::Proven, a.at(2))], Some("not below")),
            ("not delivered", vec![blocks(&a, 1, 5), up(proposed, a.at(6))], Some("not delivered")),
            ("final back", after(back(finalized, a.at(1))), Some("finalized was")),
            ("final gone", after(prune(a.at(1), TipSet::unknown())), Some("finalized was")),
        ];
        for (case, events, want) in table {
            let got = broken(Ladder::Rollup, &mut Watermarks::none(), &told(&events));
            let fits = match (&got, want) {
                (None, None) => true,
                (Some(got), Some(want)) => got.contains(want),
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
        let got = broken(Ladder::Rollup, &mut Watermarks::none(), &[record(watermarks, event, 0)]);
        assert!(got.is_some_and(|got| got.contains("folded it gives")));
        let elsewhere = record(Watermarks::none(), event, 0).cursor;
        let mut record = told(&[event]).remove(0);
        record.cursor = elsewhere;
        let got = broken(Ladder::Rollup, &mut Watermarks::none(), &[record]);
        assert!(got.is_some_and(|got| got.contains("stands elsewhere")));
    }
}
