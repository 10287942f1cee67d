//! The seven ways in which the best existing stream still loses its way: none of them exists here.
//! They are also the extra cases.

use super::{
    chain::Chain,
    follower::{Follower, SKIP, from},
    source::{Answer, Call, Kind},
    words::word,
};
use crate::{Ended, Mode};
use tidewatch_core::{FaultKind, Tier};

const ALL: Mode = Mode::GENESIS;

/// Gap A, X-1: ranges of two forks in one pass.
#[test]
fn gap_a_a_range_of_another_fork_does_not_link_and_is_not_taken_in() {
    let ours = Chain::new('a', 20);
    let theirs = ours.fork(8, 'b', 20);
    let mut follower = Follower::new(ALL, &ours, [20, 0, 0, 0]);
    follower.source.change(|world| world.careless = true);
    let moved = theirs;
    follower.source.after(Kind::Blocks, 1, move |world| world.stand(&moved, [20, 0, 0, 0]));
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::NotLinked));
    assert_eq!(pass.events, ["blocks 1a-10a"]);
    let pass = follower.pass();
    let events =
        ["prune 7a: 3 dropped, - - - -", "blocks 8b-17b", "blocks 18b-20b", "proposed 20b"];
    assert_eq!(pass.events, events);
    follower.assert_settled();
}

/// Gap A where the source keeps to its port: it says that it moved away.
#[test]
fn gap_a_a_source_that_moved_away_ends_the_pass() {
    let ours = Chain::new('a', 20);
    let theirs = ours.fork(8, 'b', 20);
    let mut follower = Follower::new(ALL, &ours, [20, 0, 0, 0]);
    follower.source.after(Kind::Blocks, 1, move |world| world.stand(&theirs, [20, 0, 0, 0]));
    let pass = follower.pass();
    assert_eq!(
        (pass.fault(), pass.events),
        (Some(FaultKind::Missing), vec!["blocks 1a-10a".into()])
    );
    follower.settle();
    assert_eq!(follower.stands(), "20b: 20b - - -");
}

/// Gap B, X-2: a second reorg between the search and the prune.
#[test]
fn gap_b_an_ancestor_that_is_gone_by_the_second_snapshot_is_not_pruned_to() {
    let ours = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &ours, [10, 0, 0, 0]);
    follower.source.stand(&ours.fork(9, 'b', 12), [12, 0, 0, 0]);
    let last = ours.fork(5, 'c', 12);
    follower.source.before(Kind::Snapshot, 2, move |world| world.stand(&last, [12, 0, 0, 0]));
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Torn), 0));
    let pass = follower.pass();
    let events = ["prune 4a: 6 dropped, 4a - - -", "blocks 5c-12c", "proposed 12c"];
    assert_eq!(pass.events, events);
    follower.assert_settled();
}

/// Gap B, one moment later: after the ancestor was checked. A source that keeps to its port has no block
/// of the tip that it left; of one that does not, the first block gives it away.
#[test]
fn gap_b_a_move_after_the_prune_is_found_by_the_first_parent() {
    let ours = Chain::new('a', 10);
    for (careless, fault) in [(false, FaultKind::Missing), (true, FaultKind::NotLinked)] {
        let mut follower = Follower::synced(ALL, &ours, [10, 0, 0, 0]);
        follower.source.change(|world| {
            world.stand(&ours.fork(9, 'b', 12), [12, 0, 0, 0]);
            world.careless = careless;
        });
        let last = ours.fork(5, 'c', 12);
        follower.source.after(Kind::Digests, 2, move |world| world.stand(&last, [12, 0, 0, 0]));
        let pass = follower.pass();
        assert_eq!((pass.fault(), pass.count(Kind::Snapshot)), (Some(fault), 2));
        assert_eq!(pass.events, ["prune 8a: 2 dropped, 8a - - -"]);
        follower.settle();
        assert_eq!(follower.stands(), "12c: 12c - - -");
    }
}

/// Gap C: what was delivered and what was announced are two positions.
#[test]
fn gap_c_an_announcement_that_failed_is_made_again_although_its_blocks_arrived() {
    let chain = Chain::new('a', 5);
    let mut follower = Follower::new(ALL, &chain, [5, 5, 0, 3]);
    follower.view.fail(1, FaultKind::Consumer, 1);
    assert_eq!(follower.pass().events, ["blocks 1a-5a"]);
    follower.view.fail(1, FaultKind::Consumer, 1);
    assert_eq!(follower.pass().events, ["proposed 5a"]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["checkpointed 5a/5", "finalized 3a/3"]);
    assert_eq!(pass.calls, [Call::Snapshot], "the blocks are not read again");
    follower.assert_settled();
}

