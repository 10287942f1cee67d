//! The queue at servers of NATS: requests with an answer, and what they mean here.
//!
//! Of a job there is a message, which a worker is given, and a result. Both are named by the job and its generation.

use super::{
    objects::inputs_of,
    settings::{self as wanted, INLINE_MAX, LEASE_MIN},
    values::{Delivery, FILERS, Job, JobId, JobNames, Record, Reference, WORKERS},
};
use crate::{
    Error,
    client::{
        NATS, Requests,
        api::{self, ApiError, Consumer, Published},
        refused,
    },
    settings::{Difference, Wanted, nanos},
};
use async_nats::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tidewatch_core::Fault;
use tidewatch_prover::{Handle, Key};

/// The header with how many bytes the inputs have.
const BYTES: &str = "Tidewatch-Bytes";
/// The header with what the inputs hash to.
const DIGEST: &str = "Tidewatch-Digest";
/// The header with the object that has the inputs.
const OBJECT: &str = "Tidewatch-Object";
/// The header with a message's name.
const ID: &str = "Nats-Msg-Id";

/// What the queue answers to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is stored.
    Stored,
    /// The stream remembers a message of this name, and dropped this one.
    Duplicate,
    /// There is a message about the same thing.
    There,
    /// The queue is full.
    Full,
}

/// What the queue has of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its result.
    Ended(Record),
    /// A result that nobody of ours wrote.
    Unreadable,
    /// Its message alone: it waits, or a worker has it.
    Waiting,
    /// Neither.
    Nothing,
}

/// What was given to a worker.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) delivery: Delivery,
    /// The job, or what is wrong with the message.
    pub(super) job: Result<Job, String>,
}

/// A dead letter that was filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filed {
    /// A job that was delivered as often as it may be.
    GivenUp,
    /// A job that a worker ended for good.
    Terminated,
    /// A message that says neither.
    Unreadable,
}

/// A dead letter: an advisory of the server.
#[derive(Debug, Deserialize)]
struct Advisory {
    #[serde(rename = "type")]
    kind: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
}

/// The queue of one program. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) requests: Requests,
    pub(super) names: Arc<JobNames>,
    /// How long a worker has a job without a sign of life.
    pub(super) lease: Duration,
}

impl Queued {
    /// Makes what is not there, and reads back what all of it is.
    pub(super) async fn make(
        client: async_nats::Client,
        names: JobNames,
        replicas: Option<u32>,
    ) -> Result<Self, Fault> {
        let requests = Requests::new(client);
        requests.accepted().await?;
        let copies = replicas.unwrap_or(1);
        let copies = requests.made(&wanted::jobs(&names, copies), replicas).await?;
        for of in [wanted::dead, wanted::results, wanted::objects] {
            requests.made(&of(&names, copies), replicas).await?;
        }
        let mut this = Self { requests, names: Arc::new(names), lease: wanted::LEASE };
        this.consumer(&this.names.dead(), &wanted::filers()).await?;
        this.lease = this.consumer(&this.names.jobs(), &wanted::workers()).await?;
        Ok(this)
    }

    /// Reads back what is there: the workers make it.
    pub(super) async fn find(client: async_nats::Client, names: JobNames) -> Result<Self, Fault> {
        let requests = Requests::new(client);
        requests.accepted().await?;
        for of in [wanted::jobs, wanted::dead, wanted::results, wanted::objects] {
            requests.there(&of(&names, 1)).await?;
        }
        let this = Self { requests, names: Arc::new(names), lease: wanted::LEASE };
        this.workers().await?;
        Ok(this)
    }

    /// The same, made once more where it is gone.
    pub(super) async fn again(
        &self,
        client: async_nats::Client,
        replicas: Option<u32>,
    ) -> Result<Self, Fault> {
        Self::make(client, (*self.names).clone(), replicas).await
    }

