//! A line as it is sent: encoded once, whoever it goes to.

use bytes::Bytes;
use serde::Serialize;
use std::io::Write as _;
use tidewatch_core::{
    Record,
    json::{Control, Line},
};

/// How lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// Server-sent events.
    Sse,
    /// JSON lines.
    Lines,
    /// JSON lines, which come over a WebSocket in a message each.
    Socket,
}

impl Transport {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Lines => "lines",
            Self::Socket => "socket",
        }
    }
}

/// One line. Every form of it is a part of the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// A server-sent event.
    bytes: Bytes,
    /// Where its data begins.
    data: usize,
}

impl Frame {
    pub(crate) fn event(record: &Record) -> Self {
        let line = Line::event(&record.event, &record.cursor);
        Self::new(record.event.name(), &record.cursor.to_string(), &line)
    }

    pub(crate) fn control(control: &Control<'_>) -> Self {
        Self::new(control.name(), control.cursor(), control)
    }

    /// An event `name` with the position `id` after it. Neither has a line break in it.
    #[expect(clippy::expect_used, reason = "lines have no maps, and memory takes what is written")]
    pub(crate) fn new(name: &str, id: &str, line: &impl Serialize) -> Self {
        let mut bytes = Vec::with_capacity(1_536);
        write!(bytes, "event: {name}\nid: {id}\ndata: ").expect("memory takes what is written");
        let data = bytes.len();
        serde_json::to_writer(&mut bytes, line).expect("a line can be written as JSON");
        bytes.extend_from_slice(b"\n\n");
        Self { bytes: bytes.into(), data }
    }

    /// As it is sent over `transport`.
    pub(crate) fn sent(&self, transport: Transport) -> Bytes {
        match transport {
            Transport::Sse => self.bytes.clone(),
            Transport::Lines | Transport::Socket => {
                self.bytes.slice(self.data..self.bytes.len() - 1)
            }
        }
    }

    /// The object alone.
    pub(crate) fn object(&self) -> &[u8] {
        &self.bytes[self.data..self.bytes.len() - 2]
    }
}
