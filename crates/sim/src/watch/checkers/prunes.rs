//! Rules about prunes.

use super::{Checker, Observation};
use crate::{scripted::words::word, watch::Answer, world::Truth};
use tidewatch_core::{BlockRef, Change, Tier};

/// What is pruned is pruned after a second look at the source, because it may have moved while the
/// divergence was found. Only a prune to what is finalized here needs none: it is decided by what this
/// side knows.
#[derive(Default)]
pub(super) struct Looks {
    /// Snapshots since the pass began.
    looks: u64,
    /// The last answer was a snapshot, and nothing came after it.
    fresh: bool,
    finalized: Option<BlockRef>,
}

impl Checker for Looks {
    fn name(&self) -> &'static str {
        "looks"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Asked(_) => self.fresh = false,
            Observation::Answered { answer: Answer::Snapshot(_), .. } => {
                (self.looks, self.fresh) = (self.looks + 1, true);
            }
            // A pass begins with a snapshot, and then looks where the view stands.
            Observation::MarksRead(marks) => {
                self.finalized = marks.tips.block(Tier::Finalized);
                if std::mem::take(&mut self.fresh) {
                    self.looks = 1;
                }
            }
            Observation::Committed { changes, .. } => {
                self.fresh = false;
                for change in changes {
                    let Change::Pruned { to, .. } = change else { continue };
                    if self.looks < 2 && self.finalized != Some(*to) {
                        return Err(format!("a prune to {} after one look", word(*to)));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whoever listens to one tier hears where it stands: a pass that moved proposed by a prune announces
/// it, unless something goes wrong before it can.
#[derive(Default)]
pub(super) struct Announced {
    proposed: Option<BlockRef>,
    /// Where a prune left proposed.
    owed: Option<BlockRef>,
    /// The last answer was a snapshot, and nothing came after it.
    fresh: bool,
}

impl Checker for Announced {
    fn name(&self) -> &'static str {
        "announced"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Asked(_) => self.fresh = false,
            Observation::Answered { answer: Answer::Snapshot(_), .. } => self.fresh = true,
            Observation::Committed { changes, marks } => {
                self.fresh = false;
                for change in changes {
                    match change {
                        Change::Pruned { tips, .. } => {
                            let left = tips.block(Tier::Proposed);
                            self.owed = left.filter(|left| self.proposed != Some(*left));
                        }
                        Change::Moved { tier: Tier::Proposed, .. } => self.owed = None,
                        Change::Moved { .. } | Change::Blocks(_) => {}
                    }
                }
                self.proposed = marks.tips.block(Tier::Proposed);
            }
            Observation::Opened { marks, .. } => self.proposed = marks.tips.block(Tier::Proposed),
            Observation::MarksRead(marks) => {
                self.proposed = marks.tips.block(Tier::Proposed);
                // The next pass: it begins with a snapshot, and then looks where the view stands.
                if std::mem::take(&mut self.fresh)
                    && let Some(owed) = self.owed.take()
                {
                    return Err(format!("proposed was pruned to {}, in silence", word(owed)));
                }
            }
            Observation::Refused(_) | Observation::NotCommitted(_) | Observation::Crashed => {
                self.owed = None;
            }
            _ => {}
        }
        Ok(())
    }
}
