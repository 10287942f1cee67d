//! What contradicts finality, tiers that a source no longer knows, and a source that goes to and fro.

use super::{
    chain::Chain,
    follower::Follower,
    source::{Answer, Kind},
    words::word,
};
use crate::{Ended, Forks, Mode};
use tidewatch_core::{Block as _, FaultKind, Ladder, Tier};

const ALL: Mode = Mode::GENESIS;

#[test]
fn a_tier_that_became_unknown_holds_up_nobody() {
    let chain = Chain::new('a', 140);
    for mode in [ALL, Mode::TipsOnly] {
        let mut follower = Follower::synced(mode, &chain, [20, 15, 12, 10]);
        let tips = [Some(140), None, Some(100), Some(80)];
        follower.source.change(|world| world.stand(&chain, [140, 0, 0, 0]));
        follower.source.change(|world| world.tips = chain.tips_at(tips));
        follower.settle();
        // Whatever is proven was checkpointed.
        let delivered = if mode == ALL { "140a" } else { "-" };
        assert_eq!(follower.stands(), format!("{delivered}: 140a 100a/100 100a/100 80a/80"));
        assert_eq!(follower.pass().result.unwrap().ended, Ended::Quiet);
    }
}

/// Without blocks, what was said of a height below finalized is nobody's final block.
#[test]
fn an_older_answer_at_the_height_of_a_tip_that_was_replaced_is_only_old() {
    let old = Chain::new('a', 5);
    let new = old.fork(5, 'b', 9);
    let mut follower = Follower::on(Ladder::Certified, Mode::TipsOnly, &old, [5, 0, 0, 0]);
    follower.settle();
    // The search is answered by a source that has not moved yet, so 5a stays behind as an anchor.
    follower.source.stand(&new, [9, 0, 0, 9]);
    follower.source.change(|world| world.careless = true);
    let (before, after) = (old, new.clone());
    follower.source.before(Kind::Digests, 1, move |world| world.chain = before);
    follower.source.after(Kind::Digests, 1, move |world| world.chain = after);
    follower.settle();
    assert_eq!(follower.stands(), "-: 9b - - 9b/9");
    for tips in [[9, 5, 0, 5], [6, 5, 0, 5], [5, 0, 0, 5]] {
        follower.source.stand(&new, tips);
        let _ = follower.pass();
        assert_eq!(follower.view.evidence(), [], "{tips:?}");
    }
    follower.source.stand(&new, [9, 5, 0, 9]);
    follower.settle();
    assert_eq!(follower.stands(), "-: 9b 5b/5 - 9b/9");
}

/// The snapshot of the same pass agrees with what is final: one of the two answers is wrong.
#[test]
fn one_wrong_answer_for_digests_is_no_evidence_and_drops_nothing() {
    let chain = Chain::new('a', 12);
    let fork = chain.fork(11, 'c', 12);
    let other = chain.fork(3, 'b', 12);
    let mut follower = Follower::synced(ALL, &chain, [11, 8, 6, 5]);
    follower.source.stand(&fork, [12, 8, 6, 5]);
    let lie =
        other.blocks().iter().rev().map(|block| Some(block.reference().digest)).collect::<Vec<_>>();
    follower.source.answer(Kind::Digests, 1, Answer::Digests(lie[1..8].to_vec()));
    let pass = follower.pass();
    assert_eq!((pass.fault(), &pass.events[..]), (Some(FaultKind::Torn), &[][..]));
    assert_eq!(follower.view.evidence(), []);
    follower.settle();
    assert_eq!(follower.stands(), "12c: 12c 8a/8 6a/6 5a/5");
}

#[test]
fn a_finalized_tip_that_contradicts_ours_in_one_snapshot_alone_is_no_evidence() {
    let chain = Chain::new('a', 9);
    let other = chain.fork(3, 'b', 9);
    let mut follower = Follower::synced(ALL, &chain, [9, 8, 6, 5]);
    let wrong = chain.tips([9, 8, 6, 0]).with(Tier::Finalized, other.at(5));
    follower.source.answer(Kind::Snapshot, 1, Answer::Tips(wrong.into()));
    let pass = follower.pass();
    assert_eq!(pass.faults(), [FaultKind::Torn]);
    assert_eq!((pass.events.len(), follower.view.evidence().len()), (0, 0));
    follower.source.change(|world| world.tips = wrong);
    let pass = follower.pass();
    assert_eq!(pass.faults(), [FaultKind::FinalityConflict]);
    let evidence = follower.view.evidence()[0];
    assert_eq!((word(evidence.ours), word(evidence.theirs)), ("5a".into(), "5b".into()));
}

