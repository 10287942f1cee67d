//! What follows from how an attempt ended.

use super::*;

/// PS-05.
#[test]
fn full_is_flow_control_and_the_slots_in_use_converge_to_what_there_is() {
    let mut world = World::new(wide(), 8, &[8]);
    let claims = world.claims();
    assert_eq!(claims.len(), 8, "it says that it has eight");
    for claim in &claims[1..] {
        world.fail(claim.token, &Failure::Full);
    }
    let mut running = claims[0];
    for height in 1..=8 {
        assert_eq!(world.heights(), [0_u64; 0], "it has one, and that is in use");
        assert_eq!(running.key.height(), height);
        world.pass(3);
        world.prove(&running);
        world.commit();
        if height < 8 {
            running = world.claim().unwrap();
        }
    }
    assert_eq!(world.plan.proven(), key(8, 0).block);
    assert_eq!(world.plan.counters().failures.get("full"), Some(&7));
    assert_eq!(world.plan.counters().poisoned, 0);
}

#[test]
fn a_prover_that_was_full_is_asked_for_one_more_after_a_while() {
    let mut world = World::new(wide(), 40, &[4]);
    let claims = world.claims();
    for claim in &claims[2..] {
        world.fail(claim.token, &Failure::Full);
    }
    assert_eq!(world.plan.provers()[0].limit, 2);
    world.pass(60);
    assert_eq!(world.claims().len(), 1);
    assert_eq!(world.plan.provers()[0].limit, 3);
}

/// PS-07.
#[test]
fn waits_grow_to_the_cap_differ_between_jobs_and_are_never_nothing() {
    let config = Config { ahead_max: NZUsize!(8), ..wide() };
    let mut world = World::new(config, 8, &[8]);
    let mut waits = vec![Vec::new(); 9];
    for _ in 0..8 {
        for claim in world.claims() {
            let verdict = world.fail(claim.token, &Failure::TimedOut(secs(1)));
            let Verdict::Retry(at) = verdict else { panic!("{verdict:?}") };
            waits[claim.key.height() as usize].push(at - world.now);
        }
        world.pass(61);
    }
    let (cap, base) = (secs(60), secs(1));
    for waits in &waits[1..] {
        assert_eq!(waits.len(), 8, "infrastructure never poisons");
        for (nth, wait) in waits.iter().enumerate() {
            let step = (base * 2_u32.pow(nth as u32)).min(cap);
            assert!(*wait > Time::ZERO && *wait <= step && *wait >= step / 2, "{nth}: {wait:?}");
        }
    }
    assert_ne!(waits[1], waits[2]);
}

/// PS-10.
#[test]
fn a_job_whose_worker_dies_is_requeued_for_free() {
    let mut world = World::new(wide(), 1, &[1]);
    for _ in 0..5 {
        let claim = world.claim().unwrap();
        assert!(matches!(world.fail(claim.token, &Failure::Lost), Verdict::Retry(_)));
        world.pass(60);
    }
    assert_eq!(world.plan.job(Height::new(1)).unwrap().logical, 0);
    assert_eq!(world.plan.counters().failures.get("lost"), Some(&5));
    let claim = world.claim().unwrap();
    world.prove(&claim);
    assert_eq!(world.commit(), [1]);
}

/// PS-11.
#[test]
fn a_job_that_times_out_for_ever_is_reported_once_and_retried_at_a_bounded_rate() {
    let mut world = World::new(wide(), 1, &[1]);
    let (mut attempts, mut alerts) = (0, 0);
    for _ in 0..7_200 {
        if let Some(claim) = world.claim() {
            attempts += 1;
            world.fail(claim.token, &Failure::TimedOut(secs(1)));
        }
        alerts += world.plan.stalled(world.now).len();
        world.pass(1);
    }
    assert_eq!(alerts, 1);
    assert!(world.plan.status(world.now).stalled);
    assert!((120..=260).contains(&attempts), "{attempts} in two hours, at most two a minute");
}

/// PS-14.
#[test]
fn a_block_that_one_prover_fails_goes_to_the_other() {
    for failure in [Failure::Unprovable("no".into()), Failure::TimedOut(secs(1)), Failure::Lost] {
        let mut world = World::new(wide(), 1, &[1, 1]);
        let first = world.claim().unwrap();
        world.fail(first.token, &failure);
        world.pass(60);
        let second = world.claim().unwrap();
        assert_ne!(first.prover, second.prover, "{failure}");
    }
}

