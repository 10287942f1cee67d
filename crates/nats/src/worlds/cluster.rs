//! A cluster that does what clusters of NATS were seen to do, and forgets.

use crate::{
    Answer, Claim, Cluster, End, Lease, Message, Outgoing, Refusal,
    tail::{self, Bounds},
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use futures::channel::oneshot;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{Fault, FaultKind};

/// Names are remembered for so long.
const NAMES: u64 = 120_000;

/// A rule of the real cluster that a test takes away, so that its checkers are seen to object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// Expected sequences are ignored.
    Fence,
}

/// What the servers have.
pub(crate) struct Servers {
    /// Several servers look for the name of a message first, one looks at the end of the stream first.
    replicated: bool,
    without: Without,
    rng: StdRng,
    pub(crate) stream: Vec<Message>,
    /// Of each name the place, and when it came by the servers' clock.
    names: BTreeMap<String, (u64, i64)>,
    /// Each write of the lease: its revision, its value, and when it came by the servers' clock.
    lease: Vec<(u64, Option<Bytes>, i64)>,
    ttl: i64,
    /// How far the servers' clock is set ahead, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) up: bool,
    /// Publishers whose records were forgotten.
    forgotten: BTreeSet<String>,
    /// Messages that were stored, and refused.
    pub(crate) counts: (u64, u64),
    /// What no cluster may see.
    pub(crate) violations: Vec<String>,
}

/// The way of one publisher to the servers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    /// Nothing gets through: some of it waits, some is lost.
    pub(crate) cut: bool,
    /// Up to so many milliseconds on the way, each way.
    pub(crate) slow: u64,
    /// Of a hundred, so many are lost on each way.
    pub(crate) lost: u32,
}

#[derive(Clone)]
pub(crate) struct Double {
    context: Arc<Context>,
    servers: Arc<Mutex<Servers>>,
    link: Arc<Mutex<Link>>,
}

impl Servers {
    pub(crate) fn new(seed: u64, replicated: bool, without: Without, ttl: Duration) -> Self {
        Self {
            replicated,
            without,
            rng: StdRng::seed_from_u64(seed),
            stream: Vec::new(),
            names: BTreeMap::new(),
            lease: Vec::new(),
            ttl: ttl.as_millis() as i64,
            skew: 0,
            up: true,
            forgotten: BTreeSet::new(),
            counts: (0, 0),
            violations: Vec::new(),
        }
    }

    /// Forgets up to `messages` of the newest, and sometimes remembers their names.
    pub(crate) fn forget(&mut self, messages: usize) {
        let left = self.stream.len().saturating_sub(messages);
        let keeps_names = self.rng.random_bool(0.3);
        for message in self.stream.drain(left..) {
            if message.subject.ends_with(".lead") {
                self.forgotten.insert(message.publisher.clone().unwrap_or_default());
            }
            if let Some(id) = message.id.filter(|_| !keeps_names) {
                self.names.remove(&id);
            }
        }
    }

    /// Forgets the newest writes of the lease, so that revisions come again.
    pub(crate) fn forget_lease(&mut self, writes: usize) {
        let left = self.lease.len().saturating_sub(writes);
        self.lease.truncate(left);
    }

    /// Whether the message at `sequence` is a record.
    pub(crate) fn leads(&self, sequence: u64) -> bool {
        let at = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        at.and_then(|at| self.stream.get(at)).is_some_and(|one| one.subject.ends_with(".lead"))
    }

    /// Whether the message `id` is still at `sequence`.
    pub(crate) fn keeps(&self, sequence: u64, id: &str) -> bool {
        let at = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        let kept = at.and_then(|at| self.stream.get(at)).and_then(|kept| kept.id.as_deref());
        kept == Some(id)
    }

    fn expire(&mut self, now: i64) {
        if let Some((revision, Some(_), at)) = self.lease.last()
            && now - at >= self.ttl
        {
            self.lease.push((revision + 1, None, now));
        }
    }

    fn publish(&mut self, message: &Outgoing, now: i64) -> Answer {
        let id = message.id.as_str();
        self.names.retain(|_, (_, at)| now - *at < NAMES as i64);
        let known = self.names.get(id).map(|(sequence, _)| *sequence);
        let leads = |message: &&Message| message.subject.ends_with(".lead");
        let newest = self.stream.iter().rev().find(leads).map_or(0, |record| record.sequence);
        let elsewhere = message.expected != self.stream.len() as u64
            || message.record.is_some_and(|record| record != newest);
        let elsewhere = elsewhere && self.without != Without::Fence;
        match (known, self.replicated) {
            (Some(sequence), true) => return Answer::Stored { sequence, duplicate: true },
            _ if elsewhere => {
                self.counts.1 += 1;
                return Answer::Refused(Refusal::Elsewhere);
            }
            (Some(sequence), false) => return Answer::Stored { sequence, duplicate: true },
            (None, _) => {}
        }
        let token = |message: &Message| message.token.as_ref().and_then(|token| token.parse().ok());
        let newest = self.stream.iter().filter_map(token).max().unwrap_or(0);
        // Where not even its own record is left, sequences cannot tell: readers do.
        let left = !self.forgotten.contains(message.leader.publisher.as_str());
        if message.leader.token < newest && left {
            let (zombie, subject) = (&message.leader, &message.subject);
            self.violations.push(format!("stored of {zombie:?} after token {newest}: {subject}"));
        }
        let sequence = self.stream.len() as u64 + 1;
        self.names.insert(id.into(), (sequence, now));
        self.counts.0 += 1;
        self.stream.push(Message {
            sequence,
            subject: message.subject.clone(),
            id: Some(id.into()),
            after: message.after.as_ref().map(|after| after.as_str().into()),
            record: message.record.map(|record| record.to_string()),
            publisher: Some(message.leader.publisher.as_str().into()),
            token: Some(message.leader.token.to_string()),
            payload: message.payload.clone(),
        });
        Answer::Stored { sequence, duplicate: false }
    }