#[test]
fn a_tip_below_finalized_that_contradicts_once_is_no_evidence() {
    let chain = Chain::new('a', 9);
    let other = chain.fork(3, 'b', 4);
    let mut follower = Follower::synced(ALL, &chain, [9, 8, 6, 5]);
    let lie = other.tips([4, 0, 0, 0]);
    follower.source.answer(Kind::Snapshot, 1, Answer::Tips(lie.into()));
    let pass = follower.pass();
    assert_eq!(pass.fault(), Some(FaultKind::Torn));
    assert_eq!(follower.view.evidence(), []);
}

/// A pass over a source that stands on `chain`, and what it told.
fn pass(follower: &mut Follower, forks: &mut Forks, chain: &Chain) -> (Option<FaultKind>, usize) {
    follower.source.stand(chain, [chain.tip(), 0, 0, 0]);
    let pass = follower.pass_remembering(forks);
    (pass.fault(), pass.events.len())
}

#[test]
fn a_source_that_goes_to_and_fro_is_not_followed_for_ever() {
    let one = Chain::new('a', 20);
    for mode in [ALL, Mode::TipsOnly] {
        for (mine, growth) in [(one.clone(), 0), (one.clone(), 1)] {
            let other = mine.fork(18, 'b', 21);
            let mut follower = Follower::synced(mode, &mine, [20, 0, 0, 0]);
            let mut forks = Forks::default();
            let (mut told, mut refused) = (0, 0);
            for n in 0..100 {
                let side = if n % 2 == 0 { &other } else { &mine };
                let longer = side.fork(side.tip() + 1, 'a', side.tip() + growth * n);
                let (fault, events) = pass(&mut follower, &mut forks, &longer);
                assert!(fault.is_none_or(|kind| kind == FaultKind::Flapping), "{fault:?}");
                told += events;
                refused += usize::from(fault.is_some());
            }
            // The side that it stays on may grow.
            let grown = if growth > 0 { 2 * 50 } else { 0 };
            let about = format!("{mode:?}, growth {growth}: {told} events, {refused} refused");
            assert!(told <= 16 + grown && refused >= 45, "{about}");
        }
    }
}

#[test]
fn a_second_look_that_stands_on_our_head_drops_nothing() {
    let chain = Chain::new('a', 12);
    let fork = chain.fork(8, 'b', 10);
    for (mode, top) in [(ALL, 10), (ALL, 12), (Mode::TipsOnly, 10), (Mode::TipsOnly, 12)] {
        let mut follower = Follower::synced(mode, &chain, [10, 0, 0, 0]);
        follower.source.stand(&fork, [10, 0, 0, 0]);
        let back = chain.clone();
        follower.source.before(Kind::Snapshot, 2, move |world| world.stand(&back, [top, 0, 0, 0]));
        let pass = follower.pass();
        assert_eq!(pass.fault(), None);
        assert!(pass.events.iter().all(|event| !event.starts_with("prune")), "{:?}", pass.events);
    }
}

/// Behind one address are nodes at different heights: each time the lower one answers is a prune, and the same
/// blocks again.
#[test]
fn a_source_that_falls_behind_again_and_again_is_not_followed_for_ever() {
    let chain = Chain::new('a', 40);
    let mut follower = Follower::synced(ALL, &chain, [20, 0, 0, 0]);
    let mut forks = Forks::default();
    let (mut told, mut refused) = (0, 0);
    for n in 0..100 {
        let top = if n % 2 == 0 { 15 } else { 20 + n / 20 };
        let (fault, events) = pass(&mut follower, &mut forks, &chain.fork(top + 1, 'a', top));
        assert!(fault.is_none_or(|kind| kind == FaultKind::Flapping), "{fault:?}");
        told += events;
        refused += usize::from(fault.is_some());
    }
    assert!(told <= 32 && refused >= 45, "{told} events, {refused} refused");
}
