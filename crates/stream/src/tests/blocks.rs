//! Cases of a stream of blocks: catching up, restarts, reorgs.

use super::{
    chain::Chain,
    follower::{Follower, SKIP, from},
    source::{Answer, Call, Kind},
};
use crate::{Ended, Mode};
use tidewatch_core::FaultKind;

const ALL: Mode = Mode::GENESIS;

/// BS-1
#[test]
fn a_fresh_view_is_given_every_block_and_then_the_proposed_tip() {
    let mut follower = Follower::new(ALL, &Chain::new('a', 5), [5, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["blocks 1a-5a", "proposed 5a"]);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Blocks(1, 5)]);
}

/// Tidewatch's own: unknown is not genesis. A tier that stands at genesis is announced like any other.
#[test]
fn tiers_at_genesis_are_announced_and_unknown_ones_are_not() {
    let chain = Chain::new('a', 2);
    let mut follower = Follower::new(ALL, &chain, [0; 4]);
    follower.source.change(|world| world.tips = chain.tips_at([Some(0), None, Some(0), Some(0)]));
    let pass = follower.pass();
    assert_eq!(pass.events, ["proposed 0g", "proven 0g/0", "finalized 0g/0"]);
    assert_eq!(pass.calls, [Call::Snapshot]);
    follower.assert_settled();
}

/// BS-2
#[test]
fn what_is_already_here_is_not_read_again() {
    let chain = Chain::new('a', 15);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 0]);
    follower.source.stand(&chain, [15, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["blocks 11a-15a", "proposed 15a"]);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Blocks(11, 15)]);
}

/// BS-5: a view that failed is asked again by the next pass, and nothing is told twice.
#[test]
fn a_view_that_fails_ends_the_pass_and_the_next_one_delivers_everything() {
    let mut follower = Follower::new(ALL, &Chain::new('a', 45), [45, 0, 0, 0]);
    follower.view.fail(1, FaultKind::Consumer, 0);
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::Consumer));
    assert_eq!((pass.events.len(), follower.view.commits()), (0, 1));
    let pass = follower.pass();
    assert_eq!(
        pass.events,
        [
            "blocks 1a-10a",
            "blocks 11a-20a",
            "blocks 21a-30a",
            "blocks 31a-40a",
            "blocks 41a-45a",
            "proposed 45a"
        ]
    );
    assert_eq!(pass.count(Kind::Blocks), 5);
    follower.assert_settled();
}

/// BS-7
#[test]
fn after_its_blocks_every_tier_that_moved_is_announced_from_the_highest() {
    let chain = Chain::new('a', 45);
    let mut follower = Follower::synced(ALL, &chain, [40, 0, 10, 10]);
    follower.source.stand(&chain, [45, 0, 40, 35]);
    let pass = follower.pass();
    let events = ["blocks 41a-45a", "proposed 45a", "proven 40a/40", "finalized 35a/35"];
    assert_eq!(pass.events, events);
}

/// BS-8: no event for each checkpoint in between, and nothing read for them.
#[test]
fn one_thin_event_brings_a_tier_over_many_checkpoints() {
    let mut follower = Follower::new(ALL, &Chain::new('a', 5), [5, 5, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["blocks 1a-5a", "proposed 5a", "checkpointed 5a/5"]);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Blocks(1, 5)]);
}

/// BS-10, BS-37, BS-52
#[test]
fn a_quiet_pass_costs_one_call_and_says_nothing() {
    let mut follower = Follower::synced(ALL, &Chain::new('a', 5), [5, 5, 5, 5]);
    let lookups = follower.view.lookups();
    let pass = follower.pass();
    assert_eq!(pass.result.as_ref().unwrap().ended, Ended::Quiet);
    assert_eq!(pass.calls, [Call::Snapshot]);
    assert_eq!(pass.events, [""; 0]);
    assert_eq!(follower.view.lookups(), lookups, "nothing is looked up in the view either");
}

