//! Observes a follower from outside and checks that it obeys the rules.
//!
//! # Overview
//!
//! ```text
//!  Source ◀── Spied ──┐                          ┌── ladder, ancestry, finality, regressions
//!  Store  ◀── Kept  ──┼── Observation ──▶ Watch ─┼── given, linked, replay, looks, announced
//!  Monitor, consumers ┘                          ├── durability, delivery, acknowledged
//!                                                ├── bridges
//!                                                └── budget, deadlines, status, faults
//! ```
//!
//! The follower is the production code. A wrapper around each of its ports records every call and
//! changes nothing ([`Spied`], [`Kept`], [`Heard`]); every observation goes to every [`Checker`]. A
//! checker knows its rule and the true state of the world, and nothing about how the follower works.
//! The first violation is kept, together with the observations that led to it.

mod checkers;
mod log;
mod observation;
mod source;
mod view;

pub use checkers::{Checker, all};
pub use log::Heard;
pub use observation::{Answer, Log, Observation, Question, Resumed};
pub use source::Spied;
pub use view::Kept;

use crate::truth::Truth;
use commonware_utils::sync::Mutex;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};
use tidewatch_core::{Fault, Ladder, Status};

/// Number of observations in the trail of a violation.
const KEPT: usize = 48;

/// A broken rule.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Name of the checker that detected it.
    pub checker: &'static str,
    /// Names of the other checkers that object to the same observation.
    pub also: Vec<&'static str>,
    /// What the checker observed.
    pub detail: String,
    /// The last observations before it, oldest first.
    pub trail: Vec<String>,
}

struct Seen {
    checkers: Vec<Box<dyn Checker>>,
    trail: VecDeque<Observation>,
    violation: Option<Violation>,
    /// Whether every observation is logged.
    traced: bool,
    observations: u64,
    events: u64,
    asked: Asked,
}

/// Certificates by origin: number verified, and number received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// In responses to requests for a tip.
    pub tips: (u64, u64),
    /// In pushes.
    pub pushes: (u64, u64),
    /// In responses to requests for a height.
    pub heights: (u64, u64),
    /// Received certificates that were new, or possibly forged and hence not remembered as verified.
    pub new: u64,
}

impl Certificates {
    /// Number of certificates verified.
    pub const fn checked(&self) -> u64 {
        self.tips.0 + self.pushes.0 + self.heights.0
    }
}

/// Calls to the source, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// For all tiers.
    pub snapshots: u64,
    /// For digests.
    pub digests: u64,
    /// For ranges of blocks.
    pub ranges: u64,
}

impl Asked {
    /// Calls since `before`.
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            snapshots: self.snapshots - before.snapshots,
            digests: self.digests - before.digests,
            ranges: self.ranges - before.ranges,
        }
    }

    const fn count(&mut self, question: &Question) {
        match question {
            Question::Snapshot => self.snapshots += 1,
            Question::Digests(..) => self.digests += 1,
            Question::Blocks(..) => self.ranges += 1,
        }
    }
}

/// Parameters of a world that checkers need.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Ladder of the chain.
    pub ladder: Ladder,
    /// Whether blocks are delivered.
    pub blocks: bool,
    /// Whether the source verifies its responses, so that no forgery gets through.
    pub certified: bool,
    /// Maximum number of heights in one request.
    pub digests_max: u64,
    /// Deadline of a call to the source.
    pub deadline: Duration,
    /// Maximum wait before the next pass starts.
    pub wait: Duration,
    /// Status thresholds of the driver.
    pub thresholds: tidewatch_stream::Thresholds,
    /// Whether the clock of the machine is that of the world.
    pub steady: bool,
}

/// Passes every observation to every checker. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    truth: Arc<Mutex<Truth>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.seen.lock();
        f.debug_struct("Watch").field("violation", &seen.violation).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches a follower of `truth` with all checkers.
    pub fn new(rules: Rules, truth: Arc<Mutex<Truth>>, traced: bool) -> Self {
        let seen = Seen {
            checkers: all(rules),
            trail: VecDeque::new(),
            violation: None,
            traced,
            observations: 0,
            events: 0,
            asked: Asked::default(),
        };
        Self { seen: Arc::new(Mutex::new(seen)), truth }
    }

    /// Passes an observation to the checkers, until the first violation.
    pub fn see(&self, observation: Observation) {
        let truth = self.truth.lock();
        let seen = &mut *self.seen.lock();
        seen.observations += 1;
        match &observation {
            Observation::Asked(question) => seen.asked.count(question),
            Observation::Recorded(records) => seen.events += records.len() as u64,
            _ => {}
        }
        if seen.traced {
            tracing::info!("{observation}");
        }
        if seen.violation.is_some() {
            return;
        }
        let objects = |checker: &mut Box<dyn Checker>| {
            let detail = checker.see(&observation, &truth).err()?;
            Some((checker.name(), detail))
        };
        let mut objections = seen.checkers.iter_mut().filter_map(objects);
        if let Some((checker, detail)) = objections.next() {
            let also = objections.map(|(checker, _)| checker).collect();
            let mut trail: Vec<String> = seen.trail.iter().map(ToString::to_string).collect();
            trail.push(observation.to_string());
            tracing::error!(checker, detail, "rule broken");
            seen.violation = Some(Violation { checker, also, detail, trail });
            return;
        }
        if seen.trail.len() == KEPT {
            seen.trail.pop_front();
        }
        seen.trail.push_back(observation);
    }

    /// Reports a violation that the runner of the world detected itself.
    pub fn broken(&self, checker: &'static str, detail: String) {
        let seen = &mut *self.seen.lock();
        let trail = seen.trail.iter().map(ToString::to_string).collect();
        seen.violation.get_or_insert(Violation { checker, also: Vec::new(), detail, trail });
    }

    /// The first violation.
    pub fn violation(&self) -> Option<Violation> {
        self.seen.lock().violation.clone()
    }

    /// Number of observations, and number of events appended to the history.
    pub fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock();
        (seen.observations, seen.events)
    }

    /// Calls to the source so far.
    pub fn asked(&self) -> Asked {
        self.seen.lock().asked
    }
}

impl tidewatch_core::Monitor for Told {
    fn fault(&self, fault: &Fault) {
        self.watch.see(Observation::Refused(fault.clone()));
    }

    fn status(&self, status: &Status) {
        self.watch.see(Observation::Said(*status, (self.now)()));
    }
}

/// A monitor that records the faults and statuses that a follower reports.
pub struct Told {
    watch: Watch,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Told {
    /// Reports to `watch`, with timestamps from `now`.
    pub fn new(watch: Watch, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { watch, now: Box::new(now) }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}
