//! Many events as few: of each tier the newest, of the blocks one range, and every prune.

use tidewatch_core::{
    BlockRef, ChainId, Cursor, Event, Ladder, Record, Watermarks, json::Skipped, tier_moves,
};

/// Folds events of one history that follow each other. What comes out leads where they lead, and no step of it
/// breaks the ladder. A cursor inside of it is resumed from by content, like one inside of a bridge.
#[derive(Debug)]
pub(crate) struct Fold {
    ladder: Ladder,
    chain: ChainId,
    /// Where the events since the last prune began.
    start: Watermarks,
    blocks: Option<(BlockRef, BlockRef)>,
    last: Option<Record>,
    /// Events since the last prune.
    taken: Skipped,
    folded: Vec<Record>,
    skipped: Skipped,
}

/// What was folded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) records: Vec<Record>,
    /// Events that do not come.
    pub(crate) skipped: Skipped,
    /// The position after the last event, whether it came or not.
    pub(crate) then: Option<(Cursor, Watermarks)>,
}

impl Fold {
    pub(crate) fn new(ladder: Ladder, chain: &ChainId, start: Watermarks) -> Self {
        let (chain, skipped) = (chain.clone(), Skipped::default());
        let (blocks, last, folded) = (None, None, Vec::new());
        Self { ladder, chain, start, blocks, last, taken: skipped, folded, skipped }
    }

    pub(crate) fn push(&mut self, record: Record) {
        match record.event {
            Event::Pruned { .. } => {
                self.flush();
                self.start = record.watermarks;
                self.folded.push(record);
                return;
            }
            Event::Blocks { from, to } => {
                self.taken.blocks += 1;
                self.blocks = Some((self.blocks.map_or(from, |(first, _)| first), to));
            }
            Event::Advanced { .. } => self.taken.advanced += 1,
            Event::Regressed { .. } => self.taken.regressed += 1,
        }
        self.last = Some(record);
    }

    pub(crate) fn finish(mut self) -> Folded {
        let end = self.last.as_ref().or(self.folded.last());
        let then = end.map(|record| (record.cursor.clone(), record.watermarks));
        self.flush();
        Folded { records: self.folded, skipped: self.skipped, then }
    }

    /// Lays the events since the last prune together.
    fn flush(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        let Some(last) = self.last.take() else { return };
        let mut events = Vec::new();
        events.extend(self.blocks.take().map(|(from, to)| Event::Blocks { from, to }));
        events.extend(tier_moves(self.ladder, &self.start.tips, &last.watermarks.tips));
        let mut left = taken;
        for event in &events {
            let count = match event {
                Event::Blocks { .. } => &mut left.blocks,
                Event::Advanced { .. } => &mut left.advanced,
                Event::Regressed { .. } | Event::Pruned { .. } => &mut left.regressed,
            };
            *count = count.saturating_sub(1);
        }
        self.skipped.blocks += left.blocks;
        self.skipped.advanced += left.advanced;
        self.skipped.regressed += left.regressed;
        let (mut watermarks, count) = (self.start, events.len());
        for (index, event) in events.into_iter().enumerate() {
            watermarks.apply(&event);
            self.folded.push(if index + 1 == count {
                Record { event, watermarks: last.watermarks, cursor: last.cursor.clone() }
            } else {
                let below = last.cursor.locators().iter().copied();
                let cursor =
                    Cursor::located(&self.chain, last.cursor.handled(), &watermarks, below);
                Record { event, watermarks, cursor }
            });
        }
        self.start = last.watermarks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_utils::NZUsize;
    use futures::executor::block_on;
    use tidewatch_core::{Change, EventLog as _, LocalView as _, Tier};
    use tidewatch_store::Memory;
    use tidewatch_testkit::{
        chain::{Chain, TestBlock},
        invariants,
    };

    /// Ten blocks, each with its tip, of which the third below is final; then two of them are pruned.
    fn records(chain: &Chain) -> Vec<Record> {
        let (mut view, log) = Memory::new::<TestBlock>(chain.chain_info());
        let up = |tier, height| {
            let tip = chain.at(height).into();
            Change::Advanced { tier, tip, proof: None }
        };
        for height in 1..=10 {
            let mut changes =
                vec![Change::Blocks(chain.range(height, height)), up(Tier::Proposed, height)];
            changes.extend((height > 3).then(|| up(Tier::Finalized, height - 3)));
            block_on(view.commit(changes)).unwrap();
        }
        let tips = log.watermarks().unwrap().tips.with(Tier::Proposed, chain.at(8));
        block_on(view.commit(vec![Change::Pruned { to: chain.at(8), tips }])).unwrap();
        block_on(log.read(0, NZUsize!(1_000))).unwrap()
    }

    #[test]
    fn what_is_folded_leads_to_the_same_place_with_every_prune_and_breaks_no_ladder_on_the_way() {
        let chain = Chain::new('a', 10);
        let all = records(&chain);
        for (from, to) in
            (0..all.len()).flat_map(|from| (from..=all.len()).map(move |to| (from, to)))
        {
            let before = from.checked_sub(1).map_or_else(Watermarks::none, |at| all[at].watermarks);
            let mut fold = Fold::new(Ladder::Certified, &chain.chain_info().id, before);
            all[from..to].iter().cloned().for_each(|record| fold.push(record));
            let Folded { records, skipped, then } = fold.finish();
            let left = skipped.blocks + skipped.advanced + skipped.regressed;
            assert_eq!(records.len() as u64 + left, (to - from) as u64, "{from}..{to}");
            let prunes = |records: &[Record]| {
                records.iter().filter(|record| record.event.name() == "pruned").count()
            };
            assert_eq!(prunes(&records), prunes(&all[from..to]));
            let mut stands = before;
            for record in &records {
                let led = invariants::event(Ladder::Certified, &stands, &record.event);
                stands = led.unwrap_or_else(|breach| panic!("{from}..{to}: {breach:#}"));
                assert!(record.cursor.stands_at(&stands), "{from}..{to}: {}", record.event);
            }
            let end = all[from..to].last().map(|record| (record.cursor.clone(), record.watermarks));
            let stood = then.as_ref().map_or(before, |(_, watermarks)| *watermarks);
            assert!(stands.same_blocks(&stood));
            assert_eq!(then, end);
        }
    }
}