/// BS-11: the tips that a prune carries are the view's own after it.
#[test]
fn a_reorg_prunes_first_and_the_prune_says_where_all_tiers_stand() {
    let ours = Chain::new('a', 5).fork(4, 'b', 5);
    let mut follower = Follower::synced(ALL, &ours, [5, 3, 0, 0]);
    follower.source.stand(&Chain::new('a', 5), [5, 3, 0, 0]);
    let pass = follower.pass();
    let events = ["prune 3a: 2 dropped, 3a 3a/3 - -", "blocks 4a-5a", "proposed 5a"];
    assert_eq!(pass.events, events);
    let calls = [
        Call::Snapshot,
        Call::Digests(vec![5, 4, 3, 2, 1, 0]),
        Call::Snapshot,
        Call::Digests(vec![3]),
        Call::Blocks(4, 5),
    ];
    assert_eq!(pass.calls, calls);
}

/// BS-13, BS-14
#[test]
fn a_start_height_skips_blocks_but_no_tier() {
    let mut follower = Follower::new(from(33), &Chain::new('a', 35), [35, 30, 25, 10]);
    let pass = follower.pass();
    let events = [
        "blocks 33a-35a",
        "proposed 35a",
        "checkpointed 30a/30",
        "proven 25a/25",
        "finalized 10a/10",
    ];
    assert_eq!(pass.events, events);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Blocks(33, 35)]);
    follower.assert_settled();
}

/// BS-16
#[test]
fn a_shorter_source_of_the_same_chain_is_pruned_to_without_a_search() {
    let chain = Chain::new('a', 7);
    let mut follower = Follower::synced(ALL, &chain, [7, 5, 0, 0]);
    follower.source.stand(&chain.fork(7, 'a', 6), [6, 5, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 6a: 1 dropped, 6a 5a/5 - -", "back proposed 6a"]);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Snapshot]);
    follower.assert_settled();
}

/// BS-17
#[test]
fn a_prune_and_tiers_that_move_up_fit_into_one_pass() {
    let chain = Chain::new('a', 9);
    let mut follower = Follower::synced(ALL, &chain, [9, 9, 6, 3]);
    follower.source.stand(&chain.fork(7, 'a', 6), [6, 6, 6, 6]);
    let pass = follower.pass();
    let events = ["prune 6a: 3 dropped, 6a 6a/6 6a/6 3a/3", "back proposed 6a", "finalized 6a/6"];
    assert_eq!(pass.events, events);
}

/// BS-20, BS-22, BS-25: there is no option to ignore checkpoints. A chain without them has no
/// checkpointed tier, and the others do not need it.
#[test]
fn a_chain_without_checkpoints_never_announces_that_tier() {
    let mut follower = Follower::new(ALL, &Chain::new('a', 9), [6, 0, 0, 0]);
    assert_eq!(follower.pass().events, ["blocks 1a-6a", "proposed 6a"]);
    follower.source.stand(&Chain::new('a', 9), [9, 0, 6, 3]);
    let events = ["blocks 7a-9a", "proposed 9a", "proven 6a/6", "finalized 3a/3"];
    assert_eq!(follower.pass().events, events);
}

/// BS-26: every view has all four tiers, so there is no shape to complain about: one that has not
/// been told of a tier is told.
#[test]
fn a_tier_that_becomes_known_later_is_announced_then() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::synced(ALL, &chain, [5, 0, 0, 0]);
    follower.source.stand(&chain, [5, 5, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["checkpointed 5a/5"]);
    assert_eq!(pass.calls, [Call::Snapshot]);
}

/// BS-23: the finalized block itself is delivered, as the meeting point of both sides.
#[test]
fn what_is_finalized_can_be_skipped_but_for_the_finalized_block() {
    let chain = Chain::new('a', 40);
    let mut follower = Follower::synced(SKIP, &chain, [5, 0, 2, 2]);
    follower.source.stand(&chain, [40, 0, 38, 35]);
    let pass = follower.pass();
    let events = ["blocks 35a-40a", "proposed 40a", "proven 38a/38", "finalized 35a/35"];
    assert_eq!(pass.events, events);
    assert_eq!((pass.count(Kind::Digests), pass.count(Kind::Blocks)), (1, 1));
}

/// BS-34
#[test]
fn a_digest_that_the_view_lost_is_passed_over_never_taken_for_agreement() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 0]);
    follower.view.forget(7);
    follower.source.stand(&chain.fork(4, 'b', 6), [6, 0, 0, 0]);
    let pass = follower.pass();
    let events = ["prune 3a: 7 dropped, 3a - - -", "blocks 4b-6b", "proposed 6b"];
    assert_eq!(pass.events, events);
}

