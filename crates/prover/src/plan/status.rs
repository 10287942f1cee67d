//! Where a plan stands, and what it has counted.

use super::{Job, NotNested, Plan, Prover, Stage, State, nested};
use crate::{Failure, Time};
use std::collections::BTreeMap;
use tidewatch_core::BlockRef;

/// A prover in a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProverStatus {
    /// Its name.
    pub name: String,
    /// Slots that it advertises.
    pub slots: usize,
    /// Slots that it turned out to have.
    pub limit: usize,
    /// Slots that are held.
    pub used: usize,
    /// Whether the last that was heard of it is that it is not available.
    pub down: bool,
    /// It gives jobs up before an attempt is over: what takes longer can never succeed there.
    pub warning: Option<NotNested>,
}

impl ProverStatus {
    pub(super) fn of(prover: &Prover, attempt_max: Time) -> Self {
        let Prover { name, slots, limit, used, down, deadline, .. } = prover;
        let warning = deadline.and_then(|deadline| {
            nested(("an attempt", attempt_max), ("the prover's own deadline", deadline)).err()
        });
        let (name, down) = (name.clone(), *down);
        Self { name, slots: *slots, limit: *limit, used: *used, down, warning }
    }
}

/// Where a plan stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The highest block whose inputs are kept.
    pub committed: BlockRef,
    /// The proven tip: it and all below it are proven.
    pub proven: BlockRef,
    /// Jobs in each stage, in the order of [`Stage::ALL`].
    pub stages: [usize; 4],
    /// Bytes of proofs that wait for a lower one.
    pub waiting_bytes: u64,
    /// Bytes of inputs that are kept.
    pub inputs_bytes: u64,
    /// How long the lowest block that is not proven has waited; `None` if all are.
    pub oldest: Option<Time>,
    /// Attempts at that block.
    pub head_attempts: u32,
    /// Why that block is poisoned, if it is.
    pub head_poisoned: Option<String>,
    /// Whether that block has waited too long: the alert.
    pub stalled: bool,
    /// The provers.
    pub provers: Vec<ProverStatus>,
}

impl Status {
    /// Jobs in `stage`.
    pub const fn count(&self, stage: Stage) -> usize {
        self.stages[stage as usize]
    }

    /// How many blocks the proven tip is behind.
    pub const fn lag(&self) -> u64 {
        self.committed.height.get().saturating_sub(self.proven.height.get())
    }
}

impl Plan {
    /// Where it stands at `now`.
    pub fn status(&self, now: Time) -> Status {
        let head = self.jobs.values().next();
        Status {
            committed: self.committed,
            proven: self.proven,
            stages: self.stages,
            waiting_bytes: self.waiting_bytes,
            inputs_bytes: self.inputs_bytes,
            oldest: head.map(|job| now.saturating_sub(job.since)),
            head_attempts: head.map_or(0, |job| job.attempts),
            head_poisoned: head.and_then(|job| match &job.state {
                State::Poisoned(reason) => Some(reason.clone()),
                _ => None,
            }),
            stalled: self.is_stalled(now),
            provers: (self.provers.iter())
                .map(|prover| ProverStatus::of(prover, self.config.attempt_max))
                .collect(),
        }
    }

    /// Whether the lowest block that is not proven is poisoned, or has waited for too long.
    pub fn is_stalled(&self, now: Time) -> bool {
        self.jobs
            .values()
            .next()
            .is_some_and(|job| matches!(job.state, State::Poisoned(_)) || self.is_late(job, now))
    }

    pub(super) fn is_late(&self, job: &Job, now: Time) -> bool {
        let begun = job.begun.map_or(now, |begun| begun);
        now.saturating_sub(begun) >= self.config.stalled_after
    }
}

/// What a plan has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Attempts that were claimed.
    pub attempts: u64,
    /// Second attempts at a slow head among them.
    pub hedges: u64,
    /// Attempts that ended, by how: names of [`Failure`]s.
    pub failures: BTreeMap<&'static str, u64>,
    /// Reports of attempts that were over already.
    pub stale: u64,
    /// Proofs of blocks that were proven already.
    pub duplicates: u64,
    /// Proofs of blocks that are not wanted: reorged out, or never added.
    pub unwanted: u64,
    /// Attempts that were cancelled: their block is gone, or proven by another.
    pub cancelled: u64,
    /// Blocks that were poisoned.
    pub poisoned: u64,
    /// Poisoned or waiting blocks that an operator requeued.
    pub requeued: u64,
    /// Proofs that were taken in.
    pub proved: u64,
    /// Blocks that became proven.
    pub committed: u64,
    /// Blocks that became stalled.
    pub stalled: u64,
    /// Proofs that were there when their block came back.
    pub reused: u64,
}

impl Counters {
    pub(super) fn failed(&mut self, failure: &Failure) {
        *self.failures.entry(failure.as_str()).or_default() += 1;
    }
}
