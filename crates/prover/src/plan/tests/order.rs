//! What is attempted when, and in which order it is committed.

use super::*;

#[test]
fn attempts_start_at_the_lowest_block_and_fill_the_slots() {
    let mut world = World::new(wide(), 20, &[3]);
    assert_eq!(world.heights(), [1, 2, 3]);
    assert_eq!(world.heights(), [0_u64; 0], "no more than it has slots");
    assert_eq!(world.plan.status(world.now).count(Stage::Running), 3);
}

#[test]
fn no_more_run_than_the_limit_however_many_slots_there_are() {
    let mut world = World::new(narrow(2), 20, &[8, 8]);
    assert_eq!(world.heights(), [1, 2]);
}

#[test]
fn proofs_finish_in_any_order_and_are_committed_in_order() {
    let mut world = World::new(wide(), 4, &[4]);
    let claims = world.claims();
    for (at, committed) in [(3, vec![]), (1, vec![]), (0, vec![1, 2]), (2, vec![3, 4])] {
        world.prove(&claims[at]);
        assert_eq!(world.commit(), committed);
    }
    assert_eq!(world.plan.proven(), key(4, 0).block);
}

#[test]
fn a_retry_of_the_lowest_block_comes_before_blocks_that_never_ran() {
    let mut world = World::new(wide(), 10, &[2]);
    let claims = world.claims();
    world.fail(claims[0].token, &Failure::Lost);
    assert_eq!(world.heights(), [3], "1 backs off, its slot is not idle meanwhile");
    world.prove(&claims[1]);
    world.pass(60);
    assert_eq!(world.heights(), [1]);
}

#[test]
fn the_window_bounds_how_far_attempts_run_ahead() {
    let mut world = World::new(narrow(8), 20, &[8]);
    let claims = world.claims();
    assert_eq!(claims.len(), 4);
    for claim in &claims[1..] {
        world.prove(claim);
    }
    assert_eq!(world.heights(), [0_u64; 0], "5 is outside of the window while 1 is not proven");
    world.prove(&claims[0]);
    world.commit();
    assert_eq!(world.heights(), [5, 6, 7, 8]);
}

#[test]
fn bytes_of_proofs_that_wait_hold_up_all_but_the_lowest_block() {
    let mut world = World::new(Config { ahead_bytes_max: 3_000, ..wide() }, 20, &[2]);
    let claims = world.claims();
    world.prove(&claims[1]);
    let third = world.claims();
    assert_eq!(third[0].key.height(), 3, "1,000 bytes wait, two may come");
    world.prove(&third[0]);
    assert_eq!(world.heights(), [0_u64; 0]);
    world.fail(claims[0].token, &Failure::Lost);
    world.pass(60);
    assert_eq!(world.heights(), [1], "the lowest one always");
}

/// PS-49, PS-59.
#[test]
fn a_block_that_is_added_twice_is_one_job_and_one_attempt() {
    let mut world = World::new(wide(), 1, &[4]);
    assert_eq!(world.plan.add(key(1, 0), stored(5), None, world.now), Ok(Added::Exists));
    assert_eq!(world.heights(), [1]);
    let claim = world.plan.job(Height::new(1)).unwrap().leases()[0].token;
    world.plan.proved(&key(1, 0), Some(claim), stored(1), world.now);
    world.commit();
    assert_eq!(world.plan.add(key(1, 0), stored(5), None, world.now), Ok(Added::Exists));
    let other = world.plan.add(key(1, 1), stored(5), None, world.now);
    assert!(matches!(other, Err(NotAdded::Other { .. })));
    let gap = world.plan.add(key(3, 0), stored(5), None, world.now);
    assert!(matches!(gap, Err(NotAdded::Gap { .. })));
}

