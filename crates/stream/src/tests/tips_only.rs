//! Cases of a stream of tiers without blocks: no range is ever read, and the history is sparse.

use super::{
    chain::Chain,
    follower::{Follower, from},
    source::{Answer, Call, Kind},
};
use crate::Mode;
use tidewatch_core::{FaultKind, Ladder};

const TIPS: Mode = Mode::TipsOnly;

/// BS-28
#[test]
fn tiers_are_announced_without_a_block_and_then_there_is_quiet() {
    let mut follower = Follower::new(TIPS, &Chain::new('a', 9), [9, 9, 6, 3]);
    let pass = follower.pass();
    let events = ["proposed 9a", "checkpointed 9a/9", "proven 6a/6", "finalized 3a/3"];
    assert_eq!(pass.events, events);
    assert_eq!(pass.calls, [Call::Snapshot]);
    follower.assert_settled();
}

/// The budget of a tip that moves: one snapshot, and one question whether it is the same chain.
#[test]
fn a_tip_that_moves_up_costs_two_calls() {
    let chain = Chain::new('a', 1000);
    let mut follower = Follower::synced(TIPS, &chain, [10, 0, 0, 0]);
    follower.source.stand(&chain, [1000, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["proposed 1000a"]);
    assert_eq!((pass.count(Kind::Digests), pass.calls.len()), (1, 2));
}

/// BS-29
#[test]
fn a_sparse_view_is_pruned_to_the_highest_anchor_at_or_below_the_fork() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(TIPS, &chain, [5, 0, 0, 0]);
    follower.source.stand(&chain, [10, 0, 0, 0]);
    follower.settle();
    follower.source.stand(&chain.fork(4, 'b', 4), [4, 4, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 0g: 0 dropped, 0g - - -", "proposed 4b", "checkpointed 4b/4"]);
    assert_eq!(pass.count(Kind::Blocks), 0);
    follower.assert_settled();
}

/// BS-31: there is no header to fetch ahead; the tip that is announced is that of the second read.
#[test]
fn the_tip_of_the_second_read_is_announced() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::synced(TIPS, &chain, [5, 0, 0, 0]);
    follower.source.stand(&chain.fork(4, 'b', 4), [4, 0, 0, 0]);
    let last = chain.fork(4, 'c', 4);
    follower.source.before(Kind::Snapshot, 2, move |world| world.stand(&last, [4, 0, 0, 0]));
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 0g: 0 dropped, 0g - - -", "proposed 4c"]);
}

/// BS-32: no header is needed, so none can be missing. What can be missing is a digest: then nothing
/// is concluded, and the next pass asks again.
#[test]
fn nothing_is_announced_while_the_source_cannot_say_which_chain_it_is_on() {
    let chain = Chain::new('a', 9);
    let mut follower = Follower::synced(TIPS, &chain, [5, 0, 0, 0]);
    follower.source.stand(&chain, [9, 9, 6, 3]);
    follower.source.answer(Kind::Digests, 1, Answer::Digests(vec![None, None]));
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Missing), 0));
    let events = ["proposed 9a", "checkpointed 9a/9", "proven 6a/6", "finalized 3a/3"];
    assert_eq!(follower.pass().events, events);
}

/// BS-19: only possible without blocks, where a tier's own tip is all that is known at its height.
/// With blocks, a tip that is not on the delivered chain is never announced in the first place.
#[test]
fn a_tier_whose_digest_was_corrected_is_announced_again() {
    let chain = Chain::new('a', 9);
    let other = chain.fork(6, 'b', 9);
    let mut follower = Follower::new(TIPS, &chain, [9, 0, 0, 3]);
    let wrong = chain.tips([9, 0, 0, 3]).with(tidewatch_core::Tier::Proven, other.checkpoint(6));
    follower.source.answer(Kind::Snapshot, 1, Answer::Tips(wrong.into()));
    assert_eq!(follower.pass().events, ["proposed 9a", "proven 6b/6", "finalized 3a/3"]);
    follower.source.stand(&chain, [9, 0, 6, 3]);
    assert_eq!(follower.pass().events, ["back proven 6a/6"]);
    follower.assert_settled();
}