#[test]
fn a_block_waits_for_the_prover_that_has_not_failed_it_unless_that_is_down() {
    let mut world = World::new(wide(), 2, &[1, 1]);
    let claims = world.claims();
    let [one, two] = claims.as_slice() else { panic!("two slots") };
    world.fail(one.token, &Failure::Unprovable("no".into()));
    world.pass(60);
    assert_eq!(world.heights(), [0_u64; 0], "the other prover is busy");
    world.fail(two.token, &Failure::Unavailable("refused".into()));
    let again = world.claim().unwrap();
    assert_eq!((again.key, again.prover), (one.key, one.prover), "it is better than nobody");
}

#[test]
fn a_prover_that_is_not_available_costs_one_block_at_a_time() {
    let mut world = World::new(wide(), 20, &[8]);
    let mut attempts = 0;
    for _ in 0..600 {
        for claim in world.claims() {
            attempts += 1;
            world.fail(claim.token, &Failure::Unavailable("refused".into()));
        }
        world.pass(1);
    }
    assert!(attempts < 8 + 8 * 30, "{attempts} in ten minutes");
    assert_eq!(world.plan.status(world.now).count(Stage::Poisoned), 0);
}

/// PS-41, PS-43, PS-44.
#[test]
fn a_report_of_an_attempt_that_is_over_changes_nothing() {
    let mut world = World::new(wide(), 1, &[1, 1]);
    let first = world.claim().unwrap();
    world.pass(31);
    let expired = world.plan.expired(world.now);
    assert!(matches!(expired[..], [(_, Failure::Silent(_))]), "{expired:?}");
    world.fail(first.token, &expired[0].1);
    world.pass(10);
    let second = world.claim().unwrap();
    let before = format!("{:?}", world.plan.job(Height::new(1)));
    assert_eq!(world.fail(first.token, &Failure::Unprovable("late".into())), Verdict::Stale);
    assert!(!world.plan.alive(first.token, world.now));
    assert_eq!(format!("{:?}", world.plan.job(Height::new(1))), before);
    // Its proof counts even so.
    assert!(
        matches!(world.prove(&first), Taken::Proved(cancels) if cancels[0].token == second.token)
    );
    for failure in [Failure::Lost, Failure::Full, Failure::Unprovable("no".into())] {
        assert_eq!(world.fail(second.token, &failure), Verdict::Stale);
    }
    assert_eq!(world.prove(&second), Taken::Duplicate);
    let requeued = world.plan.requeue(Height::new(1), world.now);
    assert_eq!(requeued, Err(NoJob::Waits(Height::new(1))));
    assert_eq!(world.stage(1), Some(Stage::Proved));
}

#[test]
fn an_attempt_that_shows_life_ends_at_its_deadline_all_the_same() {
    let mut world = World::new(wide(), 1, &[1]);
    let claim = world.claim().unwrap();
    for _ in 0..59 {
        world.pass(10);
        assert!(world.plan.alive(claim.token, world.now));
        assert_eq!(world.plan.expired(world.now), []);
    }
    world.pass(10);
    let expired = world.plan.expired(world.now);
    assert!(matches!(expired[..], [(_, Failure::TimedOut(_))]), "{expired:?}");
}

#[test]
fn deadlines_nest_or_are_refused_with_both_values() {
    assert_eq!(Config::default().check(), Ok(()));
    let config = Config { lease: secs(700), ..Config::default() };
    let error = config.check().unwrap_err().to_string();
    assert_eq!(error, "the lease of 700s must be shorter than an attempt of 600s");
    let config = Config { backoff: secs(0), ..Config::default() };
    assert!(config.check().is_err());
}

#[test]
fn the_plan_says_when_to_look_again() {
    let mut world = World::new(wide(), 2, &[1]);
    assert_eq!(world.plan.wake(world.now), None, "there is something to claim now");
    let claim = world.claim().unwrap();
    assert_eq!(world.plan.wake(world.now), Some(world.now + secs(30)), "the end of the lease");
    world.fail(claim.token, &Failure::Lost);
    let retry = world.plan.wake(world.now).unwrap();
    assert!(retry > world.now && retry <= world.now + secs(1));
}
