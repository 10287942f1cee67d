//! Observes a follower from outside and checks that it obeys the rules.
//!
//! # Overview
//!
//! ```text
//!  Source ◀── Spied ──┐                          ┌── ladder, ancestry, finality, regressions
//!  Store  ◀── Kept  ──┼── Observation ──▶ Watch ─┼── given, linked, replay, looks, announced
//!  Monitor, consumers ┘                          ├── durability, delivery, acknowledged
//!                                                └── budget, deadlines, status, faults
//! ```
//!
//! The follower is the production code. A wrapper around each of its ports records every call and
//! changes nothing ([`Spied`], [`Kept`], [`Heard`]); every observation goes to every [`Checker`]. A
//! checker knows its rule and the true state of the world, and nothing about how the follower works.
//! The first violation is kept, together with the observations that led to it.

mod checkers;
mod log;
mod source;
mod view;

pub use checkers::{Checker, all};
pub use log::Heard;
pub use source::Spied;
pub use view::Kept;

use crate::{
    scripted::{
        chain::TestBlock,
        words::{tips_words, watermarks_words, word, words},
    },
    world::Truth,
};
use commonware_utils::sync::Mutex;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};
use tidewatch_core::{
    BlockRef, Change, Conflict, Cursor, Digest, Fault, Height, Ladder, Record, Snapshot, Status,
    Watermarks,
};

/// Number of observations in the trail of a violation.
const KEPT: usize = 48;

/// A question to the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// For all tiers.
    Snapshot,
    /// Under this tip, for the digests at these heights.
    Digests(BlockRef, Vec<Height>),
    /// Under this tip, for blocks from this height.
    Blocks(BlockRef, Height),
}

/// A response of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "kept for a moment, a handful at a time")]
pub enum Answer {
    /// All tiers.
    Snapshot(Snapshot),
    /// Digests.
    Digests(Vec<Option<Digest>>),
    /// Blocks.
    Blocks(Vec<TestBlock>),
    /// The call failed.
    Fault(Fault),
    /// The caller dropped the call before it returned.
    Dropped,
}

