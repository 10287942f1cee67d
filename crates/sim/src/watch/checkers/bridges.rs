//! Rules about a consumer that goes from one log to another.

use super::{Checker, Observation, Rules};
use crate::{
    truth::Truth,
    watch::{Log, Resumed},
};
use tidewatch_core::{
    BlockRef, Event, Height, Ladder, Record, Resume, ResumeError, Tier, TipSet, Watermarks,
};
use tidewatch_stream::{Mode, Start};
use tidewatch_testkit::{
    invariants,
    words::{tips_words, watermarks_words, word, words},
};

/// Whoever takes its position along to another log of the same chain is led on from there: no step breaks
/// the ladder or goes back in finality, the blocks go on without a gap that the log does not have itself,
/// and it is refused only where the log cannot know.
pub(super) struct Bridges {
    rules: Rules,
    stands: Watermarks,
    /// The last position that was taken up was refused as too old.
    refused: bool,
}

impl Bridges {
    pub(super) const fn new(rules: Rules) -> Self {
        Self { rules, stands: Watermarks::none(), refused: false }
    }

    /// Folds `records` over `from`. Where they lead is what each of them says.
    fn lead(
        &self,
        from: Watermarks,
        records: &[Record],
        mode: Mode,
        truth: &Truth,
    ) -> Result<Watermarks, String> {
        let (mut stands, mut steps) = (from, Vec::new());
        for record in records {
            self.step(&stands, &record.event, mode, truth)?;
            stands = invariants::leads(&stands, record)?;
            steps.push(stands.tips);
        }
        // Where both ends obey both ladders, no tip says which one is meant.
        let obey = |ladder: Ladder| move |tips: &TipSet| tips.check(ladder).is_ok();
        let ends = [from.tips, stands.tips];
        let candidate = |ladder: &Ladder| ends.iter().all(obey(*ladder));
        if !candidate(&self.rules.ladder) {
            let [from, to] = ends.map(|tips| tips_words(&tips));
            return Err(format!("from {from} to {to}, which breaks the ladder"));
        }
        let mut candidates = [Ladder::Rollup, Ladder::Certified].into_iter().filter(candidate);
        if candidates.any(|ladder| steps.iter().all(obey(ladder))) {
            return Ok(stands);
        }
        let steps: Vec<_> = steps.iter().map(tips_words).collect();
        Err(format!(
            "a step from {} breaks the ladder: {}",
            tips_words(&from.tips),
            steps.join(", ")
        ))
    }

    fn step(
        &self,
        stands: &Watermarks,
        event: &Event,
        mode: Mode,
        truth: &Truth,
    ) -> Result<(), String> {
        invariants::tiers(stands, event)?;
        let legal = match event {
            Event::Blocks { from, to } => {
                let below = stands.delivered;
                let goes_on = below.is_some_and(|below| below.height.next() == from.height);
                // An upstream that nobody can check may have made up the blocks of a range.
                let on = |high, low| !truth.made(high) || truth.descends(high, low);
                let links = below.is_none_or(|below| !goes_on || on(*from, below));
                let gap = !goes_on && !begins(mode, from.height);
                links && on(*to, *from) && !gap
            }
            Event::Advanced { .. } => true,
            Event::Regressed { tier, .. } => *tier != Tier::Finalized,
            Event::Pruned { tips, .. } => {
                tips.block(Tier::Finalized) == stands.tips.block(Tier::Finalized)
            }
        };
        let event = words(&[*event]).join("");
        legal.then_some(()).ok_or_else(|| format!("{event} at {}", watermarks_words(stands)))
    }

