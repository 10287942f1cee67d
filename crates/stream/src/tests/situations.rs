//! The rows of the situation tables that are not among the published cases, and sources that fail,
//! contradict themselves or lie.

use super::{
    chain::{Chain, TestBlock},
    follower::{Follower, from},
    source::{Answer, Call, Kind},
};
use crate::{Ended, Mode};
use bytes::Bytes;
use futures::executor::block_on;
use tidewatch_core::{
    Archive as _, Block as _, BlockRef, Conflict, Digest, FaultKind, HEIGHT_LIMIT, Height, Ladder,
    Tier, TierProof, TierProofs, TipSet,
};

const ALL: Mode = Mode::GENESIS;

/// A follower that stands at 9 of chain `a`, with tiers at 9, 8, 6 and 3.
fn at_nine() -> (Chain, Follower) {
    let chain = Chain::new('a', 30);
    let follower = Follower::synced(ALL, &chain, [9, 8, 6, 3]);
    (chain, follower)
}

///
#[test]
fn a_prune_that_failed_is_the_same_prune_again() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 0]);
    follower.source.stand(&chain.fork(10, 'a', 9), [9, 0, 0, 0]);
    follower.view.fail(1, FaultKind::Consumer, 0);
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Consumer), 0));
    assert_eq!(follower.pass().events, ["prune 9a: 1 dropped, 9a - - -", "back proposed 9a"]);
}

/// A view would refuse the block as a fault of our own, and the height after it may not exist.
#[test]
fn a_tip_that_nothing_could_follow_is_refused() {
    let limit = HEIGHT_LIMIT.get();
    let below = BlockRef::new(Height::new(limit - 1), Digest([1; 32]));
    for (height, mode) in [
        (limit, from(limit)),
        (u64::MAX, from(limit)),
        (u64::MAX, from(u64::MAX)),
        (limit, Mode::TipsOnly),
    ] {
        let top = TestBlock::new(height, 'a', below.digest);
        let mut follower = Follower::new(mode, &Chain::new('a', 9), [9, 0, 0, 0]);
        for finalized in [below, top.reference()] {
            let tips = TipSet::unknown()
                .with(Tier::Proposed, top.reference())
                .with(Tier::Finalized, finalized);
            follower.source.answer(Kind::Snapshot, 1, Answer::Tips(tips.into()));
            follower.source.answer(Kind::Blocks, 1, Answer::Blocks(vec![top.clone()]));
            let pass = follower.pass();
            assert_eq!(pass.fault(), Some(FaultKind::WrongPosition), "{height}: {mode:?}");
            assert_eq!((pass.events.len(), pass.calls), (0, vec![Call::Snapshot]));
        }
    }
}

/// A source that moved away from the tip says so itself. One that answers with digests of another chain
/// is found out by the first block that does not stand on the ancestor, and no third snapshot is taken.
#[test]
fn digests_under_a_tip_that_the_source_left_are_refused_by_it_or_found_out_by_the_first_block() {
    let chain = Chain::new('a', 9);
    let (low, high) = (chain.fork(5, 'b', 10), chain.fork(8, 'c', 10));
    let lied = vec!["prune 7a: 2 dropped, 7a - - -".to_owned()];
    for (careless, fault, events, snapshots) in
        [(false, FaultKind::Torn, vec![], 1), (true, FaultKind::NotLinked, lied, 2)]
    {
        let mut follower = Follower::synced(ALL, &chain, [9, 0, 0, 0]);
        follower.source.stand(&low, [10, 0, 0, 0]);
        let is = high.clone();
        follower.source.before(Kind::Digests, 1, move |world| world.stand(&is, [10, 0, 0, 0]));
        if careless {
            follower.source.change(|world| world.careless = true);
            let tips = low.tips([10, 0, 0, 0]);
            follower.source.answer(Kind::Snapshot, 2, Answer::Tips(tips.into()));
            follower.source.answer(Kind::Blocks, 2, Answer::Blocks(low.range(8, 10)));
        }
        let pass = follower.pass();
        assert_eq!((pass.fault(), &pass.events), (Some(fault), &events));
        assert_eq!(pass.count(Kind::Snapshot), snapshots);
        assert_eq!(pass.cost.tip, snapshots as u64);
        follower.settle();
        assert_eq!(follower.stands(), "10c: 10c - - -");
    }
}

