//! Where each named consumer is, in a bucket at the cluster: the port `Positions` for those who keep nothing themselves.
//!
//! # Overview
//!
//! One record for each consumer in the bucket `TIDEWATCH_POSITIONS_<chain>`: the cursor, with the place in the stream where
//! the consumer reads that ([`Positions::keep`]). The embedded store is the same port, and both pass one suite
//! (`tidewatch_conformance::positions`).
//!
//! # Two of one name
//!
//! A record is written over the revision that its writer knows, never blindly. So of two consumers of one name, which would
//! each move the other's position, the one that came last has it: its first write takes the record over, and the next write
//! of the older one is refused ([`Error::Taken`](crate::Error::Taken)), for good. That is the consumer that was restarted
//! elsewhere while the old one was thought dead. What tells them apart is drawn when the positions are opened.
//!
//! | the record is | a write |
//! |---|---|
//! | as its writer left it | is made |
//! | not known to the writer, because it has just begun | takes it over |
//! | a newer one of this writer, whose answer was lost, or an older one, because the cluster forgot | is made over that |
//! | gone: forgotten by an operator or by the cluster | is made, as a first one |
//! | a newer one of another writer | is refused |
//!
//! # Limits
//!
//! 256 consumers, as in the embedded store, give or take those that begin at one moment: whoever begins counts them. The bucket
//! has room for twice as many, because a cluster refuses even to replace a record in one that is full. Names have at most 128 bytes; what a key of NATS cannot
//! have is written `=` and two hex digits. A position ahead of the stream is not refused: only a reader can tell.
//!
//! # No event log
//!
//! The port `EventLog` is not served from a stream. A record of a log has a number for ever, and the next one has the next
//! number. In a stream that a cluster may forget the end of, another event takes the number of one that was read; readers that
//! go by numbers alone would not see it. Names see it, and `undo` what was read, which a log cannot say
//! ([`reader`](crate::reader)). Whoever needs a log takes the stream into a store.

mod bucket;
mod plan;

pub use bucket::Positions;
pub use plan::{Judged, Record, judge};

use crate::{
    MessageId,
    tail::{From, Place},
};
use serde::{Deserialize, Serialize};
use tidewatch_core::Cursor;

/// Longest name of a consumer, in bytes.
pub const NAME_MAX: usize = 128;
/// Consumers that can have a position.
pub const CONSUMERS_MAX: usize = 256;

/// The key of a consumer.
pub fn key(consumer: &str) -> String {
    let mut key = String::with_capacity(consumer.len());
    for byte in consumer.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => key.push(char::from(byte)),
            _ => key.push_str(&format!("={byte:02X}")),
        }
    }
    key
}

/// The consumer of a key; `None` for one that nobody of us made.
pub fn consumer(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    // One consumer has one key.
    (self::key(&name) == key).then_some(name)
}

/// What is kept of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its position.
    pub cursor: Cursor,
    /// The message of the stream that brought it there, where that is known.
    pub message: Option<(u64, MessageId)>,
}

impl Kept {
    /// Where reading goes on.
    pub fn from(self) -> From {
        let Self { cursor, message } = self;
        match message {
            Some((sequence, id)) => From::Place(Box::new(Place { sequence, id, cursor })),
            None => From::Position(Box::new(cursor)),
        }
    }
}

/// A record, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    writer: String,
}

impl Written {
    fn new(kept: &Kept, writer: &str) -> Self {
        let (sequence, id) =
            kept.message.as_ref().map(|(at, id)| (*at, id.as_str().into())).unzip();
        Self { cursor: kept.cursor.to_string(), sequence, id, writer: writer.into() }
    }

    fn kept(self) -> Option<Kept> {
        let cursor = self.cursor.parse().ok()?;
        let id = self.id.filter(|id| id.len() <= NAME_MAX).map(MessageId::read);
        Some(Kept { cursor, message: self.sequence.zip(id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_key_that_a_bucket_takes() {
        for name in ["indexer-1_a", "a.b", "a*", ">", "a b", "=41", "ä/ö", "..", "A"] {
            let key = key(name);
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=');
            assert!(key.chars().all(legal), "{name}: {key}");
            assert_eq!(consumer(&key).as_deref(), Some(name), "{key}");
        }
        assert_eq!((key("a"), key("a.b")), ("a".into(), "a=2Eb".into()));
        for other in ["a.b", "=", "=4", "=zz", "=2e", "=41", "=FF"] {
            assert_eq!(consumer(other), None, "{other}");
        }
    }
}
