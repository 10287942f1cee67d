//! What is published next.

use std::collections::BTreeMap;

/// Names a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateId(pub u64);

/// A proof of a range of blocks that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its epoch.
    pub epoch: u64,
    /// The height of the first block.
    pub first: u64,
    /// The height of the last block.
    pub last: u64,
    /// The slot from which on it does not count.
    pub deadline: u64,
    /// Whether it proves all of its epoch.
    pub full: bool,
}

/// How a candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It landed.
    Published,
    /// A longer one landed.
    Superseded,
    /// Its deadline passed.
    Expired,
    /// Nobody wants it any more.
    Withdrawn,
    /// The chain refused it.
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Submit this one, and say how it ended with [`Publishing::submitted`]. One at a time.
    Submit(CandidateId),
    /// This one is over.
    Ended(CandidateId, Outcome),
}

/// Candidates that wait: one queue, one submission at a time.
#[derive(Clone, Debug, Default)]
pub struct Publishing {
    waiting: BTreeMap<CandidateId, Candidate>,
    in_flight: Option<(CandidateId, Candidate)>,
    /// Nothing is submitted any more.
    stopped: bool,
    next: u64,
}

impl Publishing {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// A candidate is ready. After a stop it is withdrawn at once: see [`Publishing::drain`].
    pub fn add(&mut self, candidate: Candidate) -> CandidateId {
        self.next += 1;
        let id = CandidateId(self.next);
        self.waiting.insert(id, candidate);
        id
    }

    /// Nobody wants it any more. One that is being submitted goes on: `false`.
    pub fn withdraw(&mut self, id: CandidateId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Stops: what is being submitted goes on, the rest is withdrawn.
    pub const fn stop(&mut self) {
        self.stopped = true;
    }

    /// What is to be done where `proven` is the height of the proven tip and `slot` the current one.
    ///
    /// Epochs come in order. A range is submitted once its first block follows the proven tip; of several of an
    /// epoch the longest, and of equal ones the full one. The others of its epoch wait for how that ends.
    pub fn drain(&mut self, proven: u64, slot: u64) -> Vec<Decided> {
        let mut decided = Vec::new();
        let stopped = self.stopped;
        let over = |candidate: &Candidate| {
            if stopped {
                Some(Outcome::Withdrawn)
            } else if candidate.deadline <= slot {
                Some(Outcome::Expired)
            } else if !candidate.full && candidate.last <= proven {
                Some(Outcome::Superseded)
            } else {
                None
            }
        };
        self.waiting.retain(|id, candidate| match over(candidate) {
            Some(outcome) => {
                decided.push(Decided::Ended(*id, outcome));
                false
            }
            None => true,
        });
        if self.in_flight.is_none() {
            let ready = self.waiting.iter().filter(|(_, candidate)| candidate.first <= proven + 1);
            let best = ready.min_by_key(|(id, candidate)| {
                (candidate.epoch, std::cmp::Reverse((candidate.last, candidate.full)), **id)
            });
            if let Some((id, candidate)) = best.map(|(id, candidate)| (*id, *candidate)) {
                self.waiting.remove(&id);
                self.in_flight = Some((id, candidate));
                decided.push(Decided::Submit(id));
            }
        }
        decided
    }

    /// The submission at hand ended; `None` if its publisher was not to be had: it waits again. Where it landed,
    /// shorter ranges of its epoch are superseded.
    pub fn submitted(&mut self, landed: Option<bool>) -> Vec<Decided> {
        let Some((id, candidate)) = self.in_flight.take() else { return Vec::new() };
        match landed {
            None => {
                self.waiting.insert(id, candidate);
                Vec::new()
            }
            Some(false) => vec![Decided::Ended(id, Outcome::Failed)],
            Some(true) => {
                let mut decided = vec![Decided::Ended(id, Outcome::Published)];
                self.supersede(candidate, &mut decided);
                decided
            }
        }
    }

    /// Ends what waits of the epoch of `winner` and is no longer.
    fn supersede(&mut self, winner: Candidate, decided: &mut Vec<Decided>) {
        self.waiting.retain(|id, other| {
            let covered = other.epoch == winner.epoch && other.last <= winner.last;
            if covered {
                decided.push(Decided::Ended(*id, Outcome::Superseded));
            }
            !covered
        });
    }

    /// The candidate that is being submitted.
    pub const fn in_flight(&self) -> Option<(CandidateId, Candidate)> {
        self.in_flight
    }

    /// Candidates that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