    /// Makes a consumer where it is not there, and checks it. Gives its lease.
    async fn consumer(&self, stream: &str, wanted: &Wanted) -> Result<Duration, Fault> {
        let name = &wanted.name;
        let info = format!("$JS.API.CONSUMER.INFO.{stream}.{name}");
        let mut new = false;
        let mut consumer: Result<Consumer, ApiError> = self.requests.ask(&info, &[]).await?;
        if matches!(&consumer, Err(error) if error.err_code == api::NO_CONSUMER) {
            let create = format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}");
            let body = json!({ "stream_name": stream, "config": wanted.all });
            consumer = self.requests.ask(&create, body.to_string().as_bytes()).await?;
            new = true;
        }
        let what = || format!("the consumer {name} of {stream}");
        let consumer = consumer.map_err(|error| refused(what(), error))?;
        let mut differences = wanted.differences(&consumer.config, new);
        let lease = consumer.config.get("ack_wait");
        let nanoseconds = lease.and_then(Value::as_u64).unwrap_or_default();
        if nanoseconds < nanos(LEASE_MIN) {
            differences.push(Difference {
                setting: "ack_wait".into(),
                wanted: nanos(LEASE_MIN).into(),
                found: lease.cloned(),
            });
        }
        if !differences.is_empty() {
            let (stream, consumer) = (stream.into(), name.clone());
            return Err(Fault::new(NATS, Error::Consumer { stream, consumer, differences }));
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Workers that wait for a job or have one.
    pub(super) async fn workers(&self) -> Result<u64, Fault> {
        let info = format!("$JS.API.CONSUMER.INFO.{}.{WORKERS}", self.names.jobs());
        let consumer = self.requests.ask::<Consumer>(&info, &[]).await?;
        let consumer = consumer.map_err(|error| refused(info, error))?;
        Ok(consumer.num_waiting.saturating_add(consumer.num_ack_pending))
    }

    /// Hands in a job whose inputs are `inputs`.
    pub(super) async fn submit(&self, id: &JobId, inputs: &Bytes) -> Result<Answer, Fault> {
        let inline = inputs.len() <= INLINE_MAX;
        let object = (!inline).then(|| inputs_of(id));
        let reference = Reference::to(inputs, object.clone());
        let mut headers = HeaderMap::new();
        headers.insert(ID, id.handle());
        headers.insert("Nats-Expected-Stream", self.names.jobs());
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        headers.insert(BYTES, reference.bytes.to_string());
        headers.insert(DIGEST, &*reference.digest);
        let mut payload = Bytes::new();
        match &object {
            Some(object) => {
                self.put(object, inputs).await?;
                headers.insert(OBJECT, &**object);
            }
            None => payload = inputs.clone(),
        }
        let request = Request::new().payload(payload).headers(headers);
        let subject = self.names.subject(&id.key);
        let answer = match self.requests.request::<Published>(&subject, request).await? {
            Ok(Published { duplicate, .. }) => {
                if duplicate {
                    Answer::Duplicate
                } else {
                    Answer::Stored
                }
            }
            Err(error) if api::ELSEWHERE.contains(&error.err_code) => Answer::There,
            Err(error) if error.err_code == api::FULL => Answer::Full,
            Err(error) => return Err(refused(subject, error)),
        };
        if let (Some(object), true) = (&object, answer != Answer::Stored) {
            self.remove(object).await?;
        }
        Ok(answer)
    }

    /// The submission of `key` that is there, whatever became of it.
    pub(super) async fn there(&self, key: &Key) -> Result<Option<JobId>, Fault> {
        if let Some(message) = self.message(key).await? {
            return Ok(message.1);
        }
        let newest = json!({ "last_by_subj": self.names.any_result(key) });
        let stored = self.requests.get(&self.results(), &newest).await?;
        let prefix = format!("$KV.{}.", self.names.results());
        Ok(stored.and_then(|stored| JobId::read(stored.subject.strip_prefix(&prefix)?)))
    }

    /// The place of the message about `key`, and whose it is.
    async fn message(&self, key: &Key) -> Result<Option<(u64, Option<JobId>)>, Fault> {
        let which = json!({ "last_by_subj": self.names.subject(key) });
        let stored = self.requests.get(&self.names.jobs(), &which).await?;
        Ok(stored.map(|stored| {
            let headers = stored.headers().unwrap_or_default();
            (stored.seq, headers.get(ID).and_then(JobId::read))
        }))
    }

    /// What there is of a job.
    pub(super) async fn find_job(&self, id: &JobId) -> Result<Found, Fault> {
        match self.result(id).await? {
            Found::Nothing => {}
            found => return Ok(found),
        }
        if self.waits(id).await? {
            return Ok(Found::Waiting);
        }
        // It may have ended between the two questions.
        self.result(id).await
    }

    /// Rings when a result of a job is written. It carries nothing, and may miss one.
    pub(super) async fn bell(&self, id: &JobId) -> Result<async_nats::Subscriber, Fault> {
        self.requests.bell(self.names.result(id)).await
    }

    /// Whether the message of a job is there.
    pub(super) async fn waits(&self, id: &JobId) -> Result<bool, Fault> {
        Ok(matches!(self.message(&id.key).await?, Some((_, Some(found))) if found == *id))
    }

    /// The result of a job.
    pub(super) async fn result(&self, id: &JobId) -> Result<Found, Fault> {
        let which = json!({ "last_by_subj": self.names.result(id) });
        let Some(stored) = self.requests.get(&self.results(), &which).await? else {
            return Ok(Found::Nothing);
        };
        let record = stored.payload().and_then(|payload| serde_json::from_slice(&payload).ok());
        Ok(record.map_or(Found::Unreadable, Found::Ended))
    }

    /// Writes the result of a job if there is none. `false` if another one is there.
    pub(super) async fn create(&self, id: &JobId, record: &Record) -> Result<bool, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let payload = serde_json::to_vec(record).map_err(|error| {
            let what = "a result".into();
            Fault::new(NATS, Error::Answer { what, why: error.to_string() })
        })?;
        let request = Request::new().payload(payload.into()).headers(headers);
        let subject = self.names.result(id);
        match self.requests.request::<Published>(&subject, request).await? {
            Ok(_) => Ok(true),
            // Ours, where the answer to it was lost.
            Err(error) if api::ELSEWHERE.contains(&error.err_code) => {
                Ok(self.result(id).await? == Found::Ended(record.clone()))
            }
            Err(error) => Err(refused(subject, error)),
        }
    }

