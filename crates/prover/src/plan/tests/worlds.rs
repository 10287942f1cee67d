//! Every order of events in a small world, and long random ones.

use super::*;
use rand::RngExt as _;

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    Claim,
    /// The nth attempt that was ever claimed ends with a proof, whether it is over or not.
    Prove(usize),
    Fail(usize, bool),
    Commit,
    Prune(u64),
    Requeue(u64),
    Wait,
}

/// What an observer saw of it.
#[derive(Clone)]
struct Observed {
    plan: Plan,
    now: Time,
    fork: u8,
    claims: Vec<Claim>,
}

impl Observed {
    fn new(blocks: u64) -> Self {
        let config =
            Config { ahead_max: NZUsize!(2), logical_max: std::num::NonZeroU32::MIN, ..narrow(2) };
        let World { plan, now, .. } = World::new(config, blocks, &[1, 2]);
        Self { plan, now, fork: 0, claims: Vec::new() }
    }

    /// Takes one step; `false` if it is none here. What must hold of each step by itself is checked here.
    fn step(&mut self, step: Step, rng: &mut StdRng) -> bool {
        let (proven, committed) = (self.plan.proven(), self.plan.committed());
        match step {
            Step::Add => {
                let key = key(committed.height.get() + 1, self.fork);
                assert_eq!(self.plan.add(key, stored(1), None, self.now), Ok(Added::New));
            }
            Step::Claim => match self.plan.claim(self.now) {
                Some(claim) => {
                    let state = self.plan.job(claim.key.block.height).unwrap().state.clone();
                    assert_eq!(state, State::Open);
                    assert!(self.claims.iter().all(|before| before.token < claim.token));
                    self.claims.push(claim);
                }
                None => return false,
            },
            Step::Prove(nth) => {
                let Some(claim) = self.claims.get(nth) else { return false };
                let before = self.plan.job(claim.key.block.height).map(|job| job.state.clone());
                let (key, token) = (claim.key, Some(claim.token));
                let taken = self.plan.proved(&key, token, stored(nth as u64 + 1), self.now);
                if let Some(State::Proved(first)) = before {
                    let job = self.plan.job(key.block.height).unwrap();
                    assert_eq!(job.state, State::Proved(first), "the first proof stays");
                    assert!(!matches!(taken, Taken::Proved(_)));
                }
            }
            Step::Fail(nth, logical) => {
                let Some(claim) = self.claims.get(nth) else { return false };
                let failure =
                    if logical { Failure::Unprovable("no".into()) } else { Failure::Lost };
                let held = self.plan.tokens.contains_key(&claim.token);
                let verdict = self.plan.failed(claim.token, &failure, self.now, rng);
                assert_eq!(verdict == Verdict::Stale, !held);
            }
            Step::Commit => match self.plan.commit() {
                Some(job) => assert_eq!(job.key.height(), proven.height.get() + 1),
                None => return false,
            },
            Step::Prune(height) => {
                if height >= committed.height.get() {
                    return false;
                }
                let to = match self.plan.job(Height::new(height)) {
                    Some(job) => job.key.block,
                    None if height == proven.height.get() => proven,
                    None => key(height, 0).block,
                };
                self.fork += 1;
                self.plan.prune(to);
            }
            Step::Requeue(height) => {
                if self.plan.requeue(Height::new(height), self.now).is_err() {
                    return false;
                }
            }
            Step::Wait => self.now += secs(61),
        }
        self.plan.assert();
        let moved = self.plan.proven();
        match step {
            Step::Commit => assert_eq!(moved.height, proven.height.next()),
            Step::Prune(_) => assert!(moved.height <= proven.height),
            _ => assert_eq!(moved, proven),
        }
        true
    }
}

/// PS-43, PS-47: every order of seven events.
#[test]
fn the_invariants_hold_after_every_order_of_events_in_a_small_world() {
    let steps = [
        Step::Claim,
        Step::Prove(0),
        Step::Prove(1),
        Step::Fail(0, true),
        Step::Fail(1, false),
        Step::Commit,
        Step::Prune(1),
        Step::Requeue(1),
        Step::Wait,
        Step::Add,
    ];
    fn explore(world: &Observed, steps: &[Step], depth: usize, seen: &mut usize) {
        if depth == 0 {
            return;
        }
        for step in steps {
            let mut next = world.clone();
            if next.step(*step, &mut StdRng::seed_from_u64(1)) {
                *seen += 1;
                explore(&next, steps, depth - 1, seen);
            }
        }
    }
    let mut seen = 0;
    explore(&Observed::new(2), &steps, 7, &mut seen);
    assert!(seen > 50_000, "{seen} steps");
}

/// PS-47: whatever happens, what was held is free again in the end.
#[test]
fn ten_thousand_random_events_lose_no_slot() {
    for seed in 0..10 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = Observed::new(0);
        for _ in 0..10_000 {
            let claims = world.claims.len();
            let nth = rng.random_range(claims.saturating_sub(6)..=claims);
            let committed = world.plan.committed().height.get();
            let step = match rng.random_range(0..100) {
                0..20 => Step::Add,
                20..50 => Step::Claim,
                50..65 => Step::Prove(nth),
                65..75 => Step::Fail(nth, rng.random_bool(0.2)),
                75..90 => Step::Commit,
                90..92 => Step::Prune(rng.random_range(0..=committed)),
                92..95 => Step::Requeue(world.plan.proven().height.get() + 1),
                _ => Step::Wait,
            };
            world.step(step, &mut rng);
        }
        for nth in 0..world.claims.len() {
            world.step(Step::Fail(nth, false), &mut rng);
        }
        assert!(world.plan.provers().iter().all(|prover| prover.used == 0), "seed {seed}");
    }
}

/// PS-16, PS-19: whatever the order in which proofs come, the tip moves by one.
#[test]
fn a_thousand_random_orders_of_proofs_are_committed_in_order() {
    for seed in 0..1_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(wide(), 12, &[8]);
        let (mut running, mut tips) = (world.claims(), Vec::new());
        while !running.is_empty() {
            let claim = running.swap_remove(rng.random_range(0..running.len()));
            world.prove(&claim);
            tips.extend(world.commit());
            running.extend(world.claims());
        }
        assert!(tips.iter().copied().eq(1..=12), "seed {seed}: {tips:?}");
    }
}

#[test]
fn a_plan_of_a_hundred_thousand_jobs_answers_at_once() {
    let mut world = World::new(wide(), 0, &[8]);
    for height in 1..=100_000 {
        world.plan.add(key(height, 0), stored(1), None, world.now).unwrap();
    }
    // What is counted here is work, not time: neither looks beyond the window.
    let claims: Vec<_> = std::iter::from_fn(|| world.plan.claim(world.now)).collect();
    assert_eq!(claims.len(), 8);
    assert_eq!(world.plan.status(world.now).lag(), 100_000);
}
