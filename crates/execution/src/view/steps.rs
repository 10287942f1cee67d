//! What a commit asks of the client: which blocks, and where to point at after them.

use crate::{ExecutionError, Forkchoice};
use tidewatch_core::{Block, BlockRef, Change, Tier};

/// One thing to do with the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<B> {
    /// It is to leave what is above.
    Prune(Forkchoice),
    /// Give it these blocks, in order, and point it there after them.
    Give(Vec<B>, Forkchoice),
    /// Point it there.
    Point(Forkchoice),
}

impl<B> Step<B> {
    /// Where the client is after it.
    pub(super) const fn to(&self) -> Forkchoice {
        match self {
            Self::Prune(to) | Self::Give(_, to) | Self::Point(to) => *to,
        }
    }
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
                steps.push(Step::Prune(at));
            }
            Change::Blocks(blocks) => {
                if let Some(last) = blocks.last() {
                    at = at.with_head(last.reference());
                    steps.push(Step::Give(blocks, at));
                }
            }
            // A client asks for no certificate.
            Change::Certified(_) => {}
            Change::Advanced { tier, tip, .. } | Change::Regressed { tier, tip, .. } => {
                match tier {
                    // The head is the last block that was given, and what is proven means nothing to a client.
                    Tier::Proposed | Tier::Proven => continue,
                    Tier::Checkpointed => at.safe = Some(tip.block),
                    Tier::Finalized => at.finalized = Some(tip.block),
                }
                match steps.last_mut() {
                    Some(Step::Give(_, to) | Step::Point(to)) => *to = at,
                    Some(Step::Prune(_)) | None => steps.push(Step::Point(at)),
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
        let gives = |heights: std::ops::RangeInclusive<u64>, to| {
            Step::Give(heights.map(|height| At(height, 1)).collect(), to)
        };
        let table = [
            (vec![], vec![]),
            (vec![up(Proposed, 10)], vec![]),
            (vec![up(Proven, 7)], vec![]),
            (vec![blocks(11..=12)], vec![gives(11..=12, choice(12, 6, 3))]),
            (
                vec![blocks(11..=12), up(Finalized, 5), up(Checkpointed, 8), up(Proposed, 12)],
                vec![gives(11..=12, choice(12, 8, 5))],
            ),
            (vec![up(Finalized, 6), up(Checkpointed, 9)], vec![Step::Point(choice(10, 9, 6))]),
            (vec![back(Checkpointed, 4)], vec![Step::Point(choice(10, 4, 3))]),
            (
                vec![blocks(11..=11), blocks(12..=14)],
                vec![gives(11..=11, choice(11, 6, 3)), gives(12..=14, choice(14, 6, 3))],
            ),
            (vec![pruned(7, Some(6))], vec![Step::Prune(choice(7, 6, 3))]),
            (vec![pruned(3, Some(3))], vec![Step::Prune(choice(3, 3, 3))]),
            (
                vec![pruned(7, Some(5)), up(Checkpointed, 6)],
                vec![Step::Prune(choice(7, 5, 3)), Step::Point(choice(7, 6, 3))],
            ),
            (
                vec![pruned(7, Some(5)), blocks(8..=9), up(Checkpointed, 6)],
                vec![Step::Prune(choice(7, 5, 3)), gives(8..=9, choice(9, 6, 3))],
            ),
        ];
        for (changes, want) in table {
            assert_eq!(steps(from, changes.clone()).unwrap(), want, "{changes:?}");
        }
        let unknown = steps(from, vec![pruned(7, None)]).unwrap();
        assert_eq!(unknown[0].to().safe, None, "a tier that is not known is none");
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