/// BS-49: what may be forgotten is the store's business; here, that everything a reorg can
/// still need is known.
#[test]
fn anchors_at_finalized_and_above_are_kept() {
    let chain = Chain::new('a', 12);
    let mut follower = Follower::synced(TIPS, &chain, [3, 0, 0, 0]);
    for heights in [[7, 0, 0, 0], [12, 0, 0, 0], [12, 12, 12, 7]] {
        follower.source.stand(&chain, heights);
        follower.settle();
    }
    assert_eq!(follower.stands(), "-: 12a 12a/12 12a/12 7a/7");
    follower.source.stand(&chain.fork(9, 'b', 13), [13, 0, 0, 7]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 7a: 0 dropped, 7a 7a 7a 7a/7", "proposed 13b"]);
}

/// A source that moved between two answers left a wrong anchor, and below finalized nothing replaces it.
#[test]
fn a_wrong_anchor_below_finalized_withholds_no_tier() {
    let old = Chain::new('a', 5);
    let new = old.fork(5, 'b', 9);
    let mut follower = Follower::on(Ladder::Certified, TIPS, &old, [5, 0, 0, 0]);
    follower.settle();
    follower.source.stand(&new, [9, 0, 0, 9]);
    follower.source.change(|world| world.careless = true);
    let is = new.clone();
    follower.source.before(Kind::Digests, 1, move |world| world.chain = old);
    follower.source.after(Kind::Digests, 1, move |world| world.chain = is);
    follower.settle();
    follower.source.stand(&new, [9, 5, 0, 9]);
    follower.settle();
    assert_eq!(follower.stands(), "-: 9b 5b/5 - 9b/9");
}

/// Where the history is sparse, one anchor stands for many heights.
#[test]
fn a_question_names_each_anchor_once() {
    let chain = Chain::new('a', 1_000);
    let mut follower = Follower::synced(TIPS, &chain, [10, 0, 0, 0]);
    for height in [400, 1_000] {
        follower.source.stand(&chain, [height, 0, 0, 0]);
        follower.settle();
    }
    follower.source.stand(&chain.fork(500, 'b', 1_000), [1_000, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 400a: 0 dropped, 400a - - -", "proposed 1000b"]);
    let asked: Vec<_> = pass
        .calls
        .iter()
        .filter_map(|call| match call {
            Call::Digests(heights) => Some(heights.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [vec![1_000, 400, 0], vec![400]]);
}

/// BS-50
#[test]
fn a_source_between_two_anchors_is_pruned_to_the_lower_one() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(TIPS, &chain, [8, 0, 0, 0]);
    follower.source.stand(&chain, [10, 0, 0, 0]);
    follower.settle();
    follower.source.stand(&chain.fork(10, 'a', 9), [9, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 8a: 0 dropped, 8a - - -", "proposed 9a"]);
    follower.assert_settled();
}

/// A view that has blocks stands on them, and no event could take it off them again.
#[test]
fn a_view_that_was_given_blocks_cannot_go_on_without() {
    let chain = Chain::new('a', 9);
    let mut follower = Follower::synced(Mode::GENESIS, &chain, [5, 0, 0, 0]);
    follower.mode = TIPS;
    follower.source.stand(&chain, [9, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::InvalidConfig), 0));
}

/// What was announced without blocks was never linked to anything: blocks can only start above it.
#[test]
fn a_view_of_tips_can_go_on_with_blocks_above_them_only() {
    let chain = Chain::new('a', 25);
    for (mode, given) in [(Mode::GENESIS, false), (from(20), false), (from(21), true)] {
        let mut follower = Follower::synced(TIPS, &chain, [20, 15, 0, 10]);
        follower.mode = mode;
        follower.source.stand(&chain, [25, 15, 0, 10]);
        let pass = follower.pass();
        if given {
            assert_eq!(pass.events, ["blocks 21a-25a", "proposed 25a"]);
            follower.assert_settled();
        } else {
            assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::InvalidConfig), 0));
        }
    }
}
