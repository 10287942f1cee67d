//! One job, as the plan knows it.

use crate::{Handle, Key, Stored, Time};
use std::collections::BTreeSet;
use tidewatch_core::Backoff;

/// Names one attempt. Each claim gets a higher one: a report under any other than the current one of a slot
/// is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A prover's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProverId(pub usize);

/// A slot of a prover that is held for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The attempt.
    pub token: Token,
    /// Where.
    pub prover: ProverId,
    /// The job's name there, once it was submitted.
    pub handle: Option<Handle>,
    /// When it was claimed.
    pub since: Time,
    /// When the prover last gave a sign of life.
    pub alive: Time,
}

/// Where a job stands. Committed jobs are gone from the plan: nothing leaves that state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for a slot, and for the end of its back-off. Or runs, where it has leases.
    Open,
    /// Proven, verified and durable; waits for lower blocks.
    Proved(Stored),
    /// Failed too often. Waits for an operator, or for a proof from anywhere.
    Poisoned(String),
}

/// How a job is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Waits for a slot.
    Pending,
    /// Is attempted.
    Running,
    /// Proven, and waits for lower blocks.
    Proved,
    /// Failed too often.
    Poisoned,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Proved, Self::Poisoned];

    /// Name in metrics and lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Proved => "proved",
            Self::Poisoned => "poisoned",
        }
    }
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is about.
    pub key: Key,
    /// Its inputs, which are on disk.
    pub inputs: Stored,
    /// Where it stands.
    pub state: State,
    /// Logical failures since it was added or requeued.
    pub logical: u32,
    /// Attempts since it was added or requeued.
    pub attempts: u32,
    /// When it was added.
    pub since: Time,
    /// When it was first attempted.
    pub begun: Option<Time>,
    /// The newest failure.
    pub failure: Option<String>,
    pub(super) not_before: Time,
    pub(super) backoff: Backoff,
    pub(super) leases: Vec<Lease>,
    /// Provers that failed it: another one comes first.
    pub(super) avoid: BTreeSet<ProverId>,
    /// It was reported as stalled.
    pub(super) stalled: bool,
}

impl Job {
    /// The slots that are held for it.
    pub fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// How it is listed.
    pub const fn stage(&self) -> Stage {
        match &self.state {
            State::Open if self.leases.is_empty() => Stage::Pending,
            State::Open => Stage::Running,
            State::Proved(_) => Stage::Proved,
            State::Poisoned(_) => Stage::Poisoned,
        }
    }
}
