//! Messages as they come, from an ordered pull consumer of our own making.
//!
//! # Overview
//!
//! The consumer is in the memory of one server, without acknowledgements (ADR-17 calls it ordered), and is never relied on:
//! a server that goes takes it along without a word. So it is asked for messages 30 s at a time, has to give a sign of life
//! every 5 s, and counts what it sent: a number that does not follow ends the feed. It is not the client library's own
//! stream of messages, of which one form sets no heartbeat, and whose timers are not those of the runtime.
//!
//! # Limits
//!
//! 256 messages at the most are on the way, each of at most 64 KiB where the stream is as it was made.

use super::{
    JetStream, NATS,
    api::{self, Delivered},
    connects, refused,
};
use crate::{
    Error, Message,
    settings::nanos,
    tail::{self, Bounds},
};
use async_nats::{Client, HeaderMap, StatusCode, Subscriber};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tidewatch_core::Fault;

/// How long a pull waits for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// The time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After so long without a reader the server removes the consumer.
const INACTIVE: Duration = Duration::from_secs(60);
/// Messages that are asked for at once.
const BATCH: u64 = 256;

/// The feed of one reader, from an ordered pull consumer of our own making. It is never relied on: it may end without a word.
#[derive(Debug)]
pub struct Feed {
    client: Client,
    stream: String,
    /// Where pulls are sent.
    pulls: String,
    inbox: String,
    messages: Subscriber,
    /// How often the client was connected when the feed began.
    connects: u64,
    /// Messages that were asked for and did not come yet.
    due: u64,
    /// Messages that came, as the consumer counts.
    came: u64,
}

/// What a consumer was made into.
#[derive(Debug, Deserialize)]
struct Made {
    name: String,
}

impl Feed {
    async fn open(jetstream: &JetStream, sequence: u64) -> Result<Self, Fault> {
        let client = jetstream.requests.client().clone();
        let connects = connects(&client);
        let stream = jetstream.names.stream.clone();
        let inbox = client.new_inbox();
        let failed = |why: String| {
            let what = format!("a feed of {stream}");
            Fault::new(NATS, Error::NoAnswer { what, why })
        };
        let messages =
            client.subscribe(inbox.clone()).await.map_err(|error| failed(error.to_string()))?;
        let name = inbox.rsplit('.').next().unwrap_or_default();
        let wanted = json!({
            "stream_name": stream,
            "action": "create",
            "config": {
                "name": name,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": sequence.max(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": nanos(INACTIVE),
            },
        });
        let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{name}");
        let made = jetstream.requests.ask::<Made>(&subject, wanted.to_string().as_bytes()).await?;
        let Made { name } = made.map_err(|error| refused(subject, error))?;
        let pulls = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        Ok(Self { client, stream, pulls, inbox, messages, connects, due: 0, came: 0 })
    }

    /// Asks for more messages.
    async fn pull(&mut self) -> Result<(), Fault> {
        let pull = json!({
            "batch": BATCH, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT),
        });
        let (subject, inbox) = (self.pulls.clone(), self.inbox.clone());
        let asked = self.client.publish_with_reply(subject, inbox, pull.to_string().into()).await;
        asked.map_err(|error| self.lost(error.to_string()))?;
        self.due = BATCH;
        Ok(())
    }

    fn lost(&self, why: impl Into<String>) -> Fault {
        Fault::new(NATS, Error::FeedLost { stream: self.stream.clone(), why: why.into() })
    }

    /// A message of the stream, or what the server says of the feed.
    fn read(&mut self, message: &async_nats::Message) -> Result<Read, Fault> {
        let Some(status) = message.status else {
            let from = message.reply.as_deref().and_then(Delivered::read);
            let Some(Delivered { sequence, number, .. }) = from else {
                return Err(self.lost("a message does not say where it is from"));
            };
            if number != self.came + 1 {
                let came = self.came;
                return Err(self.lost(format!("message {number} came after message {came}")));
            }
            self.came = number;
            self.due = self.due.saturating_sub(1);
            let (subject, payload) = (message.subject.to_string(), message.payload.clone());
            let headers = message.headers.as_ref();
            return Ok(Read::Message(Message::new(sequence, subject, payload, |name| {
                Some(headers?.get(name)?.as_str().to_owned())
            })));
        };
        let sent = message.headers.as_ref().and_then(|headers: &HeaderMap| {
            headers.get("Nats-Last-Consumer")?.as_str().parse::<u64>().ok()
        });
        match status {
            StatusCode::IDLE_HEARTBEAT if sent.is_some_and(|sent| sent > self.came) => {
                let came = self.came;
                Err(self.lost(format!("{sent:?} messages were sent, and {came} came")))
            }
            StatusCode::IDLE_HEARTBEAT => Ok(Read::Alive),
            // The pull has ended, by its time or its number.
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => Ok(Read::Over),
            status => {
                let description = message.description.clone().unwrap_or_default();
                Err(self.lost(format!("{status} {description}")))
            }
        }
    }
}

enum Read {
    Message(Message),
    Alive,
    Over,
}

impl tail::Feed for Feed {
    async fn next(&mut self) -> Result<Option<Message>, Fault> {
        // Before a message is taken: whoever gives up here has lost none.
        if self.due == 0 {
            self.pull().await?;
        }
        let Some(message) = self.messages.next().await else {
            return Err(self.lost("the connection is closed"));
        };
        Ok(match self.read(&message)? {
            Read::Message(message) => Some(message),
            Read::Alive => None,
            Read::Over => {
                self.due = 0;
                None
            }
        })
    }

    fn connected(&self) -> bool {
        connects(&self.client) == self.connects
    }
}

impl tail::Stream for JetStream {
    type Feed = Feed;

    async fn bounds(&self) -> Result<Bounds, Fault> {
        let api::State { first_seq, last_seq: last, .. } = self.info().await?.state;
        Ok(Bounds { first: first_seq.max(1), last })
    }

    async fn at(&self, sequence: u64) -> Result<Option<Message>, Fault> {
        crate::Cluster::message(self, sequence).await
    }

    async fn feed(&self, sequence: u64) -> Result<Feed, Fault> {
        Feed::open(self, sequence).await
    }
}
