//! Whether two clients contradict each other about one tier.

use tidewatch_core::{BlockRef, Digest};

/// Two blocks of which one chain has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// What the execution node has at that height.
    pub execution: BlockRef,
    /// What the consensus client has there.
    pub consensus: BlockRef,
}

/// What a consensus client's checkpoint is beside the execution node's tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The client has no such checkpoint yet, or it is a block without an execution block.
    Unknown,
    /// Both name one block.
    Same,
    /// The checkpoint is below the tier, on the node's chain: the client is behind, or was not told yet.
    Older,
    /// The checkpoint is above the tier, on the node's chain: the node is behind, or was not told yet. So it is
    /// where the node has no such tier.
    Newer,
    /// The checkpoint is above all that the node has: nothing can be said.
    Beyond,
    /// At most one of them is right.
    Disputed(Dispute),
}

/// Judges the execution node's tip `ours` of a tier beside the consensus client's checkpoint `theirs` for it.
/// `there` is what the execution node's own chain has at the height of `theirs`; `None` above its highest block.
pub(super) fn judge(
    ours: Option<BlockRef>,
    theirs: Option<BlockRef>,
    there: Option<Digest>,
) -> Verdict {
    let Some(theirs) = theirs else { return Verdict::Unknown };
    let same_height = ours.filter(|ours| ours.height == theirs.height);
    let at = there.map(|digest| BlockRef::new(theirs.height, digest));
    // The tier itself first: a node may name a block as safe that its chain has left by now.
    if let Some(execution) = [same_height, at].into_iter().flatten().find(|at| *at != theirs) {
        return Verdict::Disputed(Dispute { execution, consensus: theirs });
    }
    match (ours, at) {
        (Some(ours), _) if ours.height == theirs.height => Verdict::Same,
        (_, None) => Verdict::Beyond,
        (Some(ours), _) if ours.height > theirs.height => Verdict::Older,
        _ => Verdict::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::Height;

    fn at(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fork; 32]))
    }

    #[test]
    fn to_be_older_or_newer_is_no_contradiction_and_another_block_at_a_height_is_one() {
        let (a, b) = (Some(Digest([1; 32])), Some(Digest([2; 32])));
        let dispute = |height, ours, theirs| {
            let (execution, consensus) = (at(height, ours), at(height, theirs));
            Verdict::Disputed(Dispute { execution, consensus })
        };
        let table = [
            ("nothing is justified yet", Some(at(0, 1)), None, None, Verdict::Unknown),
            ("neither knows", None, None, None, Verdict::Unknown),
            ("the same", Some(at(16, 1)), Some(at(16, 1)), a, Verdict::Same),
            ("the same, and not looked up", Some(at(16, 1)), Some(at(16, 1)), None, Verdict::Same),
            ("a client that restarted", Some(at(32, 1)), Some(at(16, 1)), a, Verdict::Older),
            (
                "an epoch that the node was not told of",
                Some(at(16, 1)),
                Some(at(24, 1)),
                a,
                Verdict::Newer,
            ),
            ("a node without the tag", None, Some(at(24, 1)), a, Verdict::Newer),
            ("a node far behind", Some(at(8, 1)), Some(at(24, 1)), None, Verdict::Beyond),
            ("a node far behind, without the tag", None, Some(at(24, 1)), None, Verdict::Beyond),
            ("two blocks", Some(at(16, 1)), Some(at(16, 2)), a, dispute(16, 1, 2)),
            (
                "two blocks, and not looked up",
                Some(at(16, 1)),
                Some(at(16, 2)),
                None,
                dispute(16, 1, 2),
            ),
            (
                "an older one of another chain",
                Some(at(32, 1)),
                Some(at(16, 2)),
                a,
                dispute(16, 1, 2),
            ),
            (
                "a newer one of another chain",
                Some(at(16, 1)),
                Some(at(24, 2)),
                a,
                dispute(24, 1, 2),
            ),
            ("without the tag, of another chain", None, Some(at(24, 2)), a, dispute(24, 1, 2)),
            (
                "a tag that left the node's own chain",
                Some(at(16, 2)),
                Some(at(16, 1)),
                a,
                dispute(16, 2, 1),
            ),
            (
                "the node's chain left the tag of both",
                Some(at(16, 1)),
                Some(at(16, 1)),
                b,
                dispute(16, 2, 1),
            ),
        ];
        for (case, ours, theirs, there, want) in table {
            assert_eq!(judge(ours, theirs, there), want, "{case}");
        }
    }
}