/// Whatever a reorg runs into, its pass reads the tips twice: the cost table has no third look.
#[test]
fn no_pass_takes_a_third_snapshot() {
    let chain = Chain::new('a', 30);
    for depth in 1..=9 {
        for length in [-1_i64, 0, 1, 15] {
            for careless in [false, true] {
                for moves in 1..=5 {
                    let mut follower = Follower::synced(ALL, &chain, [20, 0, 0, 0]);
                    let end = 20_u64.saturating_add_signed(length);
                    let fork = chain.fork(21 - depth, 'b', end);
                    let next = fork.fork(20 - depth, 'c', 25);
                    follower.source.stand(&fork, [end, 0, 0, 0]);
                    follower.source.change(|world| world.careless = careless);
                    let calls = std::sync::atomic::AtomicU64::new(0);
                    follower.source.chaos(Some(Box::new(move |world, _| {
                        let nth = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                        if nth == moves + 1 {
                            world.stand(&next, [25, 0, 0, 0]);
                        }
                        None
                    })));
                    for _ in 0..2 {
                        let pass = follower.pass();
                        assert_eq!(pass.cost.tip, pass.count(Kind::Snapshot) as u64);
                        assert!(pass.cost.tip <= 2, "{depth} {length} {careless} {moves}");
                    }
                    follower.settle();
                }
            }
        }
    }
}

/// Also where a commit is in the middle of a download: never more than what the view has.
#[test]
fn the_source_is_notified_of_everything_that_is_durable_and_of_nothing_else() {
    let chain = Chain::new('a', 25);
    let mut follower = Follower::new(ALL, &chain, [25, 0, 0, 7]);
    follower.pass();
    let notified = |follower: &Follower| -> Vec<_> {
        follower.source.durable().iter().map(super::words::watermarks_words).collect()
    };
    let download = ["10a: - - - -", "20a: - - - -", "25a: 25a - - 7a/7"];
    assert_eq!(notified(&follower), download);
    follower.source.stand(&chain.fork(25, 'b', 26), [26, 0, 0, 7]);
    follower.view.fail(1, FaultKind::Consumer, 0);
    follower.pass();
    assert_eq!(notified(&follower), download, "a commit that failed made nothing durable");
    follower.pass();
    assert_eq!(notified(&follower)[3..], ["24a: 24a - - 7a/7", "26b: 26b - - 7a/7"]);
    assert_eq!(follower.source.durable().last(), Some(&follower.view.stands()));
}

///
#[test]
fn what_arrived_before_the_source_moved_away_is_pruned_by_the_next_pass() {
    let chain = Chain::new('a', 20);
    let mut follower = Follower::new(ALL, &chain, [20, 0, 0, 0]);
    let shorter = chain.fork(8, 'a', 7);
    follower.source.after(Kind::Blocks, 1, move |world| world.stand(&shorter, [7, 0, 0, 0]));
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::Missing));
    assert_eq!(pass.events, ["blocks 1a-10a"]);
    assert_eq!(follower.pass().events, ["prune 7a: 3 dropped, - - - -", "proposed 7a"]);
    follower.assert_settled();
}

