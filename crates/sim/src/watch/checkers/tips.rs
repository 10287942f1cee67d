//! Rules about tiers.

use super::{Checker, Observation, Rules};
use crate::truth::Truth;
use tidewatch_core::{Change, Event, Height, Record, Tier, TipSet, Watermarks};
use tidewatch_testkit::{
    invariants,
    words::{word, words},
};

/// Events that were appended, or found in the store at a start.
fn records(observation: &Observation) -> &[Record] {
    match observation {
        Observation::Recorded(records) | Observation::Opened { records, .. } => records,
        _ => &[],
    }
}

/// The announced tips obey the ladder after every event.
pub(super) struct LadderKept(pub(super) Rules);

impl Checker for LadderKept {
    fn name(&self) -> &'static str {
        "ladder"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        for record in records(observation) {
            let after = |breach| format!("after {}: {breach:#}", words(&[record.event]).join(""));
            invariants::ladder(self.0.ladder, &record.watermarks.tips).map_err(after)?;
        }
        Ok(())
    }
}

/// Every tip is an ancestor of the next higher one, or equal to it, as far as the view received the
/// blocks to verify it.
pub(super) struct Ancestry {
    rules: Rules,
    /// First block of the contiguous range that ends at the delivered head.
    first: Option<Height>,
    delivered: Option<Height>,
}

impl Ancestry {
    pub(super) const fn new(rules: Rules) -> Self {
        Self { rules, first: None, delivered: None }
    }

    fn check(&self, tips: &TipSet, truth: &Truth) -> Result<(), String> {
        let known = self.rules.ladder.tiers().into_iter().filter_map(|tier| tips.block(tier));
        let given = |height: Height| self.first.is_some_and(|first| height >= first);
        let tips: Vec<_> = known.filter(|tip| self.rules.certified || given(tip.height)).collect();
        for pair in tips.windows(2) {
            if !truth.descends(pair[0], pair[1]) {
                return Err(format!("{} does not descend from {}", word(pair[0]), word(pair[1])));
            }
        }
        Ok(())
    }
}

impl Checker for Ancestry {
    fn name(&self) -> &'static str {
        "ancestry"
    }

    fn see(&mut self, observation: &Observation, truth: &Truth) -> Result<(), String> {
        for record in records(observation) {
            if let Event::Blocks { from, .. } = record.event
                && self.delivered.map(Height::next) != Some(from.height)
            {
                self.first = Some(from.height);
            }
            self.delivered = record.watermarks.delivered.map(|block| block.height);
            self.check(&record.watermarks.tips, truth)?;
        }
        Ok(())
    }
}

/// The finalized tip never regresses and never changes its digest; on a certified chain it is always
/// true.
pub(super) struct Finality {
    rules: Rules,
    finalized: TipSet,
}

impl Finality {
    pub(super) const fn new(rules: Rules) -> Self {
        Self { rules, finalized: TipSet::unknown() }
    }

    fn check(&mut self, watermarks: &Watermarks, truth: &Truth) -> Result<(), String> {
        invariants::finality(&self.finalized, &watermarks.tips)?;
        let is = watermarks.tips.block(Tier::Finalized);
        if let Some(is) = is.filter(|is| self.rules.certified && !truth.is_final(*is)) {
            return Err(format!("{} is announced as finalized, but is not final", word(is)));
        }
        self.finalized.set(Tier::Finalized, watermarks.tips.get(Tier::Finalized));
        Ok(())
    }
}

impl Checker for Finality {
    fn name(&self) -> &'static str {
        "finality"
    }

    fn see(&mut self, observation: &Observation, truth: &Truth) -> Result<(), String> {
        match observation {
            Observation::Recorded(records) => {
                records.iter().try_for_each(|record| self.check(&record.watermarks, truth))
            }
            Observation::Opened { watermarks, .. } | Observation::WatermarksRead(watermarks) => {
                self.check(watermarks, truth)
            }
            _ => Ok(()),
        }
    }
}

/// A tier moves up only by `Advanced`, and down only by `Regressed` or `Pruned`. A prune never raises
/// anything.
#[derive(Default)]
pub(super) struct Regressions {
    watermarks: Watermarks,
}

impl Checker for Regressions {
    fn name(&self) -> &'static str {
        "regressions"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Opened { watermarks, .. } => self.watermarks = *watermarks,
            Observation::Recorded(records) => {
                for record in records {
                    invariants::blocks(&self.watermarks, &record.event)?;
                    invariants::tiers(&self.watermarks, &record.event)?;
                    self.watermarks = record.watermarks;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// No tip is above the delivered head.
pub(super) struct Given;

impl Checker for Given {
    fn name(&self) -> &'static str {
        "given"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        for record in records(observation) {
            invariants::delivered(&record.watermarks)?;
        }
        if let Observation::Committed { changes, .. } = observation {
            let empty = |change: &_| matches!(change, Change::Blocks(blocks) if blocks.is_empty());
            if changes.is_empty() || changes.iter().any(empty) {
                return Err("an empty commit".into());
            }
        }
        Ok(())
    }
}
