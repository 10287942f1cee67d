//! Rules about prunes.

use super::{Checker, Observation};
use crate::{scripted::words::word, watch::Answer, world::Truth};
use tidewatch_core::{BlockRef, Change, Tier};

/// Tells where a pass begins: with a snapshot, and then a look at where the view stands.
#[derive(Default)]
struct Begins {
    /// The last answer was a snapshot, and nothing came after it.
    fresh: bool,
}

impl Begins {
    /// Whether a pass begins with `observation`.
    fn see(&mut self, observation: &Observation) -> bool {
        match observation {
            Observation::Asked(_) | Observation::Committed { .. } => self.fresh = false,
            Observation::Answered { answer: Answer::Snapshot(_), .. } => self.fresh = true,
            Observation::WatermarksRead(_) => return std::mem::take(&mut self.fresh),
            _ => {}
        }
        false
    }
}

/// What is pruned is pruned after a second look at the source, because it may have moved while the
/// divergence was found. Only a prune to what is finalized here needs none: it is decided by what this
/// side knows.
#[derive(Default)]
pub(super) struct Looks {
    begins: Begins,
    /// Snapshots since the pass began.
    looks: u64,
    finalized: Option<BlockRef>,
}

impl Checker for Looks {
    fn name(&self) -> &'static str {
        "looks"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        if self.begins.see(observation) {
            self.looks = 1;
        }
        match observation {
            Observation::Answered { answer: Answer::Snapshot(_), .. } => self.looks += 1,
            Observation::WatermarksRead(watermarks) => {
                self.finalized = watermarks.tips.block(Tier::Finalized)
            }
            Observation::Committed { changes, .. } => {
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
    begins: Begins,
    proposed: Option<BlockRef>,
    /// Where a prune left proposed.
    owed: Option<BlockRef>,
}

impl Checker for Announced {
    fn name(&self) -> &'static str {
        "announced"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        if self.begins.see(observation)
            && let Some(owed) = self.owed.take()
        {
            return Err(format!("proposed was pruned to {}, in silence", word(owed)));
        }
        match observation {
            Observation::Committed { changes, watermarks } => {
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
                self.proposed = watermarks.tips.block(Tier::Proposed);
            }
            Observation::Opened { watermarks, .. } | Observation::WatermarksRead(watermarks) => {
                self.proposed = watermarks.tips.block(Tier::Proposed);
            }
            Observation::Refused(_) | Observation::NotCommitted(_) | Observation::Crashed => {
                self.owed = None;
            }
            _ => {}
        }
        Ok(())
    }
}
