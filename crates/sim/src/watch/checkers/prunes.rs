//! Rules about prunes.

use super::{Checker, Observation};
use crate::{scripted::words::word, watch::Answer, world::Truth};
use tidewatch_core::{BlockRef, Change, Tier};

/// Detects the start of a pass: a snapshot, followed by a read of the view's watermarks.
#[derive(Default)]
struct Begins {
    /// Whether a snapshot was the last response.
    fresh: bool,
}

impl Begins {
    /// Whether a pass starts with `observation`.
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

/// A prune is committed only after a second snapshot, because the source may have moved during the
/// search for the divergence. A prune to the local finalized tip needs none: it depends on local state
/// only.
#[derive(Default)]
pub(super) struct Looks {
    begins: Begins,
    /// Snapshots since the pass started.
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
                self.finalized = watermarks.tips.block(Tier::Finalized);
            }
            Observation::Committed { changes, .. } => {
                for change in changes {
                    let Change::Pruned { to, .. } = change else { continue };
                    if self.looks < 2 && self.finalized != Some(*to) {
                        return Err(format!("a prune to {} after a single snapshot", word(*to)));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A subscriber to a single tier learns of every move of that tier: a pass whose prune moves the
/// proposed tip announces the proposed tip, unless the pass fails first.
#[derive(Default)]
pub(super) struct Announced {
    begins: Begins,
    proposed: Option<BlockRef>,
    /// Proposed tip after a prune, not announced yet.
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
            return Err(format!("proposed was pruned to {} and not announced", word(owed)));
        }
        match observation {
            Observation::Committed { changes, watermarks } => {
                for change in changes {
                    match change {
                        Change::Pruned { tips, .. } => {
                            let left = tips.block(Tier::Proposed);
                            self.owed = left.filter(|left| self.proposed != Some(*left));
                        }
                        Change::Advanced { tier: Tier::Proposed, .. }
                        | Change::Regressed { tier: Tier::Proposed, .. } => self.owed = None,
                        Change::Advanced { .. } | Change::Regressed { .. } | Change::Blocks(_) => {}
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
