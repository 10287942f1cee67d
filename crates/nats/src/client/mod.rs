//! The port over a connection to servers of NATS.
//!
//! # Overview
//!
//! All that publishers and electors do is requests with an answer, and a deadline that the caller sets: no subscription and
//! no consumer, which can end without a word. What is read is read from the stream's leader (`STREAM.MSG.GET`): a direct get
//! may be answered by a copy that is behind. Readers have a feed besides ([`Feed`]), and are ready for one that ends so.
//!
//! # What is not used, and why
//!
//! | what | why not |
//! |---|---|
//! | `Nats-Expected-Last-Msg-Id` | one mismatch stops a replicated stream for good (seen of 2.14.6 and 2.15.1) |
//! | several messages in flight, batches | an event waits for the one before it; 2,000 a second is enough for tips |
//! | an update of a bucket with a TTL of its own | an update without one makes the key eternal. The age of the whole bucket renews itself |
//! | a watch of the lease | it is looked at instead |

pub(crate) mod api;
mod connect;
mod feed;
mod records;
mod requests;

pub(crate) use connect::connects;
pub use connect::{Options, connect};
pub use feed::Feed;
pub(crate) use records::{Put, Stored};
pub(crate) use requests::{Requests, refused};

use crate::{
    Answer, Claim, Cluster, End, Error, Lease, Message, Names, Outgoing, Refusal, elector::Timing,
    settings::Wanted,
};
use api::{ApiError, Published};
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tidewatch_core::Fault;
use tracing::warn;

/// Names this in faults.
pub(crate) const NATS: &str = "nats";

/// The key of the lease in its bucket.
const KEY: &str = "leader";

/// A stream and a bucket at servers, as they have to be. Clones are the same.
#[derive(Clone, Debug)]
pub struct JetStream {
    requests: Requests,
    names: Arc<Names>,
    replicas: u32,
}

impl JetStream {
    /// Makes stream and bucket where they are not there, and reads back what they are. `replicas` is how many copies
    /// there are to be; where nothing is said, as many as there are, and one of what is made.
    ///
    /// # Errors
    ///
    /// Nobody answered, the server is too old, or what is there is not as it has to be.
    pub async fn open(
        client: async_nats::Client,
        names: Names,
        replicas: Option<u32>,
    ) -> Result<Self, Fault> {
        let requests = Requests::new(client);
        requests.accepted().await?;
        let replicas = made(&requests, &names, replicas).await?;
        Ok(Self { requests, names: Arc::new(names), replicas })
    }

    /// What is asked; and what is asked `again` once stream and bucket were made again, where they are gone: a cluster came
    /// back with nothing, or an operator deleted them.
    async fn or_made<T, F>(&self, [ask, again]: [F; 2]) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        match ask.await {
            Err(fault) if fault.reason::<Error>().is_some_and(Error::is_no_stream) => {
                warn!(
                    stream = self.names.stream,
                    "the stream or the lease is gone: both are made again"
                );
                made(&self.requests, &self.names, Some(self.replicas)).await?;
                again.await
            }
            asked => asked,
        }
    }

    /// A stream that is there, to be read: nothing is made.
    ///
    /// # Errors
    ///
    /// Nobody answered, the server is too old, or the stream is not there, or not as it has to be.
    pub async fn there(client: async_nats::Client, names: Names) -> Result<Self, Fault> {
        let requests = Requests::new(client);
        requests.accepted().await?;
        let replicas = requests.there(&Wanted::events(&names, 1)).await?;
        Ok(Self { requests, names: Arc::new(names), replicas })
    }

    /// How long things take at a cluster with so many copies.
    pub const fn timing(&self) -> Timing {
        Timing::of(self.replicas)
    }

    /// What things are called.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// How many copies the stream has.
    pub const fn replicas(&self) -> u32 {
        self.replicas
    }

    /// The stream of events.
    async fn info(&self) -> Result<api::Stream, Fault> {
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.stream);
        let stream = self.requests.ask::<api::Stream>(&subject, &[]).await?;
        stream.map_err(|error| refused(subject, error))
    }

    /// Where the stream ends, if it is there.
    async fn ends(&self) -> Result<End, Fault> {
        let newest = json!({ "last_by_subj": self.names.subjects() });
        if let Some(stored) = self.requests.get(&self.names.stream, &newest).await? {
            return Ok(End { sequence: stored.seq, message: Some(message(&stored)?) });
        }
        let api::State { last_seq: sequence, .. } = self.info().await?.state;
        Ok(End { sequence, message: None })
    }

    /// The lease, if its bucket is there.
    async fn leased(&self) -> Result<Lease, Fault> {
        let key = json!({ "last_by_subj": format!("$KV.{}.{KEY}", self.names.bucket) });
        let Some(stored) = self.requests.get(&self.bucket(), &key).await? else {
            return Ok(Lease { revision: 0, value: None });
        };
        let headers = stored.headers().unwrap_or_default();
        let marker = ["KV-Operation", "Nats-Marker-Reason"];
        let ended = marker.iter().any(|name| headers.get(name).is_some());
        let value = if ended { None } else { stored.payload() };
        Ok(Lease { revision: stored.seq, value })
    }

    fn bucket(&self) -> String {
        format!("KV_{}", self.names.bucket)
    }
}