/// Gap C after a prune that lands on the source's tip. The prune itself announces every tier, so a
/// failure right after it loses nothing: what the view was told is where the source stands.
#[test]
fn gap_c_a_prune_to_the_tip_announces_it_by_itself() {
    let chain = Chain::new('a', 10);
    for mode in [ALL, Mode::TipsOnly] {
        let mut follower = Follower::synced(mode, &chain, [9, 0, 0, 0]);
        follower.source.stand(&chain, [10, 5, 0, 0]);
        follower.settle();
        follower.source.stand(&chain.fork(10, 'a', 9), [9, 4, 0, 0]);
        follower.view.fail(2, FaultKind::Consumer, 0);
        let pass = follower.pass();
        let dropped = u64::from(mode == ALL);
        assert_eq!(pass.events, [format!("prune 9a: {dropped} dropped, 9a 4a/4 - -")]);
        follower.assert_settled();
    }
}

/// Gap D, X-4: the head is the finalized block, and the source is on another chain below it.
#[test]
fn gap_d_nothing_is_appended_to_a_finalized_block_that_the_source_contradicts() {
    let chain = Chain::new('a', 5);
    let theirs = chain.fork(4, 'b', 7);
    let mut follower = Follower::synced(ALL, &chain, [5, 5, 5, 5]);
    follower.source.stand(&theirs, [7, 7, 7, 7]);
    for pass in 1..=3 {
        let outcome = follower.pass();
        assert_eq!(outcome.events, [""; 0]);
        assert_eq!(outcome.faults(), [FaultKind::FinalityConflict]);
        assert_eq!(outcome.result.unwrap().ended, Ended::Conflicted);
        assert_eq!(follower.view.evidence().len(), pass, "said on every pass");
    }
    let conflict = follower.view.evidence()[0];
    assert_eq!((word(conflict.ours), word(conflict.theirs)), ("5a".into(), "5b".into()));
}

/// Gap E, X-5: the fork reaches below finalized. Tiers below finalized stay as well: what the source
/// says of them is of a chain that is not ours.
#[test]
fn gap_e_the_finalized_block_keeps_its_digest_and_every_pass_says_why() {
    let chain = Chain::new('a', 10);
    let theirs = chain.fork(3, 'b', 12);
    let mut follower = Follower::synced(ALL, &chain, [10, 8, 6, 5]);
    follower.source.stand(&theirs, [12, 12, 4, 4]);
    assert_eq!(follower.pass().events, ["prune 5a: 5 dropped, 5a 5a 5a 5a/5"]);
    for _ in 0..3 {
        let pass = follower.pass();
        assert_eq!((pass.events.len(), pass.faults()), (0, vec![FaultKind::FinalityConflict]));
        let again = [Call::Snapshot, Call::Digests(vec![5]), Call::Digests(vec![0])];
        assert_eq!(
            pass.calls[pass.calls.len() - 3..],
            again,
            "what is evidence was looked at twice"
        );
        assert!(pass.calls.len() <= 6, "{:?}", pass.calls);
    }
    let finalized = follower.view.stands().tips.block(Tier::Finalized);
    assert_eq!(finalized, Some(chain.at(5)));
    follower.source.stand(&chain, [10, 8, 6, 5]);
    follower.settle();
    assert_eq!(follower.stands(), "10a: 10a 8a/8 6a/6 5a/5", "the source came to its senses");
}

/// Gap E on a chain whose lower tiers stand below finalized.
#[test]
fn gap_e_tiers_below_finalized_are_not_moved_to_the_other_chain() {
    let chain = Chain::new('a', 10);
    let theirs = chain.fork(2, 'b', 12);
    let mut follower = Follower::on(tidewatch_core::Ladder::Certified, ALL, &chain, [10, 4, 4, 5]);
    follower.settle();
    follower.source.stand(&theirs, [12, 3, 2, 6]);
    assert_eq!(follower.pass().events, ["prune 5a: 5 dropped, 5a 4a/4 4a/4 5a/5"]);
}