/// The same where the lost digest is that of the ancestor: deeper, never higher.
#[test]
fn a_prune_goes_deeper_where_the_view_lost_the_ancestor() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 0]);
    follower.view.forget(7);
    follower.source.stand(&chain.fork(8, 'b', 12), [12, 0, 0, 0]);
    let pass = follower.pass();
    let events = ["prune 6a: 4 dropped, 6a - - -", "blocks 7a-12b", "proposed 12b"];
    assert_eq!(pass.events, events);
}

/// BS-35: tiers of a snapshot that is stale already are no evidence for agreement.
#[test]
fn stale_tier_tips_do_not_stop_the_search_too_high() {
    let ours = Chain::new('a', 11);
    let theirs = ours.fork(6, 'b', 11);
    let mut follower = Follower::synced(ALL, &ours, [10, 0, 0, 0]);
    follower.source.change(|world| {
        world.stand(&theirs, [6, 0, 0, 0]);
        world.careless = true;
    });
    follower.source.answer(Kind::Snapshot, 1, Answer::Tips(ours.tips([11, 8, 8, 8]).into()));
    let pass = follower.pass();
    let events = ["prune 5a: 5 dropped, 5a - - -", "blocks 6b-6b", "proposed 6b"];
    assert_eq!(pass.events, events);
    follower.assert_settled();
}

/// BS-38: the prune moved proposed already, and the announcement still comes once.
#[test]
fn a_reorg_to_a_longer_chain_announces_the_new_tip_once() {
    let chain = Chain::new('a', 40);
    let mut follower = Follower::synced(ALL, &chain, [40, 0, 0, 0]);
    follower.source.stand(&chain.fork(37, 'b', 45), [45, 0, 0, 0]);
    let pass = follower.pass();
    let events = ["prune 36a: 4 dropped, 36a - - -", "blocks 37b-45b", "proposed 45b"];
    assert_eq!(pass.events, events);
    follower.assert_settled();
}

/// BS-40
#[test]
fn blocks_that_do_not_lead_to_the_tip_move_no_tier() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::new(ALL, &chain, [5, 0, 0, 3]);
    follower.source.change(|world| {
        world.chain = chain.fork(5, 'b', 5);
        world.careless = true;
    });
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::Torn));
    assert_eq!(pass.events, ["blocks 1a-5b"]);
    follower.source.stand(&chain, [5, 0, 0, 3]);
    let events = ["prune 4a: 1 dropped, - - - -", "blocks 5a-5a", "proposed 5a", "finalized 3a/3"];
    assert_eq!(follower.pass().events, events);
}

/// BS-41
#[test]
fn a_start_above_the_source_gives_tiers_and_no_blocks() {
    let chain = Chain::new('a', 41);
    let mut follower = Follower::new(from(40), &chain, [35, 0, 25, 10]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["proposed 35a", "proven 25a/25", "finalized 10a/10"]);
    assert_eq!(pass.calls, [Call::Snapshot]);
    follower.assert_settled();
    follower.source.stand(&chain, [38, 0, 25, 10]);
    assert_eq!(follower.pass().events, ["proposed 38a"]);
    follower.source.stand(&chain, [41, 0, 25, 10]);
    assert_eq!(follower.pass().events, ["blocks 40a-41a", "proposed 41a"]);
    follower.assert_settled();
}

