//! What is observed, and how it reads in the trail of a violation.

use super::Certificates;
use std::{fmt, time::Duration};
use tidewatch_core::{
    BlockRef, Change, Conflict, Cursor, Digest, Fault, Height, Record, Resume, ResumeError,
    Snapshot, Status, Watermarks,
};
use tidewatch_stream::Mode;
use tidewatch_testkit::{
    chain::TestBlock,
    words::{tips_words, watermarks_words, word, words},
};

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

/// What a log was seen to have, as far as it matters to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where it stands.
    pub watermarks: Watermarks,
    /// The oldest event that can be read.
    pub oldest_event: u64,
    /// The oldest block that is held.
    pub oldest_block: Option<Height>,
    /// Whether it has the very block that the position stands on.
    pub has_head: bool,
}

/// What a log answered to a position, and what it had just before and after that.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// Mode of the follower that writes the log.
    pub mode: Mode,
    /// The position.
    pub cursor: Cursor,
    /// The answer.
    pub answer: Result<Resume, ResumeError>,
    /// Whether the position that a refusal names is not refused as well.
    pub leads: bool,
    /// What the log had before.
    pub before: Log,
    /// What it had after.
    pub after: Log,
}

/// A call, a result or a report at a port of the follower, or a change of the world.
#[derive(Clone, Debug)]
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
    /// A consumer that keeps its position itself arrived at a log.
    Arrived {
        /// Its position.
        cursor: Option<Cursor>,
    },
    /// A log answered to the position of that consumer.
    Resumed(Box<Resumed>),
    /// That consumer handled events.
    Travelled {
        /// Mode of the follower that writes the log.
        mode: Mode,
        /// The events.
        records: Vec<Record>,
    },
    /// That consumer was restarted from an event.
    StartedOver {
        /// The event.
        oldest: Record,
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
            Self::Arrived { cursor } => {
                let stands = cursor.as_ref().map(|cursor| watermarks_words(&cursor.watermarks()));
                write!(f, "the traveller arrives from {stands:?}")
            }
            Self::Resumed(resumed) => {
                let Resumed { cursor, answer, before, mode, .. } = &**resumed;
                let (from, log) =
                    (watermarks_words(&cursor.watermarks()), watermarks_words(&before.watermarks));
                write!(f, "position {from} at a log at {log} of {mode:?}: ")?;
                match answer {
                    Ok(Resume::Exact { next }) => write!(f, "event {next}"),
                    Ok(Resume::Forked { bridge, next, .. }) => {
                        let events: Vec<_> = bridge.iter().map(|record| record.event).collect();
                        write!(f, "{}, then event {next}", words(&events).join(", "))
                    }
                    Err(error) => write!(f, "{error}"),
                }
            }
            Self::Travelled { records, .. } => {
                let events: Vec<_> = records.iter().map(|record| record.event).collect();
                write!(f, "the traveller handled {}: {}", span(records), words(&events).join(", "))
            }
            Self::StartedOver { oldest } => {
                write!(f, "the traveller restarted at {}", watermarks_words(&oldest.watermarks))
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
