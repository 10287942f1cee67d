//! What is seen of a follower from outside, and whether it keeps to the rules.
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
//! The follower runs as it is. At each of its borders stands a wrapper that writes down what crosses it
//! and changes nothing ([`Spied`], [`Kept`], [`Heard`]); every observation goes to every [`Checker`].
//! A checker knows the rule that it stands for, what is true in the world, and nothing of how the
//! follower works. The first broken rule is kept with the observations that led to it.

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
    BlockRef, Change, Cursor, Digest, Fault, Height, Ladder, Record, Snapshot, Status, Watermarks,
};

/// How many observations a violation comes with.
const KEPT: usize = 48;

/// A question to the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// For all tiers.
    Snapshot,
    /// For the digests at these heights.
    Digests(Vec<Height>),
    /// For blocks from a height, under a tip.
    Blocks(Height, BlockRef),
}

/// What the source answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "kept for a moment, a handful at a time")]
pub enum Answer {
    /// All tiers.
    Snapshot(Snapshot),
    /// Digests.
    Digests(Vec<Option<Digest>>),
    /// Blocks.
    Blocks(Vec<TestBlock>),
    /// It refused.
    Fault(Fault),
    /// Whoever asked did not wait for it.
    Dropped,
}

/// Something that crossed a border of the follower.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "kept for a moment, a handful at a time")]
pub enum Observation {
    /// The process started, and found this in its store.
    Opened {
        /// Where the view stands.
        watermarks: Watermarks,
        /// Every event that can be read.
        records: Vec<Record>,
    },
    /// The process is gone.
    Crashed,
    /// The source was asked.
    Asked(Question),
    /// The source answered.
    Answered {
        /// What it was asked.
        question: Question,
        /// What it said.
        answer: Answer,
        /// The simulated time since the world began.
        at: Duration,
        /// After how long.
        took: Duration,
    },
    /// The view was asked where it stands.
    WatermarksRead(Watermarks),
    /// The view took changes in, and says that they are durable.
    Committed {
        /// The changes.
        changes: Vec<Change<TestBlock>>,
        /// Where it stands after them.
        watermarks: Watermarks,
    },
    /// The view refused changes, or was not waited for: any prefix of them may have been made.
    NotCommitted(Option<Fault>),
    /// Events that came into the history, by a commit that succeeded or by one that did not.
    Recorded(Vec<Record>),
    /// A consumer took events in, and said that they are durable, or only that it has them.
    Handled {
        /// Its name.
        consumer: &'static str,
        /// The events.
        records: Vec<Record>,
        /// Whether it said that they are durable.
        durable: bool,
    },
    /// A consumer was given events and refused them, or crashed over them.
    NotHandled {
        /// Its name.
        consumer: &'static str,
        /// The events.
        records: Vec<Record>,
    },
    /// A consumer was asked to start again from an event.
    StartedAgain {
        /// Its name.
        consumer: &'static str,
        /// The event.
        oldest: Record,
    },
    /// A consumer's position was made durable.
    Acknowledged {
        /// Its name.
        consumer: String,
        /// The position.
        cursor: Cursor,
    },
    /// A consumer's durable position was asked for.
    Position {
        /// Its name.
        consumer: String,
        /// What it was.
        cursor: Option<Cursor>,
    },
    /// The follower refused something.
    Refused(Fault),
    /// What the follower says of itself, at a time of its own clock.
    Said(Status, Duration),
    /// The world moved: what is true now.
    Moved(String),
    /// Time passed: the simulated time since the world began.
    Clock(Duration),
    /// What certificates cost since the process started.
    Certificates(Certificates),
    /// An actor of the follower ended.
    Ended {
        /// Which one.
        actor: &'static str,
        /// How.
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
            Self::Asked(question) => write!(f, "asks {question}"),
            Self::Answered { question, answer, took, .. } => {
                write!(f, "told after {took:?}, {question}: {answer}")
            }
            Self::WatermarksRead(watermarks) => {
                write!(f, "stands at {}", watermarks_words(watermarks))
            }
            Self::Committed { changes, watermarks } => {
                write!(
                    f,
                    "commits {} changes, now at {}",
                    changes.len(),
                    watermarks_words(watermarks)
                )
            }
            Self::NotCommitted(fault) => write!(f, "does not commit: {fault:?}"),
            Self::Recorded(records) => {
                let events: Vec<_> = records.iter().map(|record| record.event).collect();
                write!(f, "event {}: {}", span(records), words(&events).join(", "))
            }
            Self::Handled { consumer, records, durable } => {
                let how = if *durable { "keeps" } else { "has" };
                write!(f, "{consumer} {how} {}", span(records))
            }
            Self::NotHandled { consumer, records } => {
                write!(f, "{consumer} fails over {}", span(records))
            }
            Self::StartedAgain { consumer, oldest } => {
                write!(f, "{consumer} starts again at {}", oldest.sequence())
            }
            Self::Acknowledged { consumer, cursor } => {
                write!(f, "{consumer} acknowledged up to {}", cursor.handled())
            }
            Self::Position { consumer, cursor } => {
                let handled = cursor.as_ref().map(Cursor::handled);
                write!(f, "{consumer} goes on from {handled:?}")
            }
            Self::Refused(fault) => write!(f, "refuses: {fault}"),
            Self::Said(status, at) => {
                write!(f, "says {} at {at:?}, {} behind", status.state, status.lag)
            }
            Self::Moved(how) => write!(f, "the world moved: {how}"),
            Self::Certificates(Certificates { tips, pushes, heights, .. }) => write!(
                f,
                "checked {}/{} certificates of tips, {}/{} pushed, {}/{} of heights",
                tips.0, tips.1, pushes.0, pushes.1, heights.0, heights.1
            ),
            Self::Clock(time) => write!(f, "it is {time:?}"),
            Self::Ended { actor, result } => write!(f, "{actor} ended: {result:?}"),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot => f.write_str("for the tips"),
            Self::Digests(heights) => {
                write!(f, "for digests at ")?;
                heights.iter().try_for_each(|height| write!(f, "{height} "))
            }
            Self::Blocks(from, tip) => write!(f, "for blocks from {from} to {}", word(*tip)),
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
            Self::Dropped => f.write_str("nobody waited"),
        }
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The checker that saw it.
    pub checker: &'static str,
    /// What was seen.
    pub detail: String,
    /// The last observations before it, oldest first.
    pub trail: Vec<String>,
}

