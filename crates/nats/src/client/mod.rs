//! The port over a connection to servers of NATS.
//!
//! # Overview
//!
//! All of it is requests with an answer, and a deadline that the caller sets: no subscription and no consumer, which can
//! end without a word. What is read is read from the stream's leader (`STREAM.MSG.GET`): a direct get may be answered by a
//! copy that is behind.
//!
//! # What is not used, and why
//!
//! | what | why not |
//! |---|---|
//! | `Nats-Expected-Last-Msg-Id` | one mismatch stops a replicated stream for good (seen of 2.14.6 and 2.15.1) |
//! | several messages in flight, batches | an event waits for the one before it; 2,000 a second is enough for tips |
//! | an update of a bucket with a TTL of its own | an update without one makes the key eternal. The age of the whole bucket renews itself |
//! | a watch of the lease | it is looked at instead |

mod api;
mod connect;

pub use connect::{Options, connect};

use crate::{
    Answer, Claim, Cluster, End, Error, Lease, Message, Names, Outgoing, Refusal,
    elector::Timing,
    settings::{self, Wanted},
};
use api::{ApiError, Found, Published};
use async_nats::{HeaderMap, Request, client::RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tidewatch_core::Fault;

/// Names this in faults.
const NATS: &str = "nats";

/// The key of the lease in its bucket.
const KEY: &str = "leader";

/// A stream and a bucket at servers, as they have to be. Clones are the same.
#[derive(Clone, Debug)]
pub struct JetStream {
    client: async_nats::Client,
    names: Arc<Names>,
    replicas: u32,
}

/// Whether a stream was made just now.
enum Made {
    New,
    There,
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
        let fault = |error| Fault::new(NATS, error);
        let mut this = Self { client, names: Arc::new(names), replicas: replicas.unwrap_or(1) };
        let account: Result<api::Account, ApiError> = this.ask("$JS.API.INFO", &[]).await?;
        let account = account.map_err(|error| fault(Error::NoJetStream(error.description)))?;
        let version = this.client.server_info().version;
        settings::accept(&version, account.api.level).map_err(fault)?;
        let events = Wanted::events(&this.names, this.replicas);
        let kept = this.made(&events, replicas).await?;
        this.replicas = kept;
        let bucket = Wanted::bucket(&this.names, kept, &this.timing());
        this.made(&bucket, replicas).await?;
        Ok(this)
    }

    /// How long things take at a cluster with so many copies.
    pub const fn timing(&self) -> Timing {
        Timing::of(self.replicas)
    }

    /// How many copies the stream has.
    pub const fn replicas(&self) -> u32 {
        self.replicas
    }

    /// Makes the stream `wanted` if it is not there, and checks it. Gives how many copies it has.
    async fn made(&self, wanted: &Wanted, replicas: Option<u32>) -> Result<u32, Fault> {
        let name = &wanted.name;
        let (info, create) =
            (format!("$JS.API.STREAM.INFO.{name}"), format!("$JS.API.STREAM.CREATE.{name}"));
        let body = Value::Object(wanted.all.clone()).to_string();
        let mut made = Made::There;
        let mut stream: Result<api::Stream, ApiError> = self.ask(&info, &[]).await?;
        if matches!(&stream, Err(error) if error.err_code == api::NO_STREAM) {
            stream = self.ask(&create, body.as_bytes()).await?;
            made = Made::New;
            if matches!(&stream, Err(error) if error.err_code == api::NAME_IN_USE) {
                // Another follower was faster.
                stream = self.ask(&info, &[]).await?;
                made = Made::There;
            }
        }
        let refused = |ApiError { err_code: code, description }: ApiError| {
            Fault::new(
                NATS,
                Error::Refused { what: format!("the stream {name}"), code, description },
            )
        };
        let stream = stream.map_err(refused)?;
        let fault = |error| Fault::new(NATS, error);
        wanted.check(&stream.config, matches!(made, Made::New)).map_err(fault)?;
        let found = stream.replicas();
        match replicas {
            Some(asked) if asked != found => {
                let differences = vec![settings::Difference {
                    setting: "num_replicas".into(),
                    wanted: asked.into(),
                    found: Some(found.into()),
                }];
                Err(fault(Error::Settings { stream: name.clone(), differences }))
            }
            _ => Ok(found),
        }
    }

    /// Asks, and reads what is answered.
    async fn ask<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: &[u8],
    ) -> Result<Result<T, ApiError>, Fault> {
        let request = Request::new().payload(Bytes::copy_from_slice(body));
        self.request(subject, request).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        subject: &str,
        request: Request,
    ) -> Result<Result<T, ApiError>, Fault> {
        // The caller's deadline counts.
        let answer = self.client.send_request(subject.to_owned(), request.timeout(None)).await;
        let answer = answer.map_err(|error| {
            let why = match error.kind() {
                RequestErrorKind::NoResponders => {
                    "no server has it: it is about to elect a leader, or JetStream is off".into()
                }
                _ => error.to_string(),
            };
            Fault::new(NATS, Error::NoAnswer { what: subject.into(), why })
        })?;
        api::read(subject, &answer.payload).map_err(|error| Fault::new(NATS, error))
    }

    /// The message of `stream` that `which` names.
    async fn get(&self, stream: &str, which: &Value) -> Result<Option<api::Stored>, Fault> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        match self.ask::<Found>(&subject, which.to_string().as_bytes()).await? {
            Ok(found) => Ok(Some(found.message)),
            Err(error) if error.err_code == api::NO_MESSAGE => Ok(None),
            Err(ApiError { err_code: code, description }) => {
                Err(Fault::new(NATS, Error::Refused { what: subject, code, description }))
            }
        }
    }

    fn bucket(&self) -> String {
        format!("KV_{}", self.names.bucket)
    }
}