    /// Whether the answer to a position is one that the log can give.
    fn answered(&self, resumed: &Resumed, truth: &Truth) -> Result<(), String> {
        let Resumed { mode, cursor, answer, leads, before, after } = resumed;
        let both = |holds: &dyn Fn(&Log) -> bool| holds(before) && holds(after);
        let about = || {
            let (cursor, log) = (watermarks_words(&cursor.watermarks()), &before.watermarks);
            format!("{cursor} at a log at {}", watermarks_words(log))
        };
        match answer {
            Ok(Resume::Forked { bridge, .. }) => {
                let end = self.lead(cursor.watermarks(), bridge, *mode, truth)?;
                if before == after && !end.same_blocks(&before.watermarks) {
                    return Err(format!("a bridge for {} leads elsewhere", about()));
                }
                let trimmed = |record: &&Record| match record.event {
                    Event::Blocks { from, .. } => {
                        before.oldest_block.is_some_and(|oldest| from.height < oldest)
                    }
                    _ => false,
                };
                bridge.iter().find(trimmed).map_or(Ok(()), |record| {
                    let event = words(&[record.event]).join("");
                    Err(format!(
                        "{event} are announced, and trimmed from {:?}",
                        before.oldest_block
                    ))
                })
            }
            Err(ResumeError::Ahead { .. }) if both(&|log| is_up_to(log, &cursor.watermarks())) => {
                Err(format!("ahead: {}", about()))
            }
            Err(ResumeError::TooOld { .. })
                if !leads && before.oldest_event == after.oldest_event =>
            {
                Err(format!("the point to start again from is refused: {}", about()))
            }
            Err(ResumeError::TooOld { .. }) if both(&|log| has(log, &cursor.watermarks())) => {
                Err(format!("too old, and the log has its block: {}", about()))
            }
            Ok(Resume::Exact { .. }) | Err(_) => Ok(()),
        }
    }
}

/// Whether the blocks of a log may begin at `height`, or go on there after a skip.
fn begins(mode: Mode, height: Height) -> bool {
    match mode {
        Mode::TipsOnly => false,
        Mode::Blocks { start: Start::Genesis, skip_finalized: false } => height.get() == 1,
        // Or below the start, after a reorg that went below it.
        Mode::Blocks { start: Start::Height(start), skip_finalized: false } => height <= start,
        Mode::Blocks { .. } => true,
    }
}

/// Whether `log` has come as far as `cursor`.
fn is_up_to(log: &Log, cursor: &Watermarks) -> bool {
    let height = |block: Option<BlockRef>| block.map(|block| block.height);
    let finalized = |tips: &TipSet| height(tips.block(Tier::Finalized));
    height(log.watermarks.head()) >= height(cursor.head())
        && finalized(&log.watermarks.tips) >= finalized(&cursor.tips)
}

/// Whether `log` has the block that `cursor` stands on, and all above it.
fn has(log: &Log, cursor: &Watermarks) -> bool {
    let alike = cursor.delivered.is_some() == log.watermarks.delivered.is_some();
    let held = cursor
        .delivered
        .is_none_or(|head| log.oldest_block.is_some_and(|oldest| oldest <= head.height.next()));
    log.has_head && alike && held && is_up_to(log, cursor)
}

impl Checker for Bridges {
    fn name(&self) -> &'static str {
        "bridges"
    }

    fn see(&mut self, observation: &Observation, truth: &Truth) -> Result<(), String> {
        match observation {
            Observation::Arrived { cursor } => {
                self.stands = cursor.as_ref().map_or_else(Watermarks::none, |it| it.watermarks());
                self.refused = false;
            }
            Observation::Resumed(resumed) => {
                self.refused = matches!(resumed.answer, Err(ResumeError::TooOld { .. }));
                self.answered(resumed, truth)?;
            }
            Observation::Travelled { mode, records } => {
                self.stands = self.lead(self.stands, records, *mode, truth)?;
                self.refused = false;
            }
            Observation::StartedOver { oldest } => {
                if !std::mem::take(&mut self.refused) {
                    let at = oldest.watermarks.head().map_or_else(String::new, word);
                    return Err(format!("started over at {at} without need"));
                }
                self.stands = oldest.watermarks;
            }
            _ => {}
        }
        Ok(())
    }
}
