//! What the plan knows of its provers, and which of them gets a job.

use super::{Config, Job, ProverId};
use crate::Time;
use rand::Rng;
use std::time::Duration;
use tidewatch_core::Backoff;

/// A prover, as the plan knows it.
#[derive(Clone, Debug)]
pub struct Prover {
    /// Its name in faults, lists and metrics. The handles that are on disk belong to it.
    pub name: String,
    /// Slots that it last advertised.
    pub slots: usize,
    /// When it gives a job up by itself, if it says so.
    pub deadline: Option<Duration>,
    /// Slots that it turned out to have: the least that it was full at.
    pub limit: usize,
    /// Slots that are held.
    pub used: usize,
    /// The last that was heard of it is that it is not available.
    pub down: bool,
    blocked_until: Time,
    limited_until: Time,
    backoff: Backoff,
}

impl Prover {
    pub(crate) const fn new(name: String, slots: usize, config: &Config) -> Self {
        let backoff = Backoff::new(config.backoff, config.backoff_max);
        let (blocked_until, limited_until) = (Time::ZERO, Time::ZERO);
        Self {
            name,
            slots,
            deadline: None,
            limit: slots,
            used: 0,
            down: false,
            blocked_until,
            limited_until,
            backoff,
        }
    }

    /// When it may be asked again, where that is later than `now`.
    pub(crate) fn blocked(&self, now: Time) -> Option<Time> {
        (self.blocked_until > now).then_some(self.blocked_until)
    }

    pub(crate) fn free(&self, now: Time) -> usize {
        if self.blocked(now).is_some() {
            return 0;
        }
        self.slots.min(self.limit).saturating_sub(self.used)
    }

    /// It advertises `slots`, and when it gives a job up.
    pub(crate) fn advertise(&mut self, slots: usize, deadline: Option<Duration>) {
        self.deadline = deadline;
        if self.limit == self.slots || self.limit > slots {
            self.limit = slots;
        }
        self.slots = slots;
        if slots > 0 {
            self.limit = self.limit.max(1);
        }
    }

    /// It took a job, or brought one to its end.
    pub(crate) const fn works(&mut self) {
        self.down = false;
        self.backoff.succeed();
    }

    /// It is full, although `used` slots are all that are held there.
    pub(crate) fn full(&mut self, now: Time, config: &Config, rng: &mut impl Rng) {
        self.down = false;
        self.limit = self.used.max(1).min(self.slots.max(1));
        self.limited_until = now + config.probe;
        if self.used == 0 {
            // Somebody else holds its slots.
            self.blocked_until = now + self.backoff.fail(rng);
        } else {
            self.backoff.succeed();
        }
    }

    /// Tries one more slot, a while after it was full.
    pub(crate) fn probe(&mut self, now: Time, config: &Config) {
        if self.limit < self.slots && self.limited_until <= now {
            self.limit += 1;
            self.limited_until = now + config.probe;
        }
    }

    /// It is not available, or is not to be believed just now.
    pub(crate) fn fails(&mut self, now: Time, down: bool, rng: &mut impl Rng) {
        self.down = down;
        self.blocked_until = now + self.backoff.fail(rng);
    }
}

/// The prover for the next attempt at `job`: of those with a free slot the one with most of them; none that works on it
/// already, as the same job is the same job there; and none that has failed this block while there is another that may
/// not.
pub(super) fn choose(provers: &[Prover], job: &Job, now: Time) -> Option<ProverId> {
    let all = || provers.iter().enumerate().map(|(at, prover)| (ProverId(at), prover));
    let runs = |id: ProverId| job.leases.iter().any(|lease| lease.prover == id);
    let most = |wanted: &dyn Fn(ProverId) -> bool| {
        let free = all().filter(|(id, prover)| wanted(*id) && !runs(*id) && prover.free(now) > 0);
        free.max_by_key(|(id, prover)| (prover.free(now), usize::MAX - id.0)).map(|(id, _)| id)
    };
    let fresh = most(&|id| !job.avoid.contains(&id));
    if fresh.is_some() {
        return fresh;
    }
    let another =
        all().any(|(id, prover)| !job.avoid.contains(&id) && !prover.down && prover.slots > 0);
    if another { None } else { most(&|_| true) }
}
