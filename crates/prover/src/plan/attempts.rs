//! Attempts: who starts, and what follows when one ends.

use super::{Job, Lease, Plan, ProverId, State, TIMES_MAX, Token, provers::choose};
use crate::{Class, Failure, Handle, Key, Stored, Time};
use rand::Rng;

/// An attempt to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The attempt.
    pub token: Token,
    /// The block.
    pub key: Key,
    /// Where.
    pub prover: ProverId,
    /// Whether another attempt at that block runs already.
    pub hedge: bool,
}

/// An attempt to cancel. Its slot is given back already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The attempt.
    pub token: Token,
    /// Where.
    pub prover: ProverId,
    /// Its name there, if it was submitted.
    pub handle: Option<Handle>,
}

/// What became of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The block is proven; the other attempts at it are over.
    Proved(Vec<Cancel>),
    /// The block was proven before.
    Duplicate,
    /// The block is not wanted: it was reorged out, or is of another program.
    Unwanted,
}

/// What became of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt was over before.
    Stale,
    /// The block is attempted again, not before that moment.
    Retry(Time),
    /// Another attempt at the block goes on.
    Runs,
    /// The block is poisoned.
    Poisoned(String),
}

impl Plan {
    /// The next attempt to start at `now`, whose slot is held from now on; `None` if there is nothing to start.
    /// To be asked again until then.
    pub fn claim(&mut self, now: Time) -> Option<Claim> {
        let room = self.tokens.len() < self.config.running_max.get();
        for prover in &mut self.provers {
            prover.probe(now, &self.config);
        }
        if !room || self.provers.iter().all(|prover| prover.free(now) == 0) {
            return None;
        }
        let (key, prover) = self.next(now).or_else(|| self.slow_head(now))?;
        Some(self.lease(key, prover, None, now))
    }

    /// A second attempt at the head to cancel, where a fresh block waits and nothing can be claimed at `now`: its slot
    /// is given back, and is that block's. `None` if there is none, or nobody waits for its slot.
    pub fn preempt(&mut self, now: Time) -> Option<Cancel> {
        let head = self.jobs.get(&(self.proven.height.get() + 1))?;
        let [_, Lease { token, prover, .. }] = *head.leases.as_slice() else { return None };
        let room = self.tokens.len() < self.config.running_max.get();
        if room && self.next(now).is_some() {
            return None;
        }
        self.provers[prover.0].used -= 1;
        let waits = self.next(now).is_some();
        self.provers[prover.0].used += 1;
        let (_, Lease { handle, .. }) = if waits { self.end(token)? } else { return None };
        self.counters.cancelled += 1;
        Some(Cancel { token, prover, handle })
    }

    /// The lowest block that may be attempted, with its prover.
    fn next(&self, now: Time) -> Option<(Key, ProverId)> {
        let head = self.proven.height.get() + 1;
        let end = head.saturating_add(self.config.ahead_max.get() as u64);
        let running = self.tokens.len() as u64;
        let bytes = self.waiting_bytes.saturating_add(self.largest.saturating_mul(running + 1));
        let fits = |height: u64| height == head || bytes <= self.config.ahead_bytes_max;
        let open = |job: &&Job| {
            job.state == State::Open
                && job.leases.is_empty()
                && job.not_before <= now
                && fits(job.key.height())
        };
        let choice = |job: &Job| Some((job.key, choose(&self.provers, job, now)?));
        let mut window = self.jobs.range(head..end).map(|(_, job)| job).filter(open);
        window.find_map(choice)
    }

    /// The lowest block, if the one attempt at it takes much longer than others did.
    fn slow_head(&self, now: Time) -> Option<(Key, ProverId)> {
        let factor = self.config.hedge?;
        let job = self.jobs.get(&(self.proven.height.get() + 1))?;
        let [lease] = job.leases.as_slice() else { return None };
        let slow = self.typical()?.saturating_mul(factor.get());
        if now.saturating_sub(lease.since) < slow {
            return None;
        }
        choose(&self.provers, job, now).map(|prover| (job.key, prover))
    }

    /// What nine of ten of the last proofs took no longer than, once there are a few.
    fn typical(&self) -> Option<Time> {
        let mut times: Vec<_> = self.times.iter().copied().collect();
        if times.len() < 5 {
            return None;
        }
        let at = times.len() * 9 / 10;
        Some(*times.select_nth_unstable(at).1)
    }

