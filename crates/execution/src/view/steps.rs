//! What a commit asks of the client: which blocks, and where to point at after them.

use crate::{ExecutionError, Forkchoice};
use tidewatch_core::{Block, BlockRef, Change, Tier};

/// One thing to ask of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step<B> {
    /// Blocks to give, in order; none where it is only pointed.
    pub(super) blocks: Vec<B>,
    /// Where to point at after them.
    pub(super) to: Forkchoice,
}

/// The steps of `changes`, for a client that stands at `from`. Tiers move together with the blocks before them, in
/// one forkchoice.
///
/// # Errors
///
/// A prune below what is final, or beside it.
pub(super) fn steps<B: Block>(
    from: Forkchoice,
    changes: Vec<Change<B>>,
) -> Result<Vec<Step<B>>, ExecutionError> {
    let mut steps: Vec<Step<B>> = Vec::new();
    let mut at = from;
    for change in changes {
        match change {
            Change::Pruned { to, tips } => {
                if let Some(finalized) = at.finalized.filter(|it| !is_above_or_at(to, *it)) {
                    return Err(ExecutionError::BelowFinalized { to, finalized });
                }
                at = Forkchoice { safe: tips.block(Tier::Checkpointed), ..at.with_head(to) };
                steps.push(Step { blocks: Vec::new(), to: at });
            }
            Change::Blocks(blocks) => {
                if let Some(last) = blocks.last() {
                    at = at.with_head(last.reference());
                    steps.push(Step { blocks, to: at });
                }
            }
            Change::Advanced { tier, tip, .. } | Change::Regressed { tier, tip, .. } => {
                match tier {
                    // The head is the last block that was given, and what is proven means nothing to a client.
                    Tier::Proposed | Tier::Proven => continue,
                    Tier::Checkpointed => at.safe = Some(tip.block),
                    Tier::Finalized => at.finalized = Some(tip.block),
                }
                match steps.last_mut() {
                    Some(last) => last.to = at,
                    None => steps.push(Step { blocks: Vec::new(), to: at }),
                }
            }
        }
    }
    Ok(steps)
}

fn is_above_or_at(block: BlockRef, finalized: BlockRef) -> bool {
    block.height > finalized.height || block == finalized
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::{Digest, Height, TipSet};

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct At(u64, u8);

    impl Block for At {
        fn reference(&self) -> BlockRef {
            block(self.0, self.1)
        }

        fn parent(&self) -> Digest {
            Digest([self.1; 32])
        }
    }

    const fn block(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fork; 32]))
    }

    fn choice(head: u64, safe: u64, finalized: u64) -> Forkchoice {
        let at = |height| block(height, 1);
        Forkchoice { head: at(head), safe: Some(at(safe)), finalized: Some(at(finalized)) }
    }

    fn up(tier: Tier, height: u64) -> Change<At> {
        Change::Advanced { tier, tip: block(height, 1).into(), proof: None }
    }

    fn back(tier: Tier, height: u64) -> Change<At> {
        Change::Regressed { tier, tip: block(height, 1).into(), proof: None }
    }

    fn pruned(to: u64, safe: Option<u64>) -> Change<At> {
        let mut tips = TipSet::unknown().with(Tier::Proposed, block(to, 1));
        tips.set(Tier::Checkpointed, safe.map(|height| block(height, 1).into()));
        Change::Pruned { to: block(to, 1), tips }
    }

    fn blocks(heights: std::ops::RangeInclusive<u64>) -> Change<At> {
        Change::Blocks(heights.map(|height| At(height, 1)).collect())
    }

    #[test]
    fn blocks_and_the_tiers_after_them_are_one_forkchoice() {
        use Tier::{Checkpointed, Finalized, Proposed, Proven};
        let from = choice(10, 6, 3);
        let none: Vec<(u64, Forkchoice)> = Vec::new();
        let table = [
            (vec![], none.clone()),
            (vec![up(Proposed, 10)], none.clone()),
            (vec![up(Proven, 7)], none),
            (vec![blocks(11..=12)], vec![(2, choice(12, 6, 3))]),
            (
                vec![blocks(11..=12), up(Finalized, 5), up(Checkpointed, 8), up(Proposed, 12)],
                vec![(2, choice(12, 8, 5))],
            ),
            (vec![up(Finalized, 6), up(Checkpointed, 9)], vec![(0, choice(10, 9, 6))]),
            (vec![back(Checkpointed, 4)], vec![(0, choice(10, 4, 3))]),
            (
                vec![blocks(11..=11), blocks(12..=14)],
                vec![(1, choice(11, 6, 3)), (3, choice(14, 6, 3))],
            ),
            (vec![pruned(7, Some(6))], vec![(0, choice(7, 6, 3))]),
            (vec![pruned(3, Some(3))], vec![(0, choice(3, 3, 3))]),
            (
                vec![pruned(7, Some(5)), blocks(8..=9), up(Checkpointed, 6)],
                vec![(0, choice(7, 5, 3)), (2, choice(9, 6, 3))],
            ),
        ];
        for (changes, want) in table {
            let steps = steps(from, changes.clone()).unwrap();
            let got: Vec<_> =
                steps.iter().map(|step| (step.blocks.len() as u64, step.to)).collect();
            assert_eq!(got, want, "{changes:?}");
        }
        let unknown = steps(from, vec![pruned(7, None)]).unwrap();
        assert_eq!(unknown[0].to.safe, None, "a tier that is not known is none");
    }

    #[test]
    fn nothing_is_pruned_below_what_is_final_or_beside_it() {
        let from = choice(10, 6, 3);
        let beside = Change::Pruned { to: block(3, 2), tips: TipSet::unknown() };
        for change in [pruned(2, None), pruned(0, None), beside] {
            let error = steps(from, vec![change]).unwrap_err();
            assert!(matches!(error, ExecutionError::BelowFinalized { .. }), "{error}");
        }
        let nothing = Forkchoice { safe: None, finalized: None, ..from };
        assert!(steps(nothing, vec![pruned(0, None)]).is_ok());
    }
}
