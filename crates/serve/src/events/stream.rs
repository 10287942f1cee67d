//! Streams that go on: server-sent events and JSON lines.
//!
//! The body of a stream is asked for its next piece when the socket has room. So a reader that does not read is
//! not read for, and holds nothing but its position.

use super::{
    Ask, From, Refusal,
    open::{Opened, Outcome, open},
    reader::{Reader, Step},
};
use crate::{
    frame::{Frame, Transport},
    gate::Slot,
    served::Served,
    shared::Shared,
    tail::{Beat, Entry},
};
use bytes::{Bytes, BytesMut};
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::{FutureExt as _, Stream, future::BoxFuture, stream};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{
    Cursor, Fault, State,
    json::{Bookmark, Control, Goodbye, Hello, Reason, Resumes},
};
use tokio::sync::watch;

/// A consumer that filters gets its position at the latest after so many events that it did not get.
const PASSED_OVER: u64 = 1_000;

/// When to come again after a stream that a server ended.
const RETRY: Duration = Duration::from_secs(1);

/// One stream.
pub(crate) struct Following<E, L> {
    context: Arc<E>,
    shared: Arc<Shared<L>>,
    ask: Ask,
    transport: Transport,
    beat: watch::Receiver<Beat>,
    phase: Phase<L>,
    /// The state of the follower that the consumer knows of; `None` until it has caught up.
    told: Option<State>,
    /// When the consumer is to be notified of its position.
    due: SystemTime,
    /// Events that may still come.
    left: u64,
    slot: Option<Slot>,
    /// Its last line was given.
    ended: bool,
}

impl<E, L> Drop for Following<E, L> {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.metrics.ended(self.transport, None);
        }
    }
}

enum Phase<L> {
    /// The first piece was not asked for yet.
    Begins(Box<Outcome>),
    Reads(Box<Reader<L>>),
    /// The cursor is ahead of this server until a time.
    Waits(Box<Cursor>, SystemTime),
    Over,
}

/// The body of a stream that begins with `outcome`.
pub(crate) fn stream<E: Clock, L: Served>(
    context: Arc<E>,
    shared: Arc<Shared<L>>,
    ask: Ask,
    transport: Transport,
    outcome: Outcome,
    slot: Option<Slot>,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    let following = Following {
        due: context.current() + shared.config.heartbeat,
        left: ask.limit.unwrap_or(u64::MAX),
        told: None,
        beat: shared.tail.watch(),
        phase: Phase::Begins(Box::new(outcome)),
        slot,
        ended: false,
        context,
        shared,
        ask,
        transport,
    };
    stream::unfold(following, |mut following| async move {
        let piece = following.piece().await?;
        Some((Ok(piece), following))
    })
}

