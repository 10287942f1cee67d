//! The doorbell: the client's event stream, which is read as far as a ring needs it.
//!
//! Only the names of events are read. What they say is not believed, and so not looked at: a ring makes a pass.
//!
//! # Early rings
//!
//! A consensus client pushes a head, and tells the execution node of it at about the same time. The pass may come
//! first, and see the head before. So the bell rings again, a few times, until the node's highest block moved.
//!
//! # Back-off
//!
//! A stream that ends is opened again after a wait that doubles. Only an event after which the execution node's
//! highest block moved begins it anew: a client can take connections, and push what everybody knows, for nothing.

use super::{client::Client, error::BeaconError};
use commonware_runtime::Clock;
use futures::stream::unfold;
use std::{sync::Arc, time::Duration};
use tidewatch_core::Doorbell;
use tracing::debug;

/// The longest line, in bytes. That of a head has 500.
pub(super) const LINE_MAX: usize = 8 * 1024;

/// After these times a head that was pushed is rung for again, where the execution node did not move.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// What a part of the stream brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// A new head.
    pub(super) head: bool,
    /// A new finalized checkpoint.
    pub(super) finalized: bool,
}

/// Reads server-sent events, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// What the event at hand would be.
    event: Heard,
    /// The last byte was a carriage return: a line feed after it ends no line.
    returned: bool,
}

impl Parser {
    /// What is complete with `bytes`.
    ///
    /// # Errors
    ///
    /// A line that is too long.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Heard, BeaconError> {
        let mut heard = Heard::default();
        for byte in bytes {
            let returned = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if returned => {}
                b'\n' | b'\r' => self.end(&mut heard),
                _ if self.line.len() == LINE_MAX => {
                    return Err(BeaconError::LongLine { max: LINE_MAX });
                }
                byte => self.line.push(*byte),
            }
        }
        Ok(heard)
    }

    /// A line is over. An empty one ends the event.
    fn end(&mut self, heard: &mut Heard) {
        if self.line.is_empty() {
            let Heard { head, finalized } = std::mem::take(&mut self.event);
            heard.head |= head;
            heard.finalized |= finalized;
        } else if let Some(name) = self.line.strip_prefix(b"event:") {
            let name = name.strip_prefix(b" ").unwrap_or(name);
            self.event =
                Heard { head: name == b"head", finalized: name == b"finalized_checkpoint" };
        }
        self.line.clear();
    }
}

/// Rings for every event, and once after each time that the stream had to be opened: what was pushed in between
/// was not heard.
pub(super) fn doorbell<E: Clock>(client: Arc<Client<E>>) -> Doorbell {
    Doorbell::new(unfold((client, None, 0), |(client, mut open, mut again)| async move {
        loop {
            let Some(stream) = open.as_mut() else {
                match client.listen().await {
                    Ok(stream) => {
                        client.pushed(Heard { head: false, finalized: true });
                        open = Some(stream);
                        break;
                    }
                    Err(fault) => debug!(%fault, "no events"),
                }
                client.rest().await;
                continue;
            };
            let wait = AGAIN.get(again).copied();
            match client.next(stream, wait).await {
                Ok(None) if client.is_news() => {
                    again += 1;
                    break;
                }
                Ok(None) => again = AGAIN.len(),
                Ok(Some(heard)) if heard == Heard::default() => {}
                Ok(Some(heard)) => {
                    client.pushed(heard);
                    again = 0;
                    break;
                }
                Err(fault) => {
                    debug!(%fault, "no more events");
                    open = None;
                    client.rest().await;
                }
            }
        }
        Some(((), (client, open, again)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded of Lodestar 1.5.1.
    const RECORDED: &[u8] = include_bytes!("recorded/events.txt");

    fn count(chunks: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
        let mut parser = Parser::default();
        chunks.fold((0, 0), |(heads, finalized), chunk| {
            let heard = parser.take(&chunk).unwrap();
            (heads + usize::from(heard.head), finalized + usize::from(heard.finalized))
        })
    }

    #[test]
    fn recorded_events_are_read_however_they_are_cut_and_whatever_ends_their_lines() {
        let text = std::str::from_utf8(RECORDED).unwrap();
        let heads = text.matches("event: head").count();
        let finalized = text.matches("event: finalized_checkpoint").count();
        assert!(heads > 1 && finalized > 0);
        for end in ["\n", "\r\n", "\r"] {
            let bytes = text.replace('\n', end).into_bytes();
            assert_eq!(count(bytes.iter().map(|byte| vec![*byte])), (heads, finalized), "{end:?}");
            let whole = Parser::default().take(&bytes).unwrap();
            assert_eq!(whole, Heard { head: true, finalized: true });
        }
    }

    #[test]
    fn what_is_no_event_of_ours_rings_nothing() {
        let table = [
            ("", Heard::default()),
            (": keep-alive\n\n", Heard::default()),
            ("data: {}\n\n", Heard::default()),
            ("event: block\ndata: {}\n\n", Heard::default()),
            ("event: heads\n\n", Heard::default()),
            ("event: head\ndata: {}\n", Heard::default()),
            ("event:head\ndata: {}\n\n", Heard { head: true, finalized: false }),
            ("event: head\nevent: block\n\n", Heard::default()),
            ("retry: 1\nevent: finalized_checkpoint\n\n", Heard { head: false, finalized: true }),
        ];
        for (text, want) in table {
            assert_eq!(Parser::default().take(text.as_bytes()), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut parser = Parser::default();
        let long = BeaconError::LongLine { max: LINE_MAX };
        assert_eq!(parser.take(&vec![b'x'; LINE_MAX]), Ok(Heard::default()));
        assert_eq!(parser.take(b"x"), Err(long.clone()));
        assert_eq!(Parser::default().take(&vec![b'x'; LINE_MAX + 1]), Err(long));
    }
}