#[test]
fn the_budgets_of_catching_up_and_of_a_prune_are_kept() {
    for blocks in 1..=41_u64 {
        let mut follower = Follower::new(ALL, &Chain::new('a', blocks), [blocks, 0, 0, 0]);
        assert_eq!(follower.pass().cost.total(), 1 + blocks.div_ceil(10), "{blocks} blocks");
    }
    let (chain, mut follower) = at_nine();
    follower.source.stand(&chain, [10, 8, 6, 3]);
    assert_eq!(follower.pass().cost.total(), 2, "one new block");
    follower.source.stand(&chain.fork(9, 'b', 11), [11, 8, 6, 3]);
    let pass = follower.pass();
    let cost = (pass.cost.tip, pass.cost.reorg, pass.cost.download);
    assert_eq!(cost, (2, 2, 2), "the first range was on the other fork");
}

#[test]
fn a_snapshot_without_a_tip_is_no_answer() {
    let (_, mut follower) = at_nine();
    let before = follower.stands();
    follower.source.change(|world| world.tips = TipSet::unknown());
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::Unavailable));
    assert_eq!((follower.stands(), pass.events.len()), (before, 0));
}

#[test]
fn a_tier_that_the_source_no_longer_knows_stays_where_it_was_announced() {
    let (chain, mut follower) = at_nine();
    follower.source.stand(&chain, [9, 0, 0, 3]);
    let pass = follower.pass();
    assert_eq!((pass.calls.len(), pass.events.len()), (1, 0));
    assert_eq!(follower.stands(), "9a: 9a 8a/8 6a/6 3a/3");
}

#[test]
fn a_tier_that_is_not_known_any_more_comes_down_with_the_one_that_it_cannot_be_above() {
    let (chain, mut follower) = at_nine();
    let mut tips = chain.tips([9, 5, 0, 3]);
    tips.set(Tier::Proven, None);
    follower.source.change(|world| world.tips = tips);
    let pass = follower.pass();
    assert_eq!(pass.events, ["back proven 5a/5", "back checkpointed 5a/5"]);
    assert_eq!((pass.faults(), follower.stands()), (vec![], "9a: 9a 5a/5 5a/5 3a/3".into()));

    // A prune below all of them, to a block inside of a checkpoint: no tier stands higher than the source says.
    let (_, mut follower) = at_nine();
    let fork = chain.fork(6, 'b', 7);
    let mut tips = fork.tips([7, 4, 0, 3]);
    tips.set(Tier::Proven, None);
    follower.source.change(|world| (world.chain, world.tips) = (fork.clone(), tips));
    assert_eq!(follower.pass().events[0], "prune 5a: 4 dropped, 5a 4a/4 4a/4 3a/3");
}

#[test]
fn a_snapshot_that_breaks_its_ladder_is_refused_whole() {
    let (chain, mut follower) = at_nine();
    follower.source.stand(&chain, [12, 5, 6, 3]);
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::LadderBroken));
    assert_eq!((pass.calls, pass.events.len()), (vec![Call::Snapshot], 0));
}

#[test]
fn finalized_behind_ours_is_an_old_answer_and_other_tiers_move_back() {
    let (chain, mut follower) = at_nine();
    follower.source.stand(&chain, [9, 7, 5, 2]);
    assert_eq!(follower.pass().events, ["back proven 5a/5", "back checkpointed 7a/7"]);
    let pass = follower.pass();
    assert_eq!((pass.calls.len(), pass.events.len(), pass.faults().len()), (1, 0, 0));
    assert_eq!(follower.stands(), "9a: 9a 7a/7 5a/5 3a/3");
}

#[test]
fn a_source_whose_tip_is_below_finalized_is_behind_and_nothing_is_dropped() {
    let (chain, mut follower) = at_nine();
    follower.source.stand(&chain, [2, 2, 2, 2]);
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.calls.len()), (Some(FaultKind::Behind), 1));
    follower.source.stand(&chain.fork(2, 'b', 2), [2, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.faults(), [FaultKind::FinalityConflict]);
    assert_eq!(pass.result.unwrap().ended, Ended::Conflicted);
    assert_eq!(follower.stands(), "9a: 9a 8a/8 6a/6 3a/3");
}

