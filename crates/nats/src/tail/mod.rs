//! Reads the stream from a place on, and goes by the [law](crate::reader) whatever happens to servers and publishers.
//!
//! # Overview
//!
//! ```text
//!                     ┌───────────── look: is the message at my place still the one that I took? ◀──────────┐
//!                     ▼                                                                                      │
//!  stream ──feed──▶ Tail ──Reader::take──▶ Taken { place, given }: one event, or the way back, or a restart  │
//!                     │                                                                                      │
//!                     └── connected again, silent for too long, or a message that does not follow ───────────┘
//! ```
//!
//! Its owner calls [`Tail::next`], does what is given, and keeps the place with it: in the same transaction, or
//! afterwards. What is given after a start from a kept place is what comes after it.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | a server restarts, or another one of the cluster leads | the feed is made again from the reader's place |
//! | nothing comes, not even a sign of life, for [`Config::silence`] | likewise |
//! | nothing is new for [`Config::audit`] | it is looked whether the message that was read last is still there |
//! | that message is gone, or is another one: the cluster forgot | reading goes on from the newest message that this reader took and that is still there; of a reader that has just begun, from the record at or below its place. Nothing comes twice: see the [law](crate::reader) |
//! | the stream was made anew | likewise, from its first message |
//! | the oldest message that is kept is beyond the place | [`Error::Trimmed`], with the place to start again from |
//! | the cursor that reading began from is in no message, and the oldest is beyond it | likewise |
//! | something else writes to the stream, or it is of another chain, or contradicts what is final | it ends with that reason |
//! | no server answers | reported, and tried again with growing pauses, for as long as it takes |
//!
//! # Cost
//!
//! Messages are pushed by the server, up to 256 ahead of the reader. Two small requests at each start of a feed, one each
//! [`Config::audit`] while nothing is new. A reader that begins from a cursor alone reads from the oldest message that is kept.

mod plan;
mod port;
mod reading;

pub use plan::{Look, look};
pub use port::{Bounds, Feed, Stream};
pub use reading::Tail;

#[cfg(doc)]
use crate::Error;
use crate::MessageId;
use bytes::Bytes;
use std::time::Duration;
use tidewatch_core::{
    ChainId, Cursor, Event,
    json::{Control, Line, Reset},
};

/// How a stream is read.
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain.
    pub chain: ChainId,
    /// How long an answer is waited for.
    pub answer: Duration,
    /// After so long without a sign of life a feed counts as lost: more than twice the time between two of them.
    pub silence: Duration,
    /// How often it is looked, while nothing is new, whether what was read is still there.
    pub audit: Duration,
    /// The first pause before something is tried again; it doubles up to `retry_max`.
    pub retry: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
}

impl Config {
    /// The defaults: 2 s for an answer, 12 s of silence, an audit every 5 s, pauses of 50 ms to 1 s.
    pub const fn new(chain: ChainId) -> Self {
        Self {
            chain,
            answer: Duration::from_secs(2),
            silence: Duration::from_secs(12),
            audit: Duration::from_secs(5),
            retry: Duration::from_millis(50),
            retry_max: Duration::from_secs(1),
        }
    }
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// With the oldest message that is kept.
    Oldest,
    /// With the newest one.
    Newest,
    /// After everything up to this position, wherever that is in the stream.
    Position(Box<Cursor>),
    /// After this message.
    Place(Box<Place>),
}

/// A message that was taken, and where it left the reader: what a reader keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its name.
    pub id: MessageId,
    /// The position after it.
    pub cursor: Cursor,
}

/// What a reader is given, and its place then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where the reader stands once this is done.
    pub place: Place,
    /// What to do.
    pub given: Given,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is handled and dropped; most are events")]
pub enum Given {
    /// The next event.
    Event {
        /// The event.
        event: Event,
        /// Its JSON line, as it was published.
        line: Bytes,
    },
    /// Events that are in no message, each with the position after it: they lead from a history that was forgotten to the
    /// one that is there.
    Back(Vec<(Event, Cursor)>),
    /// What is known counts no more: stand at the place's cursor. It is given first to a reader that begins, and where no
    /// event leads on.
    Restart,
}

impl Taken {
    /// As JSON lines: of an event the one that was published, of a restart a `reset`.
    pub fn lines(&self) -> Vec<Bytes> {
        let json = |line: serde_json::Result<Vec<u8>>| Bytes::from(line.unwrap_or_default());
        match &self.given {
            Given::Event { line, .. } => vec![line.clone()],
            Given::Back(events) => {
                let line = |(event, cursor)| json(serde_json::to_vec(&Line::event(event, cursor)));
                events.iter().map(|(event, cursor)| line((event, cursor))).collect()
            }
            Given::Restart => {
                let cursor = &self.place.cursor;
                let detail = "no event of the stream leads here: start from this position";
                let reset = Reset::new("start", detail, cursor, &cursor.watermarks());
                vec![json(serde_json::to_vec(&Control::Reset(reset)))]
            }
        }
    }
}

/// Names this in faults.
const NATS: &str = "nats";