    /// Holds a slot.
    pub(super) fn lease(
        &mut self,
        key: Key,
        prover: ProverId,
        handle: Option<Handle>,
        now: Time,
    ) -> Claim {
        self.token += 1;
        let token = Token(self.token);
        let hedge = self
            .update(key.height(), |job| {
                job.attempts += 1;
                job.begun = job.begun.or(Some(now));
                job.leases.push(Lease { token, prover, handle, since: now, alive: now });
                job.leases.len() > 1
            })
            .unwrap_or_default();
        self.tokens.insert(token, key.height());
        self.provers[prover.0].used += 1;
        self.counters.attempts += 1;
        self.counters.hedges += u64::from(hedge);
        Claim { token, key, prover, hedge }
    }

    /// Gives the slot of `lease` back: the one place where that is done.
    pub(super) fn release(&mut self, lease: Lease) -> Cancel {
        let Lease { token, prover, handle, .. } = lease;
        let held = self.tokens.remove(&token);
        debug_assert!(held.is_some(), "a slot is given back once");
        self.provers[prover.0].used -= 1;
        Cancel { token, prover, handle }
    }

    /// Takes the lease of `token` off its job.
    fn end(&mut self, token: Token) -> Option<(u64, Lease)> {
        let height = *self.tokens.get(&token)?;
        let lease = self.update(height, |job| {
            let at = job.leases.iter().position(|lease| lease.token == token)?;
            Some(job.leases.remove(at))
        })??;
        self.release(lease.clone());
        Some((height, lease))
    }

    /// The prover took the attempt, under the name `handle`. `false` if it is over: whoever submitted it cancels
    /// it there.
    pub fn submitted(&mut self, token: Token, handle: Handle, now: Time) -> bool {
        self.held(token, |lease| {
            lease.handle = Some(handle);
            lease.alive = now;
        })
    }

    /// The prover says that the attempt goes on. `false` if it is over.
    pub fn alive(&mut self, token: Token, now: Time) -> bool {
        self.held(token, |lease| lease.alive = now)
    }

    fn held(&mut self, token: Token, change: impl FnOnce(&mut Lease)) -> bool {
        let Some(height) = self.tokens.get(&token) else {
            self.counters.stale += 1;
            return false;
        };
        let job = self.jobs.get_mut(height);
        let lease = job.and_then(|job| job.leases.iter_mut().find(|lease| lease.token == token));
        let Some(lease) = lease else { return false };
        change(lease);
        let prover = lease.prover;
        self.provers[prover.0].works();
        true
    }

    /// A proof of `key` that was verified and is durable, from the attempt `token` or from anywhere else.
    pub fn proved(&mut self, key: &Key, token: Option<Token>, proof: Stored, now: Time) -> Taken {
        if let Some((_, lease)) = token.and_then(|token| self.end(token)) {
            self.provers[lease.prover.0].works();
            self.times.push_back(now.saturating_sub(lease.since));
            if self.times.len() > TIMES_MAX {
                self.times.pop_front();
            }
        }
        let height = key.height();
        match self.jobs.get(&height).filter(|job| job.key == *key).map(|job| &job.state) {
            None if key.block == self.proven => {
                self.counters.duplicates += 1;
                return Taken::Duplicate;
            }
            None => {
                self.counters.unwanted += 1;
                return Taken::Unwanted;
            }
            Some(State::Proved(_)) => {
                self.counters.duplicates += 1;
                return Taken::Duplicate;
            }
            Some(State::Open | State::Poisoned(_)) => {}
        }
        let others = self.update(height, |job| {
            job.state = State::Proved(proof);
            job.failure = None;
            std::mem::take(&mut job.leases)
        });
        let cancels: Vec<_> =
            others.into_iter().flatten().map(|lease| self.release(lease)).collect();
        self.counters.proved += 1;
        self.counters.cancelled += cancels.len() as u64;
        Taken::Proved(cancels)
    }