/// A call, a result or a report at a port of the follower, or a change of the world.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "kept for a moment, a handful at a time")]
pub enum Observation {
    /// The process started and opened its store.
    Opened {
        /// Watermarks of the view.
        watermarks: Watermarks,
        /// Every event that can be read.
        records: Vec<Record>,
    },
    /// The process crashed.
    Crashed,
    /// A call to the source started.
    Asked(Question),
    /// A call to the source ended.
    Answered {
        /// The call.
        question: Question,
        /// Its result.
        answer: Answer,
        /// Simulated time since the world began.
        at: Duration,
        /// Duration of the call.
        took: Duration,
    },
    /// The driver read the watermarks of the view.
    WatermarksRead(Watermarks),
    /// A commit returned: the changes are durable.
    Committed {
        /// The changes.
        changes: Vec<Change<TestBlock>>,
        /// Watermarks of the view after them.
        watermarks: Watermarks,
    },
    /// A commit failed or was dropped: any prefix of its changes may have been applied.
    NotCommitted(Option<Fault>),
    /// Both sides of a contradiction about a finalized block were kept.
    Evidence(Conflict),
    /// Events were appended to the history, whether or not their commit succeeded.
    Recorded(Vec<Record>),
    /// A consumer handled events and acknowledged them.
    Handled {
        /// Name of the consumer.
        consumer: &'static str,
        /// The events.
        records: Vec<Record>,
        /// Whether it acknowledged them as durable.
        durable: bool,
    },
    /// A consumer failed to handle events, or panicked.
    NotHandled {
        /// Name of the consumer.
        consumer: &'static str,
        /// The events.
        records: Vec<Record>,
    },
    /// A consumer was restarted from an event.
    StartedAgain {
        /// Name of the consumer.
        consumer: &'static str,
        /// The event.
        oldest: Record,
    },
    /// A consumer's position was made durable.
    Acknowledged {
        /// Name of the consumer.
        consumer: String,
        /// The position.
        cursor: Cursor,
    },
    /// A consumer's durable position was read.
    Position {
        /// Name of the consumer.
        consumer: String,
        /// The position; `None` if there is none.
        cursor: Option<Cursor>,
    },
    /// The follower reported a fault.
    Refused(Fault),
    /// The follower reported its status, at a time of its own clock.
    Said(Status, Duration),
    /// The chain changed; the text describes how.
    Moved(String),
    /// Time passed: the simulated time since the world began.
    Clock(Duration),
    /// Certificates received and verified since the process started.
    Certificates(Certificates),
    /// An actor of the follower ended.
    Ended {
        /// Name of the actor.
        actor: &'static str,
        /// Its result.
        result: Result<(), Fault>,
    },
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |records: &[Record]| match records {
            [] => "nothing".to_string(),
            [first, ..] => format!(
                "{}..+{} to {}",
                first.sequence(),
                records.len(),
                records.last().map_or(String::new(), |last| watermarks_words(&last.watermarks)),
            ),
        };
        match self {
            Self::Opened { watermarks, records } => {
                write!(f, "opened at {} with {}", watermarks_words(watermarks), span(records))
            }
            Self::Crashed => f.write_str("crashed"),
            Self::Asked(question) => write!(f, "requests {question}"),
            Self::Answered { question, answer, took, .. } => {
                write!(f, "response after {took:?} to {question}: {answer}")
            }
            Self::WatermarksRead(watermarks) => {
                write!(f, "view at {}", watermarks_words(watermarks))
            }
            Self::Committed { changes, watermarks } => {
                write!(
                    f,
                    "commits {} changes, now at {}",
                    changes.len(),
                    watermarks_words(watermarks)
                )
            }
            Self::NotCommitted(fault) => write!(f, "commit failed: {fault:?}"),
            Self::Recorded(records) => {
                let events: Vec<_> = records.iter().map(|record| record.event).collect();
                write!(f, "event {}: {}", span(records), words(&events).join(", "))
            }
            Self::Handled { consumer, records, durable } => {
                let how = if *durable { "persisted" } else { "accepted" };
                write!(f, "{consumer} {how} {}", span(records))
            }
            Self::NotHandled { consumer, records } => {
                write!(f, "{consumer} failed to handle {}", span(records))
            }
            Self::StartedAgain { consumer, oldest } => {
                write!(f, "{consumer} restarted at {}", oldest.sequence())
            }
            Self::Acknowledged { consumer, cursor } => {
                write!(f, "{consumer} acknowledged up to {}", cursor.handled())
            }
            Self::Position { consumer, cursor } => {
                let handled = cursor.as_ref().map(Cursor::handled);
                write!(f, "{consumer} resumes after {handled:?}")
            }
            Self::Refused(fault) => write!(f, "fault: {fault}"),
            Self::Said(status, at) => {
                write!(f, "status {} at {at:?}, {} behind", status.state, status.lag)
            }
            Self::Evidence(conflict) => {
                write!(f, "evidence: {} here, {} there", word(conflict.ours), word(conflict.theirs))
            }
            Self::Moved(how) => write!(f, "the chain moved: {how}"),
            Self::Certificates(Certificates { tips, pushes, heights, .. }) => write!(
                f,
                "verified {}/{} certificates of tips, {}/{} pushed, {}/{} of heights",
                tips.0, tips.1, pushes.0, pushes.1, heights.0, heights.1
            ),
            Self::Clock(time) => write!(f, "time {time:?}"),
            Self::Ended { actor, result } => write!(f, "{actor} ended: {result:?}"),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot => f.write_str("the tips"),
            Self::Digests(tip, heights) => {
                write!(f, "digests under {} at ", word(*tip))?;
                heights.iter().try_for_each(|height| write!(f, "{height} "))
            }
            Self::Blocks(tip, from) => write!(f, "blocks from {from} to {}", word(*tip)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(snapshot) => f.write_str(&tips_words(&snapshot.tips)),
            Self::Digests(digests) => write!(f, "{} digests", digests.iter().flatten().count()),
            Self::Blocks(blocks) => write!(f, "{} blocks", blocks.len()),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Dropped => f.write_str("dropped by the caller"),
        }
    }
}

/// A broken rule.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Name of the checker that detected it.
    pub checker: &'static str,
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
        for checker in &mut seen.checkers {
            let Err(detail) = checker.see(&observation, &truth) else { continue };
            let mut trail: Vec<String> = seen.trail.iter().map(ToString::to_string).collect();
            trail.push(observation.to_string());
            tracing::error!(checker = checker.name(), detail, "rule broken");
            seen.violation = Some(Violation { checker: checker.name(), detail, trail });
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
        seen.violation.get_or_insert(Violation { checker, detail, trail });
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