#[test]
fn a_finalized_tip_off_the_proposed_chain_is_held_and_the_other_tiers_go_on() {
    let (chain, mut follower) = at_nine();
    let foreign = chain.fork(2, 'b', 9);
    for (finalized, kind) in [(3, FaultKind::FinalityConflict), (5, FaultKind::Torn)] {
        let height = chain.at(9).height.get() + finalized;
        let tips =
            chain.tips([height, 8, 7, 0]).with(Tier::Finalized, foreign.checkpoint(finalized));
        follower.source.change(|world| world.tips = tips);
        let pass = follower.pass();
        assert_eq!(pass.faults(), [kind]);
        assert!(pass.events.contains(&format!("proposed {height}a")), "{:?}", pass.events);
        assert_eq!(follower.view.stands().tips.block(Tier::Finalized), Some(chain.at(3)));
    }
    assert_eq!(follower.view.evidence().len(), 1, "a torn answer contradicts nothing finalized");
}

/// Two certificates that both verify, say: the pass cannot know better, and keeps both sides.
#[test]
fn a_contradiction_that_the_source_proves_by_itself_is_kept_and_drops_nothing() {
    let (chain, mut follower) = at_nine();
    let conflict = Conflict { ours: chain.at(3), theirs: chain.fork(3, 'b', 3).at(3) };
    follower.source.answer(Kind::Snapshot, 1, Answer::Conflict(conflict));
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::FinalityConflict), 0));
    assert_eq!(follower.view.evidence(), [conflict]);
}

#[test]
fn a_tier_off_the_proposed_chain_is_withheld_and_the_others_go_on() {
    let (chain, mut follower) = at_nine();
    let foreign = chain.fork(5, 'b', 9);
    let tips = chain.tips([9, 9, 0, 4]).with(Tier::Proven, foreign.checkpoint(7));
    follower.source.change(|world| world.tips = tips);
    let pass = follower.pass();
    assert_eq!(pass.events, ["checkpointed 9a/9", "finalized 4a/4"]);
    assert_eq!(pass.faults(), [FaultKind::Torn]);
}

#[test]
fn a_prune_never_moves_a_tier_to_a_block_off_the_pruned_chain() {
    let chain = Chain::new('a', 9);
    let foreign = chain.fork(3, 'x', 9);
    for height in 4..=8 {
        let mut follower = Follower::synced(ALL, &chain, [9, 9, 9, 3]);
        let fork = chain.fork(9, 'b', 9);
        let tips = fork.tips([9, 0, 0, 3]).with(Tier::Checkpointed, foreign.checkpoint(height));
        follower.source.change(|world| {
            world.chain = fork.clone();
            world.tips = tips;
        });
        let pass = follower.pass();
        assert_eq!(pass.events[0], "prune 8a: 1 dropped, 8a 8a 8a 3a/3");
        assert_eq!(pass.faults(), [FaultKind::Torn]);
    }
}

#[test]
fn ranges_that_are_not_what_was_asked_for_are_refused_by_kind() {
    let chain = Chain::new('a', 20);
    let other = chain.fork(6, 'b', 20);
    let cases = [
        (Vec::new(), FaultKind::Missing),
        (chain.range(5, 16), FaultKind::Oversized),
        (chain.range(7, 9), FaultKind::WrongPosition),
        (chain.range(5, 6), FaultKind::WrongPosition),
        (chain.range(6, 13), FaultKind::WrongPosition),
        ([chain.range(6, 7), chain.range(9, 9)].concat(), FaultKind::WrongPosition),
        ([chain.range(6, 7), other.range(8, 8)].concat(), FaultKind::NotLinked),
    ];
    for (blocks, kind) in cases {
        let mut follower = Follower::synced(ALL, &chain, [5, 0, 0, 0]);
        follower.source.stand(&chain, [12, 0, 0, 0]);
        follower.source.answer(Kind::Blocks, 1, Answer::Blocks(blocks.clone()));
        let pass = follower.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(kind), 0), "{blocks:?}");
        assert_eq!(follower.pass().events, ["blocks 6a-12a", "proposed 12a"]);
    }
}

