//! What is done to the chain while a driver follows it.

use super::{
    exam::{Look, tips_words},
    follow::Followed,
    name,
    stage::Stage,
};
use crate::{
    Runtime,
    report::{Flaw, Report},
};
use tidewatch_core::{Source, Tier, TipSet};

/// Calls of one pass between which the chain moves.
const CALLS_MAX: u64 = 9;

/// A chain grows by this, so that there is something to take away: more than one range of most sources.
const ROOM: u64 = 24;

/// Blocks that stay unfinalized while the chain moves in the middle of passes.
const AHEAD: u64 = 16;

#[derive(Clone, Copy, Debug)]
enum Act {
    Grow(u64),
    Reorg(u64, u64),
    Finalize(u64),
}

/// Acts, and the check that each is for. A depth is cut to what is not final.
const ACTS: [(&str, Act); 12] = [
    (name::GROWTH, Act::Grow(1)),
    (name::GROWTH, Act::Grow(ROOM)),
    (name::FINALITY, Act::Finalize(1)),
    (name::REPLACED, Act::Reorg(1, 1)),
    (name::REORGANISED, Act::Reorg(1, 2)),
    (name::REORGANISED, Act::Reorg(3, 5)),
    (name::SHORTER, Act::Reorg(2, 0)),
    (name::FINALITY, Act::Finalize(4)),
    (name::REORGANISED, Act::Reorg(6, 3)),
    (name::REORGANISED, Act::Reorg(u64::MAX, 8)),
    (name::FINALITY, Act::Finalize(5)),
    (name::GROWTH, Act::Grow(3)),
];

impl Act {
    /// The act on a chain that stands at `tips`; nothing if there is no room for it.
    fn cut(self, tips: &TipSet, start: u64) -> Option<Self> {
        let height = |tier| tips.block(tier).map_or(0, |block| block.height.get());
        let proposed = height(Tier::Proposed);
        let floor = height(Tier::Finalized);
        match self {
            Self::Grow(_) => Some(self),
            Self::Reorg(depth, blocks) => {
                // Not below what is followed either.
                let depth = depth.min(proposed.saturating_sub(floor.max(start)));
                (depth > 0).then_some(Self::Reorg(depth, blocks))
            }
            Self::Finalize(blocks) => {
                let blocks = blocks.min(proposed.saturating_sub(floor));
                (blocks > 0).then_some(Self::Finalize(blocks))
            }
        }
    }

    async fn play(self, stage: &mut impl Stage) -> bool {
        match self {
            Self::Grow(blocks) => stage.grow(blocks).await,
            Self::Reorg(depth, blocks) => stage.reorg(depth, blocks).await,
            Self::Finalize(blocks) => stage.finalize(blocks).await,
        }
    }

    /// Whether a source at `after` shows that it was done to one at `before`.
    fn is_seen(self, still: bool, before: &TipSet, after: &TipSet) -> bool {
        let height = |tips: &TipSet, tier| tips.block(tier).map_or(0, |block| block.height.get());
        let (was, is) = (height(before, Tier::Proposed), height(after, Tier::Proposed));
        match self {
            Self::Grow(blocks) => is >= was + blocks,
            Self::Reorg(depth, blocks) => {
                let other = before.block(Tier::Proposed) != after.block(Tier::Proposed);
                other && (!still || is == was - depth + blocks)
            }
            Self::Finalize(blocks) => {
                height(after, Tier::Finalized) >= height(before, Tier::Finalized) + blocks
            }
        }
    }

    const fn is_forward(self) -> bool {
        matches!(self, Self::Grow(_) | Self::Finalize(_))
    }
}

