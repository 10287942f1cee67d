//! Where the execution node stands beside a head of the rollup node.

use tidewatch_core::{BlockRef, Digest, Height};

/// A head of the rollup node beside the execution node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The execution node has it, as its highest block.
    Agree,
    /// The execution node has it, and higher ones.
    Behind,
    /// The execution node's chain ends below it.
    Ahead,
    /// The execution node has another block at its height.
    Diverged(Digest),
    /// Nothing can be said: the rollup node knows no such head, or the execution node has no block at
    /// a height below its own tip.
    Unknown,
}

/// Compares by number and hash. `at` is the execution node's block at the height of `head`, `top` the
/// height of its highest one.
pub(super) fn standing(
    head: Option<BlockRef>,
    at: Option<Digest>,
    top: Option<Height>,
) -> Standing {
    let Some(head) = head else { return Standing::Unknown };
    match (at, top) {
        // Whatever was asked after another moment: the block is there.
        (Some(at), top) if at == head.digest => {
            if top.is_some_and(|top| top > head.height) {
                Standing::Behind
            } else {
                Standing::Agree
            }
        }
        (Some(at), _) => Standing::Diverged(at),
        (None, Some(top)) if top < head.height => Standing::Ahead,
        (None, _) => Standing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        use Standing::{Agree, Ahead, Behind, Diverged, Unknown};
        let digest = |fill| Digest([fill; 32]);
        let head = |height| Some(BlockRef::new(Height::new(height), digest(1)));
        let (same, other) = (Some(digest(1)), Some(digest(2)));
        let table = [
            ("the same tip", head(9), same, Some(9), Agree),
            ("the same tip, asked before it came", head(9), same, Some(8), Agree),
            ("the same tip, no highest block", head(9), same, None, Agree),
            ("a block below the tip", head(9), same, Some(12), Behind),
            ("genesis", head(0), same, Some(0), Agree),
            ("genesis below a tip", head(0), same, Some(5), Behind),
            ("not yet there", head(9), None, Some(7), Ahead),
            ("nothing there", head(9), None, Some(0), Ahead),
            ("another tip", head(9), other, Some(9), Diverged(digest(2))),
            ("another block below the tip", head(9), other, Some(12), Diverged(digest(2))),
            ("another genesis", head(0), other, Some(0), Diverged(digest(2))),
            ("a hole", head(9), None, Some(12), Unknown),
            ("no highest block", head(9), None, None, Unknown),
            ("no head", None, same, Some(9), Unknown),
            ("no head, no block", None, None, None, Unknown),
        ];
        for (case, head, at, top, want) in table {
            assert_eq!(standing(head, at, top.map(Height::new)), want, "{case}");
        }
    }
}