    fn read_lease(&mut self, now: i64) -> Lease {
        self.expire(now);
        let (revision, value) =
            self.lease.last().map_or((0, None), |(revision, value, _)| (*revision, value.clone()));
        Lease { revision, value }
    }

    fn claim(&mut self, expected: u64, value: Option<Bytes>, now: i64) -> Claim {
        if self.read_lease(now).revision != expected {
            return Claim::Taken;
        }
        self.lease.push((expected + 1, value, now));
        Claim::Held(expected + 1)
    }
}

impl Double {
    pub(crate) fn new(context: Context, servers: Servers) -> Self {
        let (servers, link) = (Arc::new(Mutex::new(servers)), Arc::default());
        Self { context: Arc::new(context), servers, link }
    }

    /// The same servers by another way.
    pub(crate) fn beside(&self) -> Self {
        Self { link: Arc::default(), ..self.clone() }
    }

    pub(crate) fn servers<T>(&self, see: impl FnOnce(&mut Servers) -> T) -> T {
        see(&mut self.servers.lock())
    }

    pub(crate) fn link(&self, change: impl FnOnce(&mut Link)) {
        change(&mut self.link.lock());
    }

    /// Sends a request that is on its way whether somebody waits for the answer or not.
    async fn request<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Servers, i64) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let (servers, link) = (self.servers.clone(), self.link.clone());
        self.context.child("request").spawn(move |context| async move {
            let way = |servers: &mut Servers| {
                let Link { slow, lost, .. } = *link.lock();
                let lost = servers.rng.random_range(0..100) < lost;
                let late = Duration::from_millis(servers.rng.random_range(1..=1 + slow));
                (late, lost)
            };
            let (late, lost) = way(&mut servers.lock());
            context.sleep(late).await;
            // A client keeps what it could not send until it is connected again.
            while link.lock().cut {
                context.sleep(Duration::from_millis(100)).await;
            }
            let told = {
                let mut servers = servers.lock();
                if lost {
                    None
                } else if servers.up {
                    let millis =
                        |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH);
                    let now = millis(context.current()).unwrap_or_default().as_millis() as i64;
                    let now = now + servers.skew;
                    Some(Ok(act(&mut servers, now)))
                } else {
                    Some(Err(FaultKind::Unavailable.fault("nats", "no server has it")))
                }
            };
            let (late, lost) = way(&mut servers.lock());
            context.sleep(late).await;
            if let Some(told) = told.filter(|_| !lost && !link.lock().cut) {
                let _ = answer.send(told); // Nobody may wait any more.
            } else {
                // The answer never comes.
                context.sleep(Duration::from_secs(3_600)).await;
            }
        });
        match answered.await {
            Ok(told) => told,
            Err(_) => Err(FaultKind::Unreachable.fault("nats", "the connection is lost")),
        }
    }
}

impl Cluster for Double {
    async fn end(&self) -> Result<End, Fault> {
        self.request(|servers, _| {
            let message = servers.stream.last().cloned();
            End { sequence: servers.stream.len() as u64, message }
        })
        .await
    }

    async fn message(&self, sequence: u64) -> Result<Option<Message>, Fault> {
        self.request(move |servers, _| {
            let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
            servers.stream.get(index).cloned()
        })
        .await
    }

    async fn publish(&self, message: &Outgoing) -> Result<Answer, Fault> {
        let message = message.clone();
        self.request(move |servers, now| servers.publish(&message, now)).await
    }

    async fn lease(&self) -> Result<Lease, Fault> {
        self.request(|servers, now| servers.read_lease(now)).await
    }

    async fn claim(&self, expected: u64, value: Option<Bytes>) -> Result<Claim, Fault> {
        self.request(move |servers, now| servers.claim(expected, value, now)).await
    }
}

/// Messages as they come: a consumer that goes on by sequence, whatever the servers forgot meanwhile.
pub(crate) struct Feed {
    double: Double,
    next: u64,
}

impl tail::Feed for Feed {
    async fn next(&mut self) -> Result<Option<Message>, Fault> {
        self.double.context.sleep(Duration::from_millis(20)).await;
        let message = Cluster::message(&self.double, self.next).await?;
        self.next += u64::from(message.is_some());
        Ok(message)
    }

    fn connected(&self) -> bool {
        true
    }
}

impl tail::Stream for Double {
    type Feed = Feed;

    async fn bounds(&self) -> Result<Bounds, Fault> {
        self.request(|servers, _| Bounds { first: 1, last: servers.stream.len() as u64 }).await
    }

    async fn at(&self, sequence: u64) -> Result<Option<Message>, Fault> {
        Cluster::message(self, sequence).await
    }

    async fn feed(&self, sequence: u64) -> Result<Feed, Fault> {
        self.request(|_, _| ()).await?;
        Ok(Feed { double: self.clone(), next: sequence })
    }
}