impl<E: Clock, L: Served> Following<E, L> {
    /// The next piece; `None` after the last one.
    async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let piece = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Over => return None,
                Phase::Begins(outcome) => Some(self.begin(*outcome)),
                // What is rare is on the heap while it lasts: a stream that idles has no room for it.
                Phase::Waits(cursor, until) => self.wait(cursor, until).boxed().await,
                Phase::Reads(reader) => self.read(reader).await,
            };
            if piece.as_ref().is_some_and(|piece| !piece.is_empty()) {
                return piece;
            }
        }
    }

    fn sent(&self, control: &Control<'_>) -> Bytes {
        let metrics = &self.shared.metrics;
        metrics.sent(self.transport, control.name(), 1);
        Frame::control(control).sent(self.transport)
    }

    fn begin(&mut self, outcome: Outcome) -> Bytes {
        match outcome {
            Outcome::Opened(opened) => {
                let hello = self.hello(&opened);
                self.follow(*opened);
                hello
            }
            Outcome::Ahead(ahead) => {
                let (cursor, _) = *ahead;
                let until = self.context.current() + self.shared.config.ahead;
                let (how, watermarks) = (Resumes::Ahead, cursor.watermarks());
                let opened = Opened::at(how, cursor.clone(), watermarks, cursor.handled());
                self.phase = Phase::Waits(Box::new(cursor), until);
                self.hello(&opened)
            }
            Outcome::Refused(refusal) => {
                let hello = self.hello(&refusal.restarted());
                join([hello, self.reset(&refusal)])
            }
        }
    }

    fn follow(&mut self, opened: Opened) {
        self.phase = Phase::Reads(Box::new(Reader::new(self.shared.clone(), opened, &self.ask)));
    }

    fn hello(&self, opened: &Opened) -> Bytes {
        self.shared.metrics.resumed(opened.how);
        if !opened.bridge.is_empty() {
            self.shared.metrics.bridged(opened.bridge.len());
        }
        let Shared { chain_info, ladder, heads, config, .. } = &*self.shared;
        let hello = self.sent(&Control::Hello(Hello {
            protocol: 1,
            chain: chain_info.id.as_str(),
            genesis: chain_info.genesis.into(),
            ladder: Hello::ladder(*ladder),
            version: env!("CARGO_PKG_VERSION"),
            heartbeat_ms: millis(config.heartbeat),
            head: heads.current().delivered().map(Into::into),
            resume: opened.how,
            block: opened.watermarks.delivered.map(Into::into),
            tips: (&opened.watermarks.tips).into(),
            cursor: opened.cursor.to_string(),
        }));
        match self.transport {
            Transport::Lines | Transport::Socket => hello,
            Transport::Sse => join([Bytes::from(format!("retry: {}\n", millis(RETRY))), hello]),
        }
    }

    /// No event leads on: the stream ends, or begins again where `refusal` says.
    fn reset(&mut self, refusal: &Refusal) -> Bytes {
        let detail = refusal.error.to_string();
        let reset = self.sent(&Control::Reset(refusal.reset(&detail)));
        if self.ask.restart {
            self.follow(refusal.restarted());
            return reset;
        }
        let goodbye = self.goodbye(Reason::Reset, &refusal.restart.0);
        join([reset, goodbye])
    }

    fn goodbye(&mut self, reason: Reason, cursor: &Cursor) -> Bytes {
        self.phase = Phase::Over;
        self.ended = true;
        self.shared.metrics.ended(self.transport, Some(reason));
        let (retry_ms, cursor) = (millis(RETRY), cursor.to_string());
        self.sent(&Control::Goodbye(Goodbye { reason, retry_ms, cursor }))
    }

    fn failed(&mut self, fault: &Fault, cursor: &Cursor) -> Bytes {
        tracing::warn!(%fault, "a stream ends");
        self.goodbye(Reason::Failed, cursor)
    }

    fn bookmark(&mut self, cursor: &Cursor) -> Bytes {
        self.due = self.context.current() + self.shared.config.heartbeat;
        let status = self.beat.borrow().status;
        self.told = Some(status.state);
        self.sent(&Control::Bookmark(Bookmark::new(&status, cursor)))
    }

    /// Sleeps until the consumer is to be notified of its position, or `until`; or until there is news.
    async fn news(&mut self, until: Option<SystemTime>) {
        let due = until.map_or(self.due, |until| until.min(self.due));
        let due: BoxFuture<'_, ()> = self.context.sleep_until(due).boxed();
        select! {
            _ = self.beat.changed() => {},
            () = due => {},
        }
    }

    async fn wait(&mut self, cursor: Box<Cursor>, until: SystemTime) -> Option<Bytes> {
        if self.beat.borrow_and_update().draining {
            return Some(self.goodbye(Reason::Shutdown, &cursor));
        }
        let from = From::Cursor(cursor.to_string());
        match open(&self.shared.served, &from).await {
            Err(fault) => return Some(self.failed(&fault, &cursor)),
            Ok(Outcome::Opened(opened)) => {
                self.follow(*opened);
                return None;
            }
            Ok(Outcome::Refused(refusal)) => return Some(self.reset(&refusal)),
            Ok(Outcome::Ahead(..)) => {}
        }
        if self.context.current() >= until {
            return Some(self.goodbye(Reason::Ahead, &cursor));
        }
        if self.context.current() >= self.due {
            let bookmark = self.bookmark(&cursor);
            self.phase = Phase::Waits(cursor, until);
            return Some(bookmark);
        }
        self.news(Some(until)).await;
        self.phase = Phase::Waits(cursor, until);
        None
    }

    async fn read(&mut self, mut reader: Box<Reader<L>>) -> Option<Bytes> {
        let beat = *self.beat.borrow_and_update();
        if beat.draining {
            return Some(self.goodbye(Reason::Shutdown, reader.cursor()));
        }
        if self.left == 0 {
            return Some(self.goodbye(Reason::Limit, reader.cursor()));
        }
        if reader.is_over() {
            return Some(self.goodbye(Reason::Until, reader.cursor()));
        }
        let step = reader.step(beat.end, self.left, self.context.current()).await;
        self.slot.iter().for_each(|slot| slot.stands(reader.next()));
        let piece = match step {
            Err(fault) => return Some(self.failed(&fault, reader.cursor())),
            Ok(Step::Reset(refusal)) => return Some(self.reset(&refusal)),
            Ok(Step::Lagged(lagged)) => self.sent(&Control::Lagged(lagged)),
            Ok(Step::Events(entries)) => {
                self.left -= entries.len() as u64;
                let now = self.context.current();
                for came in entries.iter().filter_map(|entry| entry.came) {
                    self.shared.metrics.delivered(now.duration_since(came).unwrap_or_default());
                }
                for of_one_kind in entries.chunk_by(|a, b| name(a) == name(b)) {
                    let count = of_one_kind.len() as u64;
                    self.shared.metrics.sent(self.transport, name(&of_one_kind[0]), count);
                }
                let sent = join(entries.iter().map(|entry| entry.frame.sent(self.transport)));
                if sent.is_empty() && reader.passed_over() >= PASSED_OVER {
                    reader.told();
                    self.bookmark(reader.cursor())
                } else {
                    sent
                }
            }
            Ok(Step::Idle) => {
                if self.told != Some(beat.status.state) || self.context.current() >= self.due {
                    reader.told();
                    self.bookmark(reader.cursor())
                } else {
                    self.news(None).await;
                    Bytes::new()
                }
            }
        };
        self.phase = Phase::Reads(reader);
        Some(piece)
    }
}

fn name(entry: &Entry) -> &'static str {
    entry.record.event.name()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `pieces` as one; a single one as it is.
fn join(pieces: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut pieces = pieces.into_iter();
    let (Some(first), second) = (pieces.next(), pieces.next()) else { return Bytes::new() };
    let Some(second) = second else { return first };
    let mut joined = BytesMut::from(&first[..]);
    joined.extend_from_slice(&second);
    pieces.for_each(|piece| joined.extend_from_slice(&piece));
    joined.freeze()
}