#[test]
fn a_short_range_is_accepted_and_the_next_one_starts_after_it() {
    let chain = Chain::new('a', 12);
    let mut follower = Follower::new(ALL, &chain, [12, 0, 0, 0]);
    follower.source.answer(Kind::Blocks, 1, Answer::Blocks(chain.range(1, 3)));
    let pass = follower.pass();
    assert_eq!(pass.events, ["blocks 1a-3a", "blocks 4a-12a", "proposed 12a"]);
    assert_eq!(pass.calls[1..], [Call::Blocks(1, 12), Call::Blocks(4, 12)]);
}

#[test]
fn a_first_block_on_another_genesis_is_the_wrong_chain() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::new(ALL, &chain, [5, 0, 0, 0]);
    follower.source.stand(&Chain::of_network('h', 'a', 5), [5, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::WrongChain), 0));
}

/// One wrong answer about genesis is a lie, whoever tells it: which chain it is, the source says itself.
#[test]
fn a_lie_about_genesis_is_not_another_chain() {
    let chain = Chain::new('a', 5);
    let other = Chain::of_network('h', 'b', 5);
    let fresh = Follower::new(ALL, &chain, [5, 0, 0, 0]);
    fresh.source.answer(Kind::Blocks, 1, Answer::Blocks(other.range(1, 5)));
    let synced = Follower::synced(ALL, &chain, [5, 0, 0, 0]);
    synced.source.change(|world| world.say = Some(other.tips([5, 0, 0, 0])));
    let digests = (0..=5).rev().map(|height| Some(other.at(height).digest)).collect();
    synced.source.answer(Kind::Digests, 1, Answer::Digests(digests));
    for mut follower in [fresh, synced] {
        let pass = follower.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::WrongDigest), 0));
        assert_eq!(pass.calls.last(), Some(&Call::ChainInfo));
        follower.settle();
    }
}

/// Where no delivered block reaches down to genesis, it is looked at before everything is dropped.
#[test]
fn a_view_that_starts_above_genesis_is_not_rebased_onto_another_network() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::synced(from(2), &chain, [5, 0, 0, 0]);
    follower.source.stand(&Chain::of_network('h', 'a', 7), [7, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::WrongChain), 0));
}

/// The reference calls a missing block 0 a genesis mismatch. Here no missing answer is evidence.
#[test]
fn a_source_without_an_answer_for_genesis_is_not_another_network() {
    let chain = Chain::new('a', 3);
    let mut follower = Follower::synced(ALL, &chain, [3, 0, 0, 0]);
    follower.source.stand(&Chain::new('b', 3), [3, 0, 0, 0]);
    let fork = Chain::new('b', 3);
    let digests = [3, 2, 1].map(|height| Some(fork.at(height).digest));
    let digests = digests.into_iter().chain([None]).collect();
    follower.source.answer(Kind::Digests, 1, Answer::Digests(digests));
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Missing), 0));
}

#[test]
fn more_or_fewer_digests_than_asked_for_are_malformed() {
    for n in [0, 3, 11] {
        let (chain, mut follower) = at_nine();
        follower.source.stand(&chain.fork(9, 'b', 9), [9, 8, 6, 3]);
        follower.source.answer(Kind::Digests, 1, Answer::Digests(vec![None; n]));
        let pass = follower.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Malformed), 0));
    }
}