/// Makes stream and bucket where they are not there. Gives how many copies there are.
async fn made(requests: &Requests, names: &Names, replicas: Option<u32>) -> Result<u32, Fault> {
    let events = Wanted::events(names, replicas.unwrap_or(1));
    let kept = requests.made(&events, replicas).await?;
    let bucket = Wanted::bucket(names, kept, &Timing::of(kept));
    requests.made(&bucket, replicas).await
}

/// `stored` as a message of the stream.
fn message(stored: &api::Stored) -> Result<Message, Fault> {
    let unreadable = || {
        let (what, why) = (format!("message {}", stored.seq), "it is not in base64".into());
        Fault::new(NATS, Error::Answer { what, why })
    };
    let headers = stored.headers().ok_or_else(unreadable)?;
    let payload = stored.payload().ok_or_else(unreadable)?;
    let header = |name: &str| headers.get(name).map(str::to_owned);
    Ok(Message::new(stored.seq, stored.subject.clone(), payload, header))
}

impl Cluster for JetStream {
    async fn end(&self) -> Result<End, Fault> {
        self.or_made([self.ends(), self.ends()]).await
    }

    async fn message(&self, sequence: u64) -> Result<Option<Message>, Fault> {
        let stored = self.requests.get(&self.names.stream, &json!({ "seq": sequence })).await?;
        stored.as_ref().map(message).transpose()
    }

    async fn publish(&self, message: &Outgoing) -> Result<Answer, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message.id.as_str());
        headers.insert("Nats-Expected-Stream", &*self.names.stream);
        headers.insert("Nats-Expected-Last-Sequence", &*message.expected.to_string());
        headers.insert("Tidewatch-Publisher", message.leader.publisher.as_str());
        headers.insert("Tidewatch-Token", &*message.leader.token.to_string());
        if let Some(record) = message.record {
            headers.insert("Nats-Expected-Last-Subject-Sequence", &*record.to_string());
            headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", &*self.names.lead());
            headers.insert("Tidewatch-Record", &*record.to_string());
        }
        if let Some(after) = &message.after {
            headers.insert("Tidewatch-After", after.as_str());
        }
        let request = Request::new().payload(message.payload.clone()).headers(headers);
        Ok(match self.requests.request::<Published>(&message.subject, request).await? {
            Ok(Published { seq: sequence, duplicate }) => Answer::Stored { sequence, duplicate },
            Err(error) if api::ELSEWHERE.contains(&error.err_code) => {
                Answer::Refused(Refusal::Elsewhere)
            }
            Err(ApiError { err_code: code, description }) => {
                Answer::Refused(Refusal::Other { code, description })
            }
        })
    }

    async fn lease(&self) -> Result<Lease, Fault> {
        self.or_made([self.leased(), self.leased()]).await
    }

    async fn claim(&self, expected: u64, value: Option<Bytes>) -> Result<Claim, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", &*expected.to_string());
        if value.is_none() {
            headers.insert("KV-Operation", "DEL");
        }
        let request = Request::new().payload(value.unwrap_or_default()).headers(headers);
        let subject = format!("$KV.{}.{KEY}", self.names.bucket);
        match self.requests.request::<Published>(&subject, request).await? {
            Ok(Published { seq, .. }) => Ok(Claim::Held(seq)),
            Err(error) if api::ELSEWHERE.contains(&error.err_code) => Ok(Claim::Taken),
            Err(error) => Err(refused("a write of the lease".into(), error)),
        }
    }
}

/// The configuration of the events' stream, as the server has it: for tests and tools.
///
/// # Errors
///
/// Nobody answered.
pub async fn configuration(jetstream: &JetStream) -> Result<Map<String, Value>, Fault> {
    Ok(jetstream.info().await?.config)
}