    /// Forgets a job: its message, its result, and its objects.
    pub(super) async fn release(&self, id: &JobId) -> Result<(), Fault> {
        if let Some((sequence, Some(found))) = self.message(&id.key).await?
            && found == *id
        {
            self.delete(sequence).await?;
        }
        if let Found::Ended(Record { outcome: super::Outcome::Proved(proof), .. }) =
            self.result(id).await?
            && let Some(object) = &proof.object
        {
            self.purge(&self.objects(), &self.meta(object)).await?;
        }
        self.purge(&self.results(), &self.names.result(id)).await?;
        self.purge(&self.objects(), &self.meta(&inputs_of(id))).await?;
        self.purge(&self.objects(), &self.pieces(&format!("{}.>", id.handle()))).await
    }

    /// Removes the message at a place of the queue.
    async fn delete(&self, sequence: u64) -> Result<(), Fault> {
        let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", self.names.jobs());
        let body = json!({ "seq": sequence, "no_erase": true }).to_string();
        // One that is gone is as good.
        let _: Result<Value, ApiError> = self.requests.ask(&subject, body.as_bytes()).await?;
        Ok(())
    }

    fn results(&self) -> String {
        format!("KV_{}", self.names.results())
    }

    /// The next message of a consumer; `None` if there was none within `wait`.
    async fn next(
        &self,
        (stream, consumer): (&str, &str),
        wait: Option<Duration>,
    ) -> Result<Option<(Delivery, async_nats::Message)>, Fault> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let body = match wait {
            Some(wait) => json!({ "batch": 1, "expires": nanos(wait) }),
            None => json!({ "batch": 1, "no_wait": true }),
        };
        let request = self.requests.inbox().payload(body.to_string().into());
        let message = self.requests.raw(&subject, request).await?;
        match message.status {
            None => {}
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(None),
            Some(status) => {
                let why = message.description.unwrap_or_default();
                let why = format!("{} {why}", status.as_u16());
                return Err(Fault::new(NATS, Error::NoAnswer { what: subject, why }));
            }
        }
        let reply = message.reply.as_ref();
        match reply.and_then(|reply| Delivery::read(reply, stream, consumer)) {
            Some(delivery) => Ok(Some((delivery, message))),
            None => {
                let why = "it is no delivery of this consumer".into();
                Err(Fault::new(NATS, Error::Answer { what: subject, why }))
            }
        }
    }

    /// Takes a job; `None` if there was none within `wait`.
    pub(super) async fn take(&self, wait: Duration) -> Result<Option<Taken>, Fault> {
        let next = self.next((&self.names.jobs(), WORKERS), Some(wait)).await?;
        Ok(next.map(|(delivery, message)| Taken { delivery, job: self.job(&message) }))
    }

    fn job(&self, message: &async_nats::Message) -> Result<Job, String> {
        let header = |name: &str| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map(|value| value.as_str().to_owned())
        };
        let wants = |name: &str| header(name).ok_or_else(|| format!("it has no {name}"));
        let id = JobId::read(&wants(ID)?).ok_or("its name is no job's")?;
        if self.names.subject(&id.key) != *message.subject || id.key.program != self.names.program {
            return Err(format!("it is about {}, on {}", Handle::of(&id.key), message.subject));
        }
        let bytes = wants(BYTES)?.parse().map_err(|_| format!("its {BYTES} is no number"))?;
        let inputs = Reference { object: header(OBJECT), bytes, digest: wants(DIGEST)? };
        Ok(Job { id, inputs, payload: message.payload.clone() })
    }

    /// Tells that the job of `delivery` is worked on.
    pub(super) async fn beat(&self, delivery: &Delivery) -> Result<(), Fault> {
        self.requests.tell(&delivery.reply, "+WPI").await
    }

    /// Answers a delivery, and waits until that is known.
    pub(super) async fn answer(&self, delivery: &Delivery, answer: String) -> Result<(), Fault> {
        let request = Request::new().payload(answer.into());
        self.requests.raw(&delivery.reply, request).await.map(drop)
    }

    /// Files the next dead letter: the result says what became of the job, whoever submitted it. `None` if there is
    /// none.
    pub(super) async fn file(&self, worker: &str) -> Result<Option<Filed>, Fault> {
        let next = self.next((&self.names.dead(), FILERS), None).await?;
        let Some((delivery, message)) = next else { return Ok(None) };
        let filed = match serde_json::from_slice::<Advisory>(&message.payload) {
            Ok(advisory) if advisory.kind.ends_with(".max_deliver") => {
                self.given_up(&advisory, worker).await?;
                Filed::GivenUp
            }
            // Its result was written before.
            Ok(advisory) if advisory.kind.ends_with(".terminated") => Filed::Terminated,
            _ => Filed::Unreadable,
        };
        self.answer(&delivery, "+ACK".into()).await?;
        Ok(Some(filed))
    }

    async fn given_up(&self, advisory: &Advisory, worker: &str) -> Result<(), Fault> {
        let which = json!({ "seq": advisory.stream_seq });
        let Some(stored) = self.requests.get(&self.names.jobs(), &which).await? else {
            return Ok(());
        };
        let headers = stored.headers().unwrap_or_default();
        if let Some(id) = headers.get(ID).and_then(JobId::read) {
            let deliveries = advisory.deliveries;
            let outcome = super::Outcome::Dead { deliveries };
            self.create(&id, &Record { worker: worker.into(), delivery: deliveries, outcome })
                .await?;
        }
        self.delete(stored.seq).await
    }
}