#[test]
fn a_prune_cancels_and_forgets_what_is_above_it() {
    let mut world = World::new(wide(), 6, &[4]);
    let claims = world.claims();
    world.plan.submitted(claims[3].token, Handle::new("four").unwrap(), world.now);
    world.prove(&claims[2]);
    let removed = world.plan.prune(key(2, 0).block);
    world.plan.assert();
    assert_eq!(removed.jobs.len(), 4);
    assert!(!removed.regressed);
    let cancels: Vec<_> = removed.cancels.iter().map(|cancel| cancel.handle.clone()).collect();
    assert_eq!(cancels, [Some(Handle::new("four").unwrap())]);
    assert_eq!(world.prove(&claims[3]), Taken::Unwanted, "however late it comes");
    world.prove(&claims[0]);
    world.prove(&claims[1]);
    assert_eq!(world.commit(), [1, 2]);
    let removed = world.plan.prune(key(1, 0).block);
    assert!(removed.regressed);
    assert_eq!(world.plan.proven(), key(1, 0).block);
    let fork = world.plan.add(key(2, 1), stored(1), None, world.now);
    assert_eq!(fork, Ok(Added::New));
    world.plan.assert();
}

#[test]
fn a_block_that_comes_back_with_its_proof_is_not_proven_again() {
    let mut world = World::new(wide(), 2, &[4]);
    world.plan.prune(key(0, 0).block);
    for height in 1..=2 {
        world.plan.add(key(height, 0), stored(1), Some(stored(9)), world.now).unwrap();
    }
    assert_eq!(world.heights(), [0_u64; 0]);
    assert_eq!(world.commit(), [1, 2]);
}

/// A hedge at four times what is typical.
fn hedged() -> Config {
    Config { hedge: std::num::NonZeroU32::new(4), ..Config::default() }
}

/// PS-22.
#[test]
fn a_slow_head_is_hedged_once_and_the_first_proof_wins() {
    let mut world = World::new(hedged(), 12, &[4, 4]);
    for _ in 0..5 {
        let claim = world.claim().unwrap();
        world.pass(10);
        world.prove(&claim);
        world.commit();
    }
    let head = world.claim().unwrap();
    world.pass(39);
    assert_eq!(world.claim().map(|claim| (claim.key.height(), claim.hedge)), Some((7, false)));
    assert!(world.claims().iter().all(|claim| !claim.hedge), "it is not slow yet");
    world.pass(1);
    let [hedge] = world.claims()[..] else { panic!("one at the most") };
    assert!(hedge.hedge && hedge.key == head.key);
    assert_ne!(hedge.prover, head.prover, "at another prover");
    let used: usize = world.plan.provers().iter().map(|prover| prover.used).sum();
    let Taken::Proved(cancels) = world.prove(&hedge) else { panic!("it is proven") };
    assert_eq!(cancels.iter().map(|cancel| cancel.token).collect::<Vec<_>>(), [head.token]);
    let now: usize = world.plan.provers().iter().map(|prover| prover.used).sum();
    assert_eq!(now, used - 2, "both slots are given back once");
    assert_eq!(world.prove(&head), Taken::Duplicate);
}

/// A plan whose head, block 6, is slow: five proofs took ten seconds each, and it has taken 40.
fn slow_head(blocks: u64, slots: &[usize]) -> (World, Claim) {
    let mut world = World::new(hedged(), 5, slots);
    for _ in 0..5 {
        let claim = world.claim().unwrap();
        world.pass(10);
        world.prove(&claim);
        world.commit();
    }
    (6..=blocks).for_each(|height| world.add(height));
    let head = world.claim().unwrap();
    world.pass(40);
    (world, head)
}

/// Of a prover the same job is the same job, however often it is submitted.
#[test]
fn a_prover_that_works_on_the_head_is_not_asked_for_it_again() {
    let (mut world, _) = slow_head(6, &[8]);
    assert_eq!(world.claims(), []);
}

