//! The plan: tables of its rules, and small worlds in which every order of events is tried.

mod failures;
mod order;
mod worlds;

use super::*;
use crate::Failure;
use commonware_utils::NZUsize;
use rand::{SeedableRng as _, rngs::StdRng};
use std::time::Duration;
use tidewatch_core::Digest;

pub(crate) const PROGRAM: Digest = Digest([9; 32]);

pub(crate) fn secs(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

/// Block `height` of the chain `fork`.
pub(crate) fn key(height: u64, fork: u8) -> Key {
    let mut digest = [fork; 32];
    digest[..8].copy_from_slice(&height.to_be_bytes());
    Key::one(BlockRef::new(Height::new(height), Digest(digest)), PROGRAM)
}

pub(super) fn stored(bytes: u64) -> Stored {
    Stored { digest: Digest([7; 32]), bytes }
}

impl Plan {
    /// What holds after every step.
    pub(crate) fn assert(&self) {
        let (proven, committed) = (self.proven.height.get(), self.committed.height.get());
        assert!(proven <= committed, "proven {proven} above committed {committed}");
        assert!(self.jobs.keys().copied().eq(proven + 1..=committed), "a job for each block");
        let leases: Vec<_> = self.jobs.values().flat_map(|job| &job.leases).collect();
        assert_eq!(leases.len(), self.tokens.len(), "a token for each slot that is held");
        assert!(leases.len() <= self.config.running_max.get(), "too many run");
        for (at, prover) in self.provers.iter().enumerate() {
            let held = leases.iter().filter(|lease| lease.prover.0 == at).count();
            assert_eq!(held, prover.used, "slots of {}", prover.name);
        }
        for job in self.jobs.values() {
            assert!(job.leases.len() <= 2, "at most one hedge");
            assert!(
                job.leases.is_empty() || job.state == State::Open,
                "{:?} holds a slot",
                job.state
            );
        }
        for stage in Stage::ALL {
            let count = self.jobs.values().filter(|job| job.stage() == stage).count();
            assert_eq!(count, self.stages[stage as usize], "{}", stage.as_str());
        }
        let inputs: u64 = self.jobs.values().map(|job| job.inputs.bytes).sum();
        assert_eq!(inputs, self.inputs_bytes);
    }
}

/// A plan with a clock of its own.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Time,
    pub(super) rng: StdRng,
}

impl World {
    /// `blocks` blocks above genesis, and a prover for each of `slots`.
    pub(super) fn new(config: Config, blocks: u64, slots: &[usize]) -> Self {
        let mut plan = Plan::new(config, key(0, 0).block);
        for (at, slots) in slots.iter().enumerate() {
            let prover = plan.prover(format!("prover-{at}"));
            plan.advertise(prover, Offer { slots: *slots, deadline: None });
        }
        let mut world = Self { plan, now: secs(1), rng: StdRng::seed_from_u64(7) };
        for height in 1..=blocks {
            world.add(height);
        }
        world
    }

    pub(super) fn add(&mut self, height: u64) {
        let added = self.plan.add(key(height, 0), stored(100), None, self.now);
        assert_eq!(added, Ok(Added::New));
    }

    /// Everything that can be claimed.
    pub(super) fn claims(&mut self) -> Vec<Claim> {
        let claims = std::iter::from_fn(|| self.plan.claim(self.now)).collect();
        self.plan.assert();
        claims
    }

    pub(super) fn claim(&mut self) -> Option<Claim> {
        let claim = self.plan.claim(self.now);
        self.plan.assert();
        claim
    }

    pub(super) fn heights(&mut self) -> Vec<u64> {
        self.claims().iter().map(|claim| claim.key.height()).collect()
    }

    pub(super) fn fail(&mut self, token: Token, failure: &Failure) -> Verdict {
        let verdict = self.plan.failed(token, failure, self.now, &mut self.rng);
        self.plan.assert();
        verdict
    }

    pub(super) fn prove(&mut self, claim: &Claim) -> Taken {
        let taken = self.plan.proved(&claim.key, Some(claim.token), stored(1_000), self.now);
        self.plan.assert();
        taken
    }

    /// Commits everything that is due.
    pub(super) fn commit(&mut self) -> Vec<u64> {
        let committed = std::iter::from_fn(|| self.plan.commit()).map(|job| job.key.height());
        let committed = committed.collect();
        self.plan.assert();
        committed
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now += secs(seconds);
    }

    pub(super) fn stage(&self, height: u64) -> Option<Stage> {
        self.plan.job(Height::new(height)).map(Job::stage)
    }
}

pub(super) fn wide() -> Config {
    Config { hedge: None, ..Config::default() }
}

pub(super) fn narrow(running_max: usize) -> Config {
    let running_max = std::num::NonZeroUsize::new(running_max).unwrap();
    Config { running_max, ahead_max: NZUsize!(4), ..wide() }
}
