//! What is proven next, and where.

use super::{Range, SessionId};
use crate::{Class, Failure, Offer, Time, plan};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::Backoff;

/// Something that provers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Job {
    /// The proof of a session, over those of its pieces.
    Root(SessionId),
    /// A piece of a checkpoint, which is named by its instance.
    Piece(u64, Range),
}

#[derive(Debug)]
struct Entry {
    /// The first height: the lowest goes first.
    first: u64,
    not_before: Time,
    backoff: Backoff,
    logical: u32,
    /// At this prover.
    runs: Option<usize>,
    /// Provers that failed it.
    avoid: BTreeSet<usize>,
}

/// The jobs, and the provers.
#[derive(Debug)]
pub(super) struct Work {
    jobs: BTreeMap<Job, Entry>,
    provers: Vec<plan::Prover>,
    limits: plan::Config,
}

impl Work {
    pub(super) fn new(limits: plan::Config, provers: impl IntoIterator<Item = String>) -> Self {
        let provers = provers.into_iter();
        let provers = provers.map(|name| plan::Prover::new(name, 0, &limits)).collect();
        Self { jobs: BTreeMap::new(), provers, limits }
    }

    pub(super) fn advertise(&mut self, prover: usize, offer: Offer) {
        if let Some(prover) = self.provers.get_mut(prover) {
            prover.advertise(offer.slots, offer.deadline);
        }
    }

    /// A job is wanted. One that is there is that one.
    pub(super) fn add(&mut self, job: Job, first: u64) {
        let backoff = Backoff::new(self.limits.backoff, self.limits.backoff_max);
        let (not_before, avoid) = (Time::ZERO, BTreeSet::new());
        let entry = Entry { first, not_before, backoff, logical: 0, runs: None, avoid };
        self.jobs.entry(job).or_insert(entry);
    }

    /// Whether it is wanted.
    pub(super) fn has(&self, job: &Job) -> bool {
        self.jobs.contains_key(job)
    }

    /// Jobs that run.
    pub(super) fn running(&self) -> usize {
        self.jobs.values().filter(|entry| entry.runs.is_some()).count()
    }

    /// Jobs that wait.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.len() - self.running()
    }

    /// The next job to start at `now`, with its prover, whose slot is held from now on. The lowest blocks go first;
    /// of one height the whole before its parts. A prover that failed a job gets it again only if no other may.
    pub(super) fn claim(&mut self, now: Time) -> Option<(Job, usize)> {
        for prover in &mut self.provers {
            prover.probe(now, &self.limits);
        }
        if self.running() >= self.limits.running_max.get() {
            return None;
        }
        let open =
            self.jobs.iter().filter(|(_, entry)| entry.runs.is_none() && entry.not_before <= now);
        let mut open: Vec<(u64, Job)> = open.map(|(job, entry)| (entry.first, *job)).collect();
        open.sort_unstable();
        for (_, job) in open {
            if let Some(prover) = self.choose(&job, now) {
                if let Some(entry) = self.jobs.get_mut(&job) {
                    entry.runs = Some(prover);
                }
                self.provers[prover].used += 1;
                return Some((job, prover));
            }
        }
        None
    }

    fn choose(&self, job: &Job, now: Time) -> Option<usize> {
        let avoid = &self.jobs.get(job)?.avoid;
        let most = |wanted: &dyn Fn(usize) -> bool| {
            let free = self.provers.iter().enumerate();
            free.filter(|(at, prover)| wanted(*at) && prover.free(now) > 0)
                .max_by_key(|(at, prover)| (prover.free(now), usize::MAX - at))
                .map(|(at, _)| at)
        };
        let another = self
            .provers
            .iter()
            .enumerate()
            .any(|(at, prover)| !avoid.contains(&at) && !prover.down && prover.slots > 0);
        most(&|at| !avoid.contains(&at)).or_else(|| if another { None } else { most(&|_| true) })
    }

    /// Gives the slot of `job` back: the one place where that is done.
    fn release(&mut self, job: &Job) -> Option<usize> {
        let prover = self.jobs.get_mut(job)?.runs.take()?;
        self.provers[prover].used -= 1;
        Some(prover)
    }

    /// It is proven, or not wanted any more. `false` if it was not there.
    pub(super) fn remove(&mut self, job: &Job) -> bool {
        if let Some(prover) = self.release(job) {
            self.provers[prover].works();
        }
        self.jobs.remove(job).is_some()
    }

    /// An attempt failed: it is made again after a while. Its logical failures so far; `None` if the job is not
    /// wanted.
    pub(super) fn failed(
        &mut self,
        job: &Job,
        failure: &Failure,
        now: Time,
        rng: &mut impl Rng,
    ) -> Option<u32> {
        let prover = self.release(job)?;
        let known = &mut self.provers[prover];
        match failure {
            Failure::Full => known.full(now, &self.limits, rng),
            Failure::Unavailable(_) | Failure::Silent(_) => known.fails(now, true, rng),
            Failure::Rejected(_) => known.fails(now, false, rng),
            Failure::Lost | Failure::Unprovable(_) => known.works(),
            Failure::TimedOut(_) => {}
        }
        let entry = self.jobs.get_mut(job)?;
        if failure.class() != Class::Flow {
            entry.not_before = now + entry.backoff.fail(rng);
            entry.avoid.insert(prover);
            entry.logical += u32::from(failure.class() == Class::Logical);
        }
        Some(entry.logical)
    }

    /// When [`Work::claim`] may have something new, if nothing else happens.
    pub(super) fn wake(&self, now: Time) -> Option<Time> {
        let open = self.jobs.values().filter(|entry| entry.runs.is_none());
        let blocked = self.provers.iter().filter_map(|prover| prover.blocked(now));
        open.map(|entry| entry.not_before).chain(blocked).filter(|moment| *moment > now).min()
    }

    /// Limits of attempts.
    pub(super) const fn limits(&self) -> &plan::Config {
        &self.limits
    }
}
