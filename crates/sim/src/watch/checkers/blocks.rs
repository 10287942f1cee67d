//! Rules about blocks.

use super::{Checker, Observation};
use crate::{truth::Truth, watch::Answer};
use std::collections::BTreeSet;
use tidewatch_core::{Block as _, BlockRef, Change, Digest};
use tidewatch_testkit::{chain::TestBlock, invariants, words::word};

/// Delivered blocks link, replace only pruned blocks, and come from the source.
#[derive(Default)]
pub(super) struct Linked {
    head: Option<BlockRef>,
    seen: BTreeSet<Digest>,
}

impl Linked {
    fn take(&mut self, block: &TestBlock) -> Result<(), String> {
        let at = block.reference();
        if !self.seen.contains(&at.digest) {
            return Err(format!("{} was not returned by the source", word(at)));
        }
        if let Some(below) = self.head {
            invariants::link(below, block)?;
        }
        self.head = Some(at);
        Ok(())
    }
}

impl Checker for Linked {
    fn name(&self) -> &'static str {
        "linked"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Answered { answer: Answer::Blocks(blocks), .. } => {
                self.seen.extend(blocks.iter().map(|block| block.reference().digest));
            }
            Observation::Opened { watermarks, .. } | Observation::WatermarksRead(watermarks) => {
                self.head = watermarks.delivered;
            }
            Observation::Committed { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Blocks(blocks) => {
                            blocks.iter().try_for_each(|block| self.take(block))?;
                            let consecutive = |pair: &[TestBlock]| {
                                pair[0].reference().height.next() == pair[1].reference().height
                            };
                            if !blocks.windows(2).all(consecutive) {
                                return Err("a gap within one batch of blocks".into());
                            }
                        }
                        Change::Pruned { to, .. } => self.head = self.head.map(|_| *to),
                        Change::Certified(_)
                        | Change::Advanced { .. }
                        | Change::Regressed { .. } => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
