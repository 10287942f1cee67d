//! What to prove next: the scheduler's decisions, without I/O and without a clock.
//!
//! # Overview
//!
//! ```text
//!  add ──▶ pending ──claim──▶ running ──proved──▶ proved ──commit, lowest first──▶ committed
//!             ▲                 │  │                 ▲
//!             └──── failed ─────┘  └──▶ poisoned ────┘ supply, or a late proof
//!                     requeue ◀────────────┘
//! ```
//!
//! A [`Plan`] is told what happened, with the time, and answers what to do: which block to attempt at which
//! prover, which attempts to cancel, which proof to commit. Who carries that out is the scheduler.
//!
//! # Order
//!
//! Attempts start at the lowest block that is not proven, retries included, and may end in any order. Proofs
//! are committed in order: [`Plan::due`] names the block after the proven tip or nothing. Blocks more than
//! [`Config::ahead_max`] above the tip are not attempted, nor are any but the lowest once the proofs that wait
//! hold [`Config::ahead_bytes_max`] bytes.
//!
//! # Admission
//!
//! No more attempts run than [`Config::running_max`], nor at one prover than it advertises. A prover that
//! answers that it is full is believed: what it has is its limit from then on, one more is tried after
//! [`Config::probe`], and the block has lost nothing.
//!
//! # Failures
//!
//! | class | counts against | what follows |
//! |---|---|---|
//! | flow (full) | nobody | the block waits for a free slot |
//! | infrastructure (not available, timed out, silent, lost) | the prover | a back-off with jitter for ever, and an alert after [`Config::stalled_after`] |
//! | logical (not provable, proof rejected) | the block | after [`Config::logical_max`] the block is poisoned |
//!
//! A poisoned block is kept with its reason. The tip stays below it, blocks above it go on as far as the window
//! reaches, and an operator requeues it or supplies a proof. The next attempt at a block that failed is made at
//! a prover that has not failed it, if there is one.
//!
//! # Leases
//!
//! An attempt holds a slot under a [`Token`]. A failure is believed only under the token of a slot that is
//! held; a proof counts from whoever it comes, however late, if it verifies. A slot is given back once: when
//! its attempt ends, is given up, or is cancelled.
//!
//! # Reorg safety
//!
//! [`Plan::prune`] forgets everything above a block, and the tip goes back with it where it stood higher. A
//! proof whose block comes back is handed over with [`Plan::add`].

mod attempts;
mod config;
mod job;
mod provers;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod values;

pub use attempts::{Cancel, Claim, Taken, Verdict};
pub(crate) use config::nested;
pub use config::{Config, Lag, NotNested};
pub use job::{Job, Lease, ProverId, Stage, State, Token};
pub use provers::Prover;
pub use status::{Counters, ProverStatus, Status};
pub use values::{Added, NoJob, NotAdded, Removed, Saved};

use crate::{Handle, Key, Offer, Stored, Time};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, VecDeque},
};
use tidewatch_core::{Backoff, BlockRef, Digest, Height};

/// What is typical is found out of so many proving times.
const TIMES_MAX: usize = 129;

/// The jobs of one chain under one program, and the provers: see the [module](self).
#[derive(Clone, Debug)]
pub struct Plan {
    config: Config,
    proven: BlockRef,
    committed: BlockRef,
    /// By height: every block above the proven tip up to the committed one.
    jobs: BTreeMap<u64, Job>,
    provers: Vec<Prover>,
    /// The height of the job that each held slot is for.
    tokens: BTreeMap<Token, u64>,
    token: u64,
    stages: [usize; 4],
    waiting_bytes: u64,
    inputs_bytes: u64,
    /// The largest proof so far: what a running attempt may add to those that wait.
    largest: u64,
    times: VecDeque<Time>,
    counters: Counters,
}