/// A start acts before the first block only. A view that was pruned below it is given everything from
/// there on, because a tier is never announced above what was delivered.
#[test]
fn a_view_that_was_pruned_below_its_start_goes_on_from_the_prune() {
    let chain = Chain::new('a', 21);
    let mut follower = Follower::new(from(20), &chain, [0; 4]);
    follower.source.change(|world| world.tips = chain.tips_at([Some(0), None, None, None]));
    follower.settle();
    follower.source.stand(&chain, [21, 0, 0, 0]);
    assert_eq!(follower.pass().events, ["blocks 20a-21a", "proposed 21a"]);
    follower.source.stand(&Chain::new('b', 2), [2, 0, 0, 0]);
    assert_eq!(follower.pass().events, ["prune 2b: 2 dropped, 2b - - -", "back proposed 2b"]);
    follower.source.stand(&Chain::new('b', 9), [9, 0, 0, 4]);
    let events = ["blocks 3b-9b", "proposed 9b", "finalized 4b/4"];
    assert_eq!(follower.pass().events, events);
    follower.assert_settled();
}

/// The same down to genesis.
#[test]
fn a_view_that_was_pruned_to_genesis_starts_over_from_the_first_block() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::synced(from(1), &chain, [5, 0, 0, 0]);
    follower.mode = from(20);
    follower.source.stand(&Chain::new('b', 4), [4, 0, 0, 0]);
    let events = ["prune 0g: 5 dropped, 0g - - -", "blocks 1b-4b", "proposed 4b"];
    assert_eq!(follower.pass().events, events);
    follower.assert_settled();
}

/// BS-43: what is read before the divergence is known does not count.
#[test]
fn after_a_divergence_only_the_second_snapshot_counts() {
    let chain = Chain::new('a', 5);
    let fork = chain.fork(4, 'b', 8);
    let mut follower = Follower::synced(ALL, &chain, [5, 0, 0, 0]);
    follower.source.stand(&fork, [5, 0, 4, 0]);
    let later = fork;
    follower.source.before(Kind::Snapshot, 2, move |world| world.stand(&later, [8, 0, 6, 0]));
    let pass = follower.pass();
    let events = ["prune 3a: 2 dropped, 3a - - -", "blocks 4b-8b", "proposed 8b", "proven 6b/6"];
    assert_eq!(pass.events, events);
    assert_eq!(pass.count(Kind::Snapshot), 2);
    follower.assert_settled();
}

/// BS-44: Tidewatch prunes to finalized as the reference does, and then halts: nothing is appended to
/// a base that the source contradicts, and every pass says so.
#[test]
fn a_fork_below_finalized_is_pruned_to_finalized_and_no_further() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 5]);
    follower.source.stand(&chain.fork(3, 'b', 8), [8, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 5a: 5 dropped, 5a - - 5a/5"]);
    assert_eq!(pass.result.as_ref().unwrap().ended, Ended::Conflicted);
    assert_eq!(pass.faults(), [FaultKind::FinalityConflict]);
}

/// BS-46
#[test]
fn a_fork_from_the_first_block_is_pruned_to_genesis() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 0]);
    follower.source.stand(&Chain::new('b', 4), [4, 0, 0, 0]);
    let pass = follower.pass();
    let events = ["prune 0g: 10 dropped, 0g - - -", "blocks 1b-4b", "proposed 4b"];
    assert_eq!(pass.events, events);
}

/// BS-47
#[test]
fn events_of_a_pass_come_in_one_fixed_order() {
    let chain = Chain::new('a', 9);
    let mut follower = Follower::synced(ALL, &chain, [9, 9, 6, 3]);
    follower.source.stand(&chain.fork(7, 'b', 12), [12, 12, 10, 8]);
    let pass = follower.pass();
    let events = [
        "prune 6a: 3 dropped, 6a 6a 6a/6 3a/3",
        "blocks 7b-12b",
        "proposed 12b",
        "checkpointed 12b/12",
        "proven 10b/10",
        "finalized 8b/8",
    ];
    assert_eq!(pass.events, events);
    follower.assert_settled();
}
