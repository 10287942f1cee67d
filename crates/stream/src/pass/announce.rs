//! Tiers, from one snapshot, together with the last blocks.

use super::{Ended, Guard, Pass, Report, download::changes};
use crate::{
    Error,
    reconcile::{Direction, Move, Moves, Situation, moves},
};
use tidewatch_core::{
    Block as _, BlockRange, BlockRef, Change, Conflict, Fault, LocalView, Snapshot, Source, Tier,
    TipSet, Watermarks,
};

impl<S, V, G> Pass<'_, S, V, G>
where
    S: Source,
    V: LocalView<Block = S::Block>,
    G: Guard,
{
    /// Moves the tiers, in one commit with `last`, the blocks that lead to the tip.
    pub(super) async fn announce(
        &mut self,
        watermarks: Watermarks,
        baseline: Option<BlockRef>,
        snapshot: &Snapshot,
        last: BlockRange<S::Block>,
    ) -> Result<Report, Fault> {
        let known = self.known(&watermarks, &snapshot.tips, &last.blocks).await?;
        let decided = moves(&Situation {
            ladder: self.source.ladder(),
            watermarks: &watermarks,
            baseline,
            source: &snapshot.tips,
            start: self.mode.lowest(&snapshot.tips),
            known,
        });
        let mut changes = changes(last);
        changes.extend(decided.moves.iter().map(|step| Self::change(step, snapshot)));
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        self.settle(decided, snapshot.clone()).await
    }

    fn change(step: &Move, snapshot: &Snapshot) -> Change<S::Block> {
        let Move { direction, tier, tip } = *step;
        // What is proposed is replaced in a moment: its certificate is not worth a write to the disk.
        let lasts = tier != Tier::Proposed;
        let proof = snapshot.proof(tier, tip.block).filter(|_| lasts).cloned();
        match direction {
            Direction::Up => Change::Advanced { tier, tip, proof },
            Direction::Back => Change::Regressed { tier, tip, proof },
        }
    }

    async fn settle(&mut self, decided: Moves, snapshot: Snapshot) -> Result<Report, Fault> {
        for (tier, block) in decided.withheld {
            self.faults.push(self.fault(Error::Misfit { tier, block }));
        }
        let Some(conflict) = decided.conflict else {
            return Ok(self.report(Ended::Complete, snapshot));
        };
        if self.said_again(conflict).await? {
            self.conflict(conflict).await?;
            return Ok(self.report(Ended::Conflicted, snapshot));
        }
        let Conflict { ours, theirs } = conflict;
        self.faults.push(self.fault(Error::Unconfirmed { ours, tip: theirs }));
        Ok(self.report(Ended::Complete, snapshot))
    }

    /// Whether a second look says the same of finalized. Where this pass has taken its second look already,
    /// that is for the next one.
    async fn said_again(&mut self, conflict: Conflict) -> Result<bool, Fault> {
        if self.cost.tip > 1 {
            return Ok(false);
        }
        let again = self.snapshot().await?;
        Ok(again.tips.block(Tier::Finalized) == Some(conflict.theirs))
    }

    /// The view's own blocks at the heights of the source's tips, where it knows them, with `last`
    /// taken in already. What a view without blocks was told of below finalized was never linked to
    /// that, and nothing replaces it there: it speaks against no tier.
    pub(super) async fn known(
        &self,
        watermarks: &Watermarks,
        tips: &TipSet,
        last: &[S::Block],
    ) -> Result<[Option<BlockRef>; 4], Fault> {
        let start = last.first().map(|block| block.reference().height);
        let mut known = [None; 4];
        let finalized =
            watermarks.tips.block(Tier::Finalized).filter(|_| watermarks.delivered.is_none());
        for tier in Tier::ALL {
            let Some(theirs) =
                tips.block(tier).filter(|tip| watermarks.tips.block(tier) != Some(*tip))
            else {
                continue;
            };
            if finalized.is_some_and(|finalized| theirs.height < finalized.height) {
                continue;
            }
            let within = start.and_then(|start| theirs.height.get().checked_sub(start.get()));
            let ours = match within {
                Some(at) => {
                    usize::try_from(at).ok().and_then(|at| last.get(at)).map(|b| b.reference())
                }
                None => self.locate(&[theirs.height]).await?.first().copied().flatten(),
            };
            known[tier.index()] = ours.filter(|ours| ours.height == theirs.height);
        }
        Ok(known)
    }
}