#[test]
fn a_hedge_takes_no_slot_that_a_fresh_block_could_have() {
    let (mut world, head) = slow_head(8, &[2, 1]);
    let fresh: Vec<_> =
        world.claims().iter().map(|claim| (claim.key.height(), claim.hedge)).collect();
    assert_eq!(fresh, [(7, false), (8, false)], "they come first, and then there is no slot");
    let (mut world, again) = slow_head(6, &[2, 1]);
    assert_eq!(head, again);
    let hedge = world.claim().unwrap();
    assert!(hedge.hedge);
    world.add(7);
    assert_eq!(world.plan.preempt(world.now), None, "there is a slot for it");
    let [seventh] = world.claims()[..] else { panic!("one more") };
    assert_eq!((seventh.key.height(), seventh.hedge), (7, false));
    assert_eq!(world.plan.preempt(world.now), None, "nobody waits");
    world.add(8);
    assert_eq!(world.claims(), []);
    let cancel = world.plan.preempt(world.now).unwrap();
    world.plan.assert();
    assert_eq!((cancel.token, cancel.prover), (hedge.token, hedge.prover));
    assert_eq!(world.heights(), [8]);
    assert_eq!(world.plan.preempt(world.now), None, "the first attempt is nobody's to take");
    assert_eq!(world.stage(6), Some(Stage::Running));
}

#[test]
fn a_poisoned_block_does_not_stop_those_above_it_within_the_window() {
    let mut world = World::new(narrow(8), 20, &[8]);
    let claims = world.claims();
    world.fail(claims[0].token, &Failure::Unprovable("no".into()));
    for _ in 0..2 {
        world.pass(120);
        let claim = world.claim().unwrap();
        assert_eq!(claim.key.height(), 1);
        world.fail(claim.token, &Failure::Unprovable("no".into()));
    }
    for claim in &claims[1..] {
        world.prove(claim);
    }
    assert_eq!(world.heights(), [0_u64; 0]);
    let stages: Vec<_> = (1..=5).filter_map(|height| world.stage(height)).collect();
    let proved = Stage::Proved;
    assert_eq!(stages, [Stage::Poisoned, proved, proved, proved, Stage::Pending]);
    assert!(world.plan.status(world.now).stalled);
}

/// PS-25.
#[test]
fn a_requeued_block_is_attempted_at_once_and_the_tip_jumps() {
    let mut world =
        World::new(Config { logical_max: std::num::NonZeroU32::MIN, ..narrow(8) }, 4, &[8]);
    let claims = world.claims();
    let verdict = world.fail(claims[0].token, &Failure::Rejected("not this one".into()));
    assert!(matches!(verdict, Verdict::Poisoned(reason) if reason.contains("not this one")));
    for claim in &claims[1..] {
        world.prove(claim);
    }
    assert_eq!(world.commit(), [0_u64; 0]);
    world.pass(60);
    assert_eq!(world.plan.requeue(Height::new(1), world.now), Ok(key(1, 0)));
    let claim = world.claim().unwrap();
    world.prove(&claim);
    assert_eq!(world.commit(), [1, 2, 3, 4]);
    let refused = world.plan.requeue(Height::new(4), world.now);
    assert_eq!(refused, Err(NoJob::Proven(Height::new(4))));
    assert_eq!(world.plan.requeue(Height::new(9), world.now), Err(NoJob::Unknown(Height::new(9))));
}

#[test]
fn jobs_that_are_taken_over_go_on_where_they_were() {
    let handle = Handle::new("at-the-prover").unwrap();
    let saved = |height, state, handles| Saved {
        key: key(height, 0),
        inputs: stored(100),
        state,
        logical: 1,
        handles,
    };
    let mut plan = Plan::new(wide(), key(0, 0).block);
    let prover = plan.prover("one");
    let resumed = plan
        .restore(
            [
                saved(
                    1,
                    State::Open,
                    vec![("one".into(), handle.clone()), ("gone".into(), handle.clone())],
                ),
                saved(2, State::Proved(stored(8)), vec![]),
                saved(3, State::Poisoned("no".into()), vec![]),
                saved(4, State::Open, vec![]),
            ],
            secs(5),
        )
        .unwrap();
    plan.assert();
    assert_eq!(resumed.len(), 1);
    assert_eq!((resumed[0].0.key, &resumed[0].1), (key(1, 0), &handle));
    plan.advertise(prover, Offer { slots: 4, deadline: None });
    let next = plan.claim(secs(5)).unwrap();
    assert_eq!(next.key.height(), 4);
    assert!(next.token > resumed[0].0.token);
    assert_eq!(plan.status(secs(5)).stages, [0, 2, 1, 1]);
}