/// Gap E: a wholly different network, seen although finalized is above its fork.
#[test]
fn gap_e_another_network_is_refused_whatever_is_finalized() {
    let chain = Chain::new('a', 10);
    let other = Chain::of_network('h', 'b', 12);
    for mode in [ALL, Mode::TipsOnly] {
        for finalized in [0, 1, 7, 10] {
            for tip in [4, 10, 12] {
                let mut follower = Follower::synced(mode, &chain, [10, 0, 0, finalized]);
                follower.source.stand(&other, [tip, 0, 0, 0]);
                let pass = follower.pass();
                let about = format!("{mode:?}: finalized {finalized}, another network's tip {tip}");
                assert_eq!(pass.fault(), Some(FaultKind::WrongChain), "{about}");
                assert_eq!((pass.events.len(), follower.view.evidence().len()), (0, 0), "{about}");
            }
        }
    }
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 5]);
    follower.source.change(|world| {
        world.chain = other.clone();
        world.tips = other.tips_at([Some(0), None, None, None]);
    });
    assert_eq!(follower.pass().fault(), Some(FaultKind::WrongChain));
}

/// Gap F: a source that fell far back on the same chain.
#[test]
fn gap_f_a_source_fifty_blocks_back_costs_two_snapshots() {
    let chain = Chain::new('a', 200);
    let mut follower = Follower::synced(ALL, &chain, [200, 0, 0, 0]);
    follower.source.stand(&chain.fork(151, 'a', 150), [150, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 150a: 50 dropped, 150a - - -", "back proposed 150a"]);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Snapshot]);
}

/// Gap G: blocks were skipped, and the digest that the search wants is not there.
#[test]
fn gap_g_a_view_with_holes_recovers_from_a_reorg_by_itself() {
    let chain = Chain::new('a', 60);
    let mut follower = Follower::synced(SKIP, &chain, [40, 0, 38, 35]);
    follower.view.forget(37);
    follower.source.stand(&chain.fork(38, 'b', 42), [42, 0, 37, 35]);
    let pass = follower.pass();
    let events = [
        "prune 36a: 4 dropped, 36a - 36a 35a/35",
        "blocks 37a-42b",
        "proposed 42b",
        "proven 37a/37",
    ];
    assert_eq!(pass.events, events);
    follower.assert_settled();
}

/// Gap G where the fork is below everything that the view knows: it is rebased onto a block that it
/// never had, and goes on.
#[test]
fn gap_g_a_fork_below_everything_that_the_view_knows_does_not_stall_it() {
    let chain = Chain::new('a', 40);
    for fork in 1..=32 {
        let mut follower = Follower::synced(from(33), &chain, [35, 32, 30, 0]);
        follower.source.stand(&chain.fork(fork, 'b', 36), [36, 34, 29, 0]);
        let pass = follower.pass();
        // Of tiers below the start nothing but their own blocks is known.
        let events = match fork {
            31..=32 => ["prune 30a: 3 dropped, 30a 30a 29a/29 -", "blocks 31"],
            _ => ["prune 29", "blocks 30"],
        };
        assert!(pass.events[0].starts_with(events[0]), "fork at {fork}: {:?}", pass.events);
        assert!(pass.events[1].starts_with(events[1]), "fork at {fork}: {:?}", pass.events);
        follower.assert_settled();
    }
}

/// Gap G: the source fell back below everything that the view knows.
#[test]
fn gap_g_a_source_below_everything_that_the_view_knows_is_pruned_to() {
    let chain = Chain::new('a', 40);
    let mut follower = Follower::synced(from(33), &chain, [35, 0, 0, 0]);
    follower.source.stand(&chain.fork(21, 'a', 20), [20, 0, 0, 0]);
    let pass = follower.pass();
    assert_eq!(pass.events, ["prune 20a: 3 dropped, 20a - - -", "back proposed 20a"]);
    assert_eq!(pass.calls, [Call::Snapshot, Call::Snapshot]);
    follower.assert_settled();
    follower.source.stand(&chain.fork(10, 'b', 22), [22, 0, 0, 0]);
    follower.settle();
    assert_eq!(follower.stands(), "22b: 22b - - -");
}

/// A digest that the source cannot give is not disagreement.
#[test]
fn gap_g_a_digest_missing_at_the_source_prunes_nothing() {
    let chain = Chain::new('a', 10);
    let mut follower = Follower::synced(ALL, &chain, [10, 0, 0, 0]);
    follower.source.stand(&chain.fork(9, 'b', 10), [10, 0, 0, 0]);
    follower.source.answer(Kind::Digests, 1, Answer::Digests(vec![None; 11]));
    let pass = follower.pass();
    assert_eq!((pass.fault(), pass.events.len()), (Some(FaultKind::Missing), 0));
    follower.settle();
    assert_eq!(follower.stands(), "10b: 10b - - -");
}