impl Plan {
    /// A plan that begins above `proven`, which needs no proof: genesis, or where proving began.
    pub fn new(config: Config, proven: BlockRef) -> Self {
        Self {
            config,
            proven,
            committed: proven,
            jobs: BTreeMap::new(),
            provers: Vec::new(),
            tokens: BTreeMap::new(),
            token: 0,
            stages: [0; 4],
            waiting_bytes: 0,
            inputs_bytes: 0,
            largest: 0,
            times: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Adds a prover under a name of its own, without slots until it advertises some.
    pub fn prover(&mut self, name: impl Into<String>) -> ProverId {
        self.provers.push(Prover::new(name.into(), 0, &self.config));
        ProverId(self.provers.len() - 1)
    }

    /// A prover advertises what it has.
    pub fn advertise(&mut self, prover: ProverId, offer: Offer) {
        if let Some(prover) = self.provers.get_mut(prover.0) {
            prover.advertise(offer.slots, offer.deadline);
        }
    }

    /// Takes over the jobs that a scheduler left, in rising order, once the provers were added. Returns the
    /// attempts that go on: their handles are asked for, and nothing is submitted again.
    ///
    /// # Errors
    ///
    /// [`NotAdded`] where the jobs are not consecutive from the proven tip on.
    pub fn restore(
        &mut self,
        saved: impl IntoIterator<Item = Saved>,
        now: Time,
    ) -> Result<Vec<(Claim, Handle)>, NotAdded> {
        let mut resumed = Vec::new();
        for Saved { key, inputs, state, logical, handles } in saved {
            self.add(key, inputs, None, now)?;
            let open = state == State::Open;
            self.update(key.height(), |job| {
                job.state = state;
                job.logical = logical;
            });
            if open {
                for (name, handle) in handles {
                    let known = self.provers.iter().position(|prover| prover.name == name);
                    if let Some(prover) = known.map(ProverId) {
                        let claim = self.lease(key, prover, Some(handle.clone()), now);
                        resumed.push((claim, handle));
                    }
                }
            }
        }
        Ok(resumed)
    }

    /// Adds the block of `key`, whose `inputs` are durable; with `proof` it is proven already. The block is
    /// committed from now on.
    ///
    /// # Errors
    ///
    /// [`NotAdded`]: see there. Nothing has changed then.
    pub fn add(
        &mut self,
        key: Key,
        inputs: Stored,
        proof: Option<Stored>,
        now: Time,
    ) -> Result<Added, NotAdded> {
        let height = key.height();
        if self.follows(key.block, self.committed)? == Added::Exists {
            return Ok(Added::Exists);
        }
        let job = Job {
            key,
            inputs,
            state: State::Open,
            logical: 0,
            attempts: 0,
            since: now,
            begun: None,
            failure: None,
            not_before: now,
            backoff: Backoff::new(self.config.backoff, self.config.backoff_max),
            leases: Vec::new(),
            avoid: BTreeSet::new(),
            stalled: false,
        };
        self.stages[job.stage() as usize] += 1;
        self.inputs_bytes += inputs.bytes;
        self.jobs.insert(height, job);
        self.committed = key.block;
        if let Some(proof) = proof {
            self.update(height, |job| job.state = State::Proved(proof));
            self.counters.reused += 1;
        }
        Ok(Added::New)
    }

    /// Whether `block` is new where `above` is the highest one, and follows it.
    ///
    /// # Errors
    ///
    /// [`NotAdded`]: neither is it there nor does it follow.
    pub fn follows(&self, block: BlockRef, above: BlockRef) -> Result<Added, NotAdded> {
        let height = block.height.get();
        let known = match height.cmp(&self.proven.height.get()) {
            // The chain below the proven tip is not known here: that it is the same one, the caller says.
            Ordering::Less => return Ok(Added::Exists),
            Ordering::Equal => Some(self.proven),
            Ordering::Greater => self.jobs.get(&height).map(|job| job.key.block),
        };
        match known {
            Some(ours) if ours == block => Ok(Added::Exists),
            Some(ours) => Err(NotAdded::Other { wanted: block, ours }),
            None if above == block => Ok(Added::Exists),
            None if height != above.height.get() + 1 => {
                Err(NotAdded::Gap { wanted: block, committed: above })
            }
            None => Ok(Added::New),
        }
    }

    /// The slot that is held under `token`, with what for.
    pub fn lease_of(&self, token: Token) -> Option<(Key, &Lease)> {
        let job = self.jobs.get(self.tokens.get(&token)?)?;
        let lease = job.leases.iter().find(|lease| lease.token == token)?;
        Some((job.key, lease))
    }

    /// Forgets everything above `to`, which is a block of this chain. Where the proven tip stood higher it is
    /// `to` from now on: every ancestor of a proven block is proven.
    pub fn prune(&mut self, to: BlockRef) -> Removed {
        let mut removed = Removed::default();
        for (_, mut job) in self.jobs.split_off(&(to.height.get().saturating_add(1))) {
            self.forget(&job);
            for lease in std::mem::take(&mut job.leases) {
                removed.cancels.push(self.release(lease));
                self.counters.cancelled += 1;
            }
            removed.jobs.push(job);
        }
        if self.proven.height > to.height {
            self.proven = to;
            removed.regressed = true;
        }
        if self.committed.height > to.height {
            self.committed = to;
        }
        removed
    }

    /// The proof to commit next: that of the block after the proven tip, if it is there.
    pub fn due(&self) -> Option<(Key, Stored)> {
        let head = self.proven.height.get() + 1;
        let job = self.jobs.get(&head)?;
        match job.state {
            State::Proved(proof) => Some((job.key, proof)),
            _ => None,
        }
    }

    /// The proof that is [due](Self::due) is durable as the proven tip. Returns its job.
    pub fn commit(&mut self) -> Option<Job> {
        let (key, _) = self.due()?;
        let job = self.jobs.remove(&key.height())?;
        debug_assert!(job.leases.is_empty(), "a proven block holds no slot");
        self.forget(&job);
        self.proven = key.block;
        self.counters.committed += 1;
        Some(job)
    }

    /// Attempts a block again at once, as if it had never failed.
    ///
    /// # Errors
    ///
    /// [`NoJob`]: there is nothing to attempt at that height.
    pub fn requeue(&mut self, height: Height, now: Time) -> Result<Key, NoJob> {
        let key = self.wanted(height)?;
        let backoff = Backoff::new(self.config.backoff, self.config.backoff_max);
        self.update(height.get(), |job| {
            job.state = State::Open;
            (job.logical, job.attempts, job.begun, job.stalled) = (0, 0, None, false);
            job.avoid.clear();
            job.not_before = now;
            job.backoff = backoff;
        });
        self.counters.requeued += 1;
        Ok(key)
    }

    /// The block at `height`, if a proof of it is wanted.
    ///
    /// # Errors
    ///
    /// [`NoJob`]: it is not.
    pub fn wanted(&self, height: Height) -> Result<Key, NoJob> {
        if height <= self.proven.height {
            return Err(NoJob::Proven(height));
        }
        let job = self.jobs.get(&height.get()).ok_or(NoJob::Unknown(height))?;
        match job.state {
            State::Proved(_) => Err(NoJob::Waits(height)),
            State::Open | State::Poisoned(_) => Ok(job.key),
        }
    }

    /// The digest of the block below that of `key`, which is above the proven tip.
    pub fn parent(&self, key: &Key) -> Option<Digest> {
        let below = key.height().checked_sub(1)?;
        if below == self.proven.height.get() {
            return Some(self.proven.digest);
        }
        self.jobs.get(&below).map(|job| job.key.block.digest)
    }

    /// The job of `height`.
    pub fn job(&self, height: Height) -> Option<&Job> {
        self.jobs.get(&height.get())
    }

    /// Jobs from height `from` on, in rising order.
    pub fn jobs(&self, from: Height) -> impl Iterator<Item = &Job> {
        self.jobs.range(from.get()..).map(|(_, job)| job)
    }

    /// The proven tip.
    pub const fn proven(&self) -> BlockRef {
        self.proven
    }

    /// The highest block that was added.
    pub const fn committed(&self) -> BlockRef {
        self.committed
    }

    /// The provers, by [`ProverId`].
    pub fn provers(&self) -> &[Prover] {
        &self.provers
    }

    /// What was counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Changes a job, and what is counted with it.
    fn update<T>(&mut self, height: u64, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let job = self.jobs.get_mut(&height)?;
        let waits = |job: &Job| if let State::Proved(proof) = job.state { proof.bytes } else { 0 };
        let (stage, bytes) = (job.stage(), waits(job));
        let changed = change(job);
        self.stages[stage as usize] -= 1;
        self.stages[job.stage() as usize] += 1;
        self.waiting_bytes = self.waiting_bytes - bytes + waits(job);
        self.largest = self.largest.max(waits(job));
        Some(changed)
    }

    /// Takes a job that was removed out of what is counted.
    fn forget(&mut self, job: &Job) {
        self.stages[job.stage() as usize] -= 1;
        self.inputs_bytes -= job.inputs.bytes;
        if let State::Proved(proof) = job.state {
            self.waiting_bytes -= proof.bytes;
        }
    }
}