impl<E: Runtime, S: Source> Followed<'_, E, S> {
    /// Follows the source to its tip, and through every act that `stage` can do.
    pub(super) async fn play(&mut self, stage: &mut impl Stage, report: &mut Report) {
        let arrived = self.settle(|_| true).await;
        report.record(name::FOLLOWED, arrived.map(drop));
        self.watch(report, true).await;
        let mut broken = None;
        for (check, act) in ACTS {
            // What comes after a flaw would only be its consequence.
            if let Some(flaw) = broken {
                report.record(check, Err(Flaw::see(flaw)));
                continue;
            }
            let look = self.act(stage, act).await;
            broken = matches!(look, Err(Flaw::Broken(_))).then_some(check);
            report.record(check, look);
            if broken.is_none() {
                self.watch(report, act.is_forward()).await;
            }
        }
        let look = match broken {
            Some(flaw) => Err(Flaw::see(flaw)),
            None => self.moves_within(stage).await,
        };
        report.record(name::MOVED, look);
        self.watch(report, false).await;
    }

    /// Follows the source's tips through the same acts. Whatever is not followed is one flaw.
    pub(super) async fn play_tips(&mut self, stage: &mut impl Stage, report: &mut Report) -> Look {
        self.settle(|_| true).await?;
        for (_, act) in ACTS {
            match self.act(stage, act).await {
                Err(Flaw::NotShown(_)) => {}
                look => {
                    look?;
                    self.watch(report, act.is_forward()).await;
                }
            }
        }
        match self.moves_within(stage).await {
            Err(Flaw::NotShown(_)) => {}
            look => look?,
        }
        self.watch(report, false).await;
        Ok(())
    }

    async fn act(&mut self, stage: &mut impl Stage, act: Act) -> Look {
        let before = self.exam.snapshot().await?.tips;
        let Some(act) = act.cut(&before, self.start) else {
            return Err(Flaw::not_shown("there are no blocks that could be moved"));
        };
        if !act.play(stage).await {
            return Err(Flaw::not_shown("the stage cannot do that"));
        }
        let still = self.exam.still;
        let seen = self.settle(|after| act.is_seen(still, &before, after)).await;
        seen.map(drop).map_err(|flaw| match flaw {
            Flaw::Broken(detail) => {
                let tips = tips_words(&before);
                Flaw::broken(format_args!("{act:?} of a chain at {tips}: {detail}"))
            }
            other => other,
        })
    }

    /// Moves the chain between any two calls of a pass that has something to do.
    async fn moves_within(&mut self, stage: &mut impl Stage) -> Look {
        let mut shown = false;
        for second in [Act::Grow(2), Act::Reorg(2, 3), Act::Reorg(4, 1)] {
            for nth in 1..=CALLS_MAX {
                if !self.moves_at(stage, nth, second).await? {
                    break; // No pass has so many calls, or nobody here can do that.
                }
                shown = true;
            }
        }
        if shown { Ok(()) } else { Err(Flaw::not_shown("the stage cannot move the chain")) }
    }

    /// Moves the chain before call number `nth` of a pass. False if there was no such call.
    async fn moves_at(&mut self, stage: &mut impl Stage, nth: u64, second: Act) -> Look<bool> {
        // Room to go back, and something for the pass to do. Finality keeps up: how far the tip may run
        // ahead of it is for a source to limit.
        let _ = stage.grow(6).await;
        let tips = self.settle(|_| true).await?.tips;
        let height = |tier| tips.block(tier).map_or(0, |block| block.height.get());
        let ahead = height(Tier::Proposed).saturating_sub(height(Tier::Finalized));
        if ahead > AHEAD {
            let _ = stage.finalize(ahead - AHEAD).await;
        }
        let before = self.settle(|_| true).await?.tips;
        let first = Act::Reorg(1, 2).cut(&before, self.start);
        let (mut moved, mut within) = (false, false);
        let gate = self.exam.source.hold(nth);
        if let Some(first) = first {
            moved = first.play(stage).await;
        }
        moved = moved || stage.grow(2).await;
        let held = self.pass_at(&gate, async { within = second.play(stage).await }).await;
        let detail = |flaw| match flaw {
            Flaw::Broken(detail) => {
                Flaw::broken(format_args!("{second:?} before call {nth} of a pass: {detail}"))
            }
            other => other,
        };
        self.settle(|_| true).await.map_err(detail)?;
        Ok(held && moved && within)
    }
}