    /// The attempt `token` failed.
    pub fn failed(
        &mut self,
        token: Token,
        failure: &Failure,
        now: Time,
        rng: &mut impl Rng,
    ) -> Verdict {
        let Some((height, lease)) = self.end(token) else {
            self.counters.stale += 1;
            return Verdict::Stale;
        };
        self.counters.failed(failure);
        let prover = &mut self.provers[lease.prover.0];
        match failure {
            Failure::Full => prover.full(now, &self.config, rng),
            Failure::Unavailable(_) | Failure::Silent(_) => prover.fails(now, true, rng),
            Failure::Rejected(_) => prover.fails(now, false, rng),
            Failure::Lost | Failure::Unprovable(_) => prover.works(),
            Failure::TimedOut(_) => {}
        }
        let logical_max = self.config.logical_max.get();
        let verdict = self.update(height, |job| {
            match failure.class() {
                Class::Flow => job.attempts = job.attempts.saturating_sub(1),
                class => {
                    job.not_before = now + job.backoff.fail(rng);
                    job.avoid.insert(lease.prover);
                    job.failure = Some(failure.reason());
                    job.logical += u32::from(class == Class::Logical);
                }
            }
            if !job.leases.is_empty() {
                return Verdict::Runs;
            }
            if job.logical >= logical_max {
                let reason = failure.reason();
                job.state = State::Poisoned(reason.clone());
                return Verdict::Poisoned(reason);
            }
            Verdict::Retry(job.not_before)
        });
        let verdict = verdict.unwrap_or(Verdict::Stale);
        self.counters.poisoned += u64::from(matches!(verdict, Verdict::Poisoned(_)));
        verdict
    }

    /// Attempts that took too long or whose prover is silent at `now`, with why. They have not failed yet:
    /// that is [`Plan::failed`].
    pub fn expired(&self, now: Time) -> Vec<(Cancel, Failure)> {
        let leases = self.tokens.iter().filter_map(|(token, height)| {
            self.jobs.get(height)?.leases.iter().find(|lease| lease.token == *token)
        });
        let expired = leases.filter_map(|lease| {
            let Lease { token, prover, ref handle, since, alive } = *lease;
            let failure = if now.saturating_sub(since) >= self.config.attempt_max {
                Failure::TimedOut(self.config.attempt_max)
            } else if now.saturating_sub(alive) >= self.config.lease {
                Failure::Silent(self.config.lease)
            } else {
                return None;
            };
            Some((Cancel { token, prover, handle: handle.clone() }, failure))
        });
        expired.collect()
    }

    /// Blocks that have become stalled: each is named once.
    pub fn stalled(&mut self, now: Time) -> Vec<Key> {
        let end = self.proven.height.get().saturating_add(self.config.ahead_max.get() as u64);
        let late = |job: &&Job| job.state == State::Open && !job.stalled && self.is_late(job, now);
        let stalled: Vec<Key> =
            (self.jobs.range(..=end).map(|(_, job)| job)).filter(late).map(|job| job.key).collect();
        for key in &stalled {
            self.update(key.height(), |job| job.stalled = true);
            self.counters.stalled += 1;
        }
        stalled
    }

    /// When [`Plan::claim`], [`Plan::expired`] or [`Plan::stalled`] may have something new at the latest, if
    /// nothing else happens.
    pub fn wake(&self, now: Time) -> Option<Time> {
        let head = self.proven.height.get() + 1;
        let end = head.saturating_add(self.config.ahead_max.get() as u64);
        let slow = self.config.hedge.and_then(|factor| Some(self.typical()? * factor.get()));
        let jobs =
            self.jobs.range(head..end).map(|(_, job)| job).filter(|job| job.state == State::Open);
        let moments = jobs.flat_map(|job| {
            let leases = job.leases.iter().flat_map(|lease| {
                let hedge =
                    slow.filter(|_| job.key.height() == head).map(|slow| lease.since + slow);
                [lease.since + self.config.attempt_max, lease.alive + self.config.lease]
                    .into_iter()
                    .chain(hedge)
            });
            let retry = job.leases.is_empty().then_some(job.not_before);
            let late = job.begun.filter(|_| !job.stalled);
            let late = late.map(|begun| begun + self.config.stalled_after);
            leases.chain(retry).chain(late).collect::<Vec<_>>()
        });
        let blocked = self.provers.iter().filter_map(|prover| prover.blocked(now));
        moments.chain(blocked).filter(|moment| *moment > now).min()
    }
}