#[test]
fn a_call_that_fails_ends_the_pass_and_the_next_one_makes_up_for_it() {
    let calls = [
        (Kind::Snapshot, 1),
        (Kind::Blocks, 1),
        (Kind::Digests, 1),
        (Kind::Snapshot, 2),
        (Kind::Digests, 2),
        (Kind::Blocks, 2),
        (Kind::Blocks, 3),
    ];
    for (kind, nth) in calls {
        let (chain, mut follower) = at_nine();
        follower.source.stand(&chain.fork(8, 'b', 22), [22, 20, 9, 4]);
        follower.source.answer(kind, nth, Answer::Fault(FaultKind::Unreachable));
        assert_eq!(follower.pass().fault(), Some(FaultKind::Unreachable), "{kind:?} {nth}");
        follower.settle();
        assert_eq!(follower.stands(), "22b: 22b 20b/20 9b/9 4a/4", "{kind:?} {nth}");
    }
}

#[test]
fn whatever_the_second_snapshot_says_counts() {
    let (chain, fresh) = at_nine();
    drop(fresh);
    let fork = chain.fork(8, 'b', 12);
    let shorter = chain.fork(6, 'a', 5);
    let swapped = chain.fork(7, 'c', 7);
    let cases: [(TipSet, Chain, Option<FaultKind>, &str); 7] = [
        (swapped.tips([7, 0, 0, 0]), swapped, Some(FaultKind::Torn), ""),
        (TipSet::unknown(), fork.clone(), Some(FaultKind::Unavailable), ""),
        (fork.tips([12, 5, 6, 0]), fork.clone(), Some(FaultKind::LadderBroken), ""),
        (chain.tips([2, 0, 0, 0]), shorter.clone(), Some(FaultKind::Behind), ""),
        (shorter.tips([5, 4, 4, 3]), shorter, None, "prune 5a: 4 dropped, 5a 4a/4 4a/4 3a/3"),
        (chain.tips([9, 8, 6, 3]), chain.clone(), None, ""),
        (chain.tips([11, 8, 6, 3]), chain, None, "blocks 10a-11a"),
    ];
    for (tips, next, fault, first) in cases {
        let (_, mut follower) = at_nine();
        follower.source.stand(&fork, [12, 8, 6, 3]);
        follower.source.before(Kind::Snapshot, 2, move |world| {
            world.chain = next;
            world.tips = tips;
        });
        let pass = follower.pass();
        assert_eq!(pass.fault(), fault, "{tips:?}");
        assert_eq!(pass.events.first().map_or("", String::as_str), first);
    }
}

#[test]
fn a_proof_goes_with_the_finalized_tip_that_it_proves_and_with_no_other() {
    let chain = Chain::new('a', 9);
    for (proven, kept) in [(6, true), (5, false)] {
        let mut follower = Follower::on(Ladder::Certified, ALL, &chain, [9, 0, 0, 6]);
        let proof = TierProof { block: chain.at(proven), bytes: Bytes::from_static(b"proof") };
        follower.source.change(|world| {
            world.snapshot.proofs = TierProofs::none().with(Tier::Finalized, proof.clone());
        });
        follower.pass();
        let stored = block_on(follower.view.log().proof(Tier::Finalized, chain.at(0))).unwrap();
        assert_eq!(stored, kept.then_some(proof));
    }
}

#[test]
fn on_a_certified_chain_finalized_comes_before_the_tiers_below_it() {
    let chain = Chain::new('a', 20);
    let mut follower = Follower::on(Ladder::Certified, ALL, &chain, [10, 4, 2, 8]);
    let events =
        ["blocks 1a-10a", "proposed 10a", "finalized 8a/8", "checkpointed 4a/4", "proven 2a/2"];
    assert_eq!(follower.pass().events, events);
    follower.source.stand(&chain.fork(9, 'b', 12), [12, 12, 2, 12]);
    let events = [
        "prune 8a: 2 dropped, 8a 4a/4 2a/2 8a/8",
        "blocks 9b-12b",
        "proposed 12b",
        "finalized 12b/12",
        "checkpointed 12b/12",
    ];
    assert_eq!(follower.pass().events, events);
}