/// `stored` as a message of the stream.
fn message(stored: &api::Stored) -> Result<Message, Fault> {
    let unreadable = || {
        let (what, why) = (format!("message {}", stored.seq), "it is not in base64".into());
        Fault::new(NATS, Error::Answer { what, why })
    };
    let headers = stored.headers().ok_or_else(unreadable)?;
    let get = |name| headers.get(name).map(str::to_owned);
    Ok(Message {
        sequence: stored.seq,
        subject: stored.subject.clone(),
        id: get("Nats-Msg-Id"),
        after: get("Tidewatch-After"),
        publisher: get("Tidewatch-Publisher"),
        token: get("Tidewatch-Token"),
        payload: stored.payload().ok_or_else(unreadable)?,
    })
}

impl Cluster for JetStream {
    async fn end(&self) -> Result<End, Fault> {
        let newest = json!({ "last_by_subj": self.names.subjects() });
        if let Some(stored) = self.get(&self.names.stream, &newest).await? {
            return Ok(End { sequence: stored.seq, message: Some(message(&stored)?) });
        }
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.stream);
        match self.ask::<api::Stream>(&subject, &[]).await? {
            Ok(stream) => Ok(End { sequence: stream.state.last_seq, message: None }),
            Err(ApiError { err_code: code, description }) => {
                Err(Fault::new(NATS, Error::Refused { what: subject, code, description }))
            }
        }
    }

    async fn message(&self, sequence: u64) -> Result<Option<Message>, Fault> {
        let stored = self.get(&self.names.stream, &json!({ "seq": sequence })).await?;
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
        }
        if let Some(after) = &message.after {
            headers.insert("Tidewatch-After", after.as_str());
        }
        let request = Request::new().payload(message.payload.clone()).headers(headers);
        Ok(match self.request::<Published>(&message.subject, request).await? {
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
        let key = json!({ "last_by_subj": format!("$KV.{}.{KEY}", self.names.bucket) });
        let Some(stored) = self.get(&self.bucket(), &key).await? else {
            return Ok(Lease { revision: 0, value: None });
        };
        let headers = stored.headers().unwrap_or_default();
        let marker = ["KV-Operation", "Nats-Marker-Reason"];
        let ended = marker.iter().any(|name| headers.get(name).is_some());
        let value = if ended { None } else { stored.payload() };
        Ok(Lease { revision: stored.seq, value })
    }

    async fn claim(&self, expected: u64, value: Option<Bytes>) -> Result<Claim, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", &*expected.to_string());
        if value.is_none() {
            headers.insert("KV-Operation", "DEL");
        }
        let request = Request::new().payload(value.unwrap_or_default()).headers(headers);
        let subject = format!("$KV.{}.{KEY}", self.names.bucket);
        match self.request::<Published>(&subject, request).await? {
            Ok(Published { seq, .. }) => Ok(Claim::Held(seq)),
            Err(error) if api::ELSEWHERE.contains(&error.err_code) => Ok(Claim::Taken),
            Err(ApiError { err_code: code, description }) => {
                let what = "a write of the lease".into();
                Err(Fault::new(NATS, Error::Refused { what, code, description }))
            }
        }
    }
}

/// The configuration of the events' stream, as the server has it: for tests and tools.
///
/// # Errors
///
/// Nobody answered.
pub async fn configuration(jetstream: &JetStream) -> Result<Map<String, Value>, Fault> {
    let subject = format!("$JS.API.STREAM.INFO.{}", jetstream.names.stream);
    match jetstream.ask::<api::Stream>(&subject, &[]).await? {
        Ok(stream) => Ok(stream.config),
        Err(ApiError { err_code: code, description }) => {
            Err(Fault::new(NATS, Error::Refused { what: subject, code, description }))
        }
    }
}
