//! Rules about prunes.

use super::{Checker, Observation, Rules};
use crate::{truth::Truth, watch::Answer};
use std::collections::HashMap;
use tidewatch_core::{Block as _, BlockRef, Change, Tier};
use tidewatch_stream::FLAPPING_WINDOW;
use tidewatch_testkit::words::word;

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

/// A prune is committed, and a contradiction of finality kept, only after a second snapshot, because the
/// source may have moved during the search for the divergence, or one answer may be wrong. Certificates
/// that contradict each other need none.
pub(super) struct Looks {
    certified: bool,
    begins: Begins,
    /// Snapshots since the pass started.
    looks: u64,
}

impl Looks {
    pub(super) fn new(rules: Rules) -> Self {
        Self { certified: rules.certified, begins: Begins::default(), looks: 0 }
    }
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
            Observation::Evidence(conflict) if self.looks < 2 && !self.certified => {
                return Err(format!("evidence of {} after a single snapshot", word(conflict.ours)));
            }
            Observation::Committed { changes, .. } => {
                for change in changes {
                    let Change::Pruned { to, .. } = change else { continue };
                    if self.looks < 2 {
                        return Err(format!("a prune to {} after a single snapshot", word(*to)));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A head that was dropped is not delivered again and again: whoever alternates between two forks is
/// followed a few times.
#[derive(Default)]
pub(super) struct Flapping {
    begins: Begins,
    pass: u64,
    head: Option<BlockRef>,
    /// Heads that prunes dropped, and the passes in which each came back.
    dropped: HashMap<BlockRef, Vec<u64>>,
}

/// Times that one head may come back within a window: with each fork of two, and once more from a source that
/// merely falls behind.
const BACK: usize = 4;

impl Flapping {
    fn delivered(&mut self, block: BlockRef) -> Result<(), String> {
        let Some(back) = self.dropped.get_mut(&block) else { return Ok(()) };
        back.retain(|pass| *pass + FLAPPING_WINDOW > self.pass);
        back.push(self.pass);
        if back.len() > BACK {
            let passes = self.pass - back[0] + 1;
            return Err(format!(
                "{} came back {} times in {passes} passes",
                word(block),
                back.len()
            ));
        }
        Ok(())
    }
}

impl Checker for Flapping {
    fn name(&self) -> &'static str {
        "flapping"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        self.pass += u64::from(self.begins.see(observation));
        match observation {
            // What passes before a restart found is forgotten.
            Observation::Opened { watermarks, .. } => {
                self.dropped.clear();
                self.head = watermarks.head();
            }
            Observation::Committed { changes, watermarks } => {
                for change in changes {
                    match change {
                        Change::Pruned { .. } => {
                            if let Some(head) = self.head {
                                self.dropped.entry(head).or_default();
                            }
                        }
                        Change::Blocks(blocks) => {
                            blocks.iter().try_for_each(|it| self.delivered(it.reference()))?;
                        }
                        Change::Certified(_)
                        | Change::Advanced { .. }
                        | Change::Regressed { .. } => {}
                    }
                }
                self.head = watermarks.head();
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
                        Change::Advanced { .. }
                        | Change::Regressed { .. }
                        | Change::Certified(_)
                        | Change::Blocks(_) => {}
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