struct Seen {
    checkers: Vec<Box<dyn Checker>>,
    trail: VecDeque<Observation>,
    violation: Option<Violation>,
    /// Every observation is told to the log.
    traced: bool,
    observations: u64,
    events: u64,
    asked: Asked,
}

/// Certificates by reason: how many were checked, and how many came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// In answers to questions for a tip.
    pub tips: (u64, u64),
    /// In pushes.
    pub pushes: (u64, u64),
    /// In answers to questions for a height.
    pub heights: (u64, u64),
    /// Of all that came, those that had not come before, or did not verify maybe.
    pub new: u64,
}

impl Certificates {
    /// All that were checked.
    pub const fn checked(&self) -> u64 {
        self.tips.0 + self.pushes.0 + self.heights.0
    }
}

/// Questions to the source, by kind.
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
    /// What was asked since `before`.
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
            Question::Digests(_) => self.digests += 1,
            Question::Blocks(..) => self.ranges += 1,
        }
    }
}

/// Everything that is known of the world, for checkers.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The order in which the tiers may stand.
    pub ladder: Ladder,
    /// Whether blocks are delivered.
    pub blocks: bool,
    /// Whether what the source says has been verified, so that a lie never gets through.
    pub certified: bool,
    /// Heights in one question.
    pub digests_max: u64,
    /// A call to the source ends after this.
    pub deadline: Duration,
    /// The next pass begins after this at the latest.
    pub wait: Duration,
    /// Status thresholds of the driver.
    pub thresholds: tidewatch_stream::Thresholds,
}

/// Takes every observation to every checker. Cheap to clone.
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
    /// Watches a follower of `truth` with every checker there is.
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

    /// Something was seen.
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
            tracing::error!(checker = checker.name(), detail, "a rule is broken");
            seen.violation = Some(Violation { checker: checker.name(), detail, trail });
            return;
        }
        if seen.trail.len() == KEPT {
            seen.trail.pop_front();
        }
        seen.trail.push_back(observation);
    }

    /// A rule that only whoever runs the world can see is broken.
    pub fn broken(&self, checker: &'static str, detail: String) {
        let seen = &mut *self.seen.lock();
        let trail = seen.trail.iter().map(ToString::to_string).collect();
        seen.violation.get_or_insert(Violation { checker, detail, trail });
    }

    /// The first rule that was broken.
    pub fn violation(&self) -> Option<Violation> {
        self.seen.lock().violation.clone()
    }

    /// How many observations there were, and how many events came into the history.
    pub fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock();
        (seen.observations, seen.events)
    }

    /// What the source was asked so far.
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

/// Writes down what a follower says of itself.
pub struct Told {
    watch: Watch,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Told {
    /// Says it to `watch`, with the time of `now`.
    pub fn new(watch: Watch, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { watch, now: Box::new(now) }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}
