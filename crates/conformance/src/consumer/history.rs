//! Made-up histories: a scripted chain, followed by real passes into a real log.

use crate::told::Told;
use commonware_utils::NZUsize;
use rand::{Rng, RngExt as _};
use tidewatch_core::{EventLog as _, Fault, FaultKind, Ladder, LogError, Record};
use tidewatch_store::{Memory, MemoryReader, MemoryWriter, Retention};
use tidewatch_stream::{Ended, Mode, Pass, Unguarded};
use tidewatch_testkit::chain::TestBlock;

/// Passes that one move of the chain takes, at the most.
const PASSES_MAX: usize = 8;

/// One move of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// So many blocks more.
    Grow(u64),
    /// Checkpointed, proven and finalized move to these heights.
    Tiers([u64; 3]),
    /// The highest so many blocks are gone, and so many others are in their place.
    Reorg(u64, u64),
    /// The same, and checkpointed, proven and finalized are at these heights at once.
    Fall(u64, u64, [u64; 3]),
}

/// Everything that can happen, in a few steps.
pub(super) const TALE: [Step; 14] = [
    Step::Grow(3),
    Step::Tiers([2, 1, 0]),
    Step::Grow(4),
    Step::Tiers([6, 4, 1]),
    // Tiers move back without the chain.
    Step::Tiers([5, 3, 1]),
    // Another tip at the same height, then with one more on top.
    Step::Reorg(1, 1),
    Step::Reorg(1, 2),
    Step::Tiers([8, 6, 3]),
    // Deeper than tiers, so that they are clamped.
    Step::Reorg(4, 6),
    // Nothing in the place of what is gone.
    Step::Reorg(3, 0),
    Step::Grow(15),
    Step::Tiers([20, 15, 4]),
    Step::Reorg(17, 3),
    Step::Tiers([6, 5, 5]),
];

/// A chain, and the log of a view that follows it.
pub(super) struct History {
    told: Told,
    view: MemoryWriter<TestBlock>,
    pub(super) log: MemoryReader<TestBlock>,
}

impl History {
    /// One that has not begun, whose log keeps so much.
    pub(super) fn new(retention: impl Into<Retention>) -> Self {
        let told = Told::new(Ladder::Rollup);
        let (view, log) = Memory::with_retention(told.chain_info(), retention);
        Self { told, view, log }
    }

    /// What comes from here on is on a fork that no tale has.
    pub(super) const fn fork_off(&mut self) {
        self.told.next_fork(13);
    }

    /// Drawn steps: whatever the tale leaves out.
    pub(super) async fn draw(&mut self, rng: &mut impl Rng, steps: usize) -> Result<(), Fault> {
        for _ in 0..steps {
            let step = draw(rng, self.told.heights());
            self.step(step).await?;
        }
        Ok(())
    }

    /// Every step of `steps`.
    pub(super) async fn tell(&mut self, steps: &[Step]) -> Result<(), Fault> {
        for step in steps {
            self.step(*step).await?;
        }
        Ok(())
    }

    /// Moves the chain, and lets the view follow.
    pub(super) async fn step(&mut self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Grow(blocks) => self.told.append(blocks),
            Step::Reorg(depth, blocks) => self.told.replace(depth, blocks),
            Step::Tiers(heights) => self.told.settle(heights),
            Step::Fall(depth, blocks, heights) => {
                self.told.replace(depth, blocks);
                self.told.settle(heights);
            }
        }
        let chain_info = self.told.chain_info();
        for _ in 0..PASSES_MAX {
            let (source, mode) = (&self.told.source, Mode::GENESIS);
            let mut pass = Pass::new(source, &mut self.view, &chain_info, mode, Unguarded, &());
            if pass.run().await?.ended == Ended::Quiet {
                return Ok(());
            }
        }
        let heights = self.told.heights();
        let detail = format!("still not at {heights:?} after {PASSES_MAX} passes");
        Err(FaultKind::Bug.fault("history", detail))
    }

    /// The last event; nothing before the first.
    pub(super) async fn last(&self) -> Option<Record> {
        let mut from = match self.log.read(0, NZUsize!(1)).await {
            Err(LogError::TooOld { oldest, .. }) => oldest,
            _ => 0,
        };
        let mut last = None;
        while let Ok(records) = self.log.read(from, NZUsize!(1024)).await {
            let Some(record) = records.last() else { break };
            from = record.cursor.handled();
            last = Some(record.clone());
        }
        last
    }
}

/// A step of a chain whose tiers are at `heights`.
fn draw(rng: &mut impl Rng, heights: [u64; 4]) -> Step {
    let [proposed, checkpointed, proven, finalized] = heights;
    let room = (proposed - finalized).min(8);
    match rng.random_range(0..6) {
        0 | 1 => Step::Grow(rng.random_range(1..=5)),
        2 => {
            let finalized = rng.random_range(finalized..=proven);
            let proven = rng.random_range(proven..=checkpointed);
            Step::Tiers([rng.random_range(checkpointed..=proposed), proven, finalized])
        }
        3 => {
            let proven = rng.random_range(finalized..=proven);
            Step::Tiers([rng.random_range(proven..=checkpointed), proven, finalized])
        }
        _ if room == 0 => Step::Grow(1),
        _ => {
            let depth = rng.random_range(1..=room);
            // The chain never goes back to nothing but genesis.
            let least = u64::from(proposed == depth);
            Step::Reorg(depth, rng.random_range(least..=depth + 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_utils::NZU64;
    use futures::executor::block_on;
    use rand::{SeedableRng as _, rngs::StdRng};
    use std::collections::BTreeSet;
    use tidewatch_core::{Event, Watermarks};

    #[test]
    fn a_history_has_every_kind_of_event_and_folds_to_where_its_log_stands() {
        for seed in 0..20 {
            block_on(async {
                let mut history = History::new(NZU64!(100_000));
                history.tell(&TALE).await.unwrap();
                history.draw(&mut StdRng::seed_from_u64(seed), 40).await.unwrap();
                let records = history.log.read(0, NZUsize!(1024)).await.unwrap();
                let (mut watermarks, mut kinds) = (Watermarks::none(), BTreeSet::new());
                let mut depths = BTreeSet::new();
                for record in &records {
                    watermarks.apply(&record.event);
                    kinds.insert(match record.event {
                        Event::Blocks { .. } => 'b',
                        Event::Advanced { .. } => 'a',
                        Event::Regressed { .. } => 'r',
                        Event::Pruned { depth, .. } => {
                            depths.insert(depth);
                            'p'
                        }
                    });
                }
                assert_eq!(kinds.len(), 4, "seed {seed}");
                assert!(depths.len() > 3, "seed {seed}: {depths:?}");
                assert_eq!(history.last().await.map(|last| last.watermarks), Some(watermarks));
            });
        }
    }
}
