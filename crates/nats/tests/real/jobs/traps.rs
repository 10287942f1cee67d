//! What was seen of servers, and what is known to break.

use super::{
    LIMIT, LONG, PROGRAM, Sized, TICK, api, connected, ended, key, options, queue,
    scripted::{Scripted, proof},
    stopped, submitted, worker, worker_with,
};
use crate::{
    rig,
    server::{NEWEST, Server, TOO_OLD},
};
use async_nats::{Client, HeaderMap, Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Supervisor as _, tokio::Context};
use commonware_utils::{NZUsize, sync::Mutex};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tidewatch_core::{FaultKind, Running, within};
use tidewatch_nats::jobs::{JobId, JobNames, Outcome, Queue, Record, settings};
use tidewatch_prover::{Failure, Handle, Key, Offer, Progress, Prover};
use tokio::sync::OnceCell;

/// A prover that does what the test says.
struct Double {
    context: Mutex<Context>,
    /// What the next submissions fail with.
    failures: Mutex<VecDeque<Failure>>,
    /// The proof that there is once `open` is set.
    proof: Bytes,
    open: AtomicBool,
    /// Whether a poll answers before there is a proof.
    patient: bool,
    polls: AtomicUsize,
    submissions: AtomicUsize,
    releases: AtomicUsize,
}

impl Double {
    fn new(context: &Context, failures: Vec<Failure>, patient: bool) -> Arc<Self> {
        Arc::new(Self {
            context: Mutex::new(context.child("double")),
            failures: Mutex::new(failures.into()),
            proof: Bytes::from_static(b"of the double"),
            open: AtomicBool::new(false),
            patient,
            polls: AtomicUsize::new(0),
            submissions: AtomicUsize::new(0),
            releases: AtomicUsize::new(0),
        })
    }

    fn open(&self) {
        self.open.store(true, SeqCst);
    }
}

impl Prover for Double {
    fn name(&self) -> &str {
        "double"
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        Box::pin(async { Ok(Offer { slots: 2, deadline: None }) })
    }

    fn submit(&self, key: Key, _: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        self.submissions.fetch_add(1, SeqCst);
        let failure = self.failures.lock().pop_front();
        Box::pin(async move { failure.map_or_else(|| Ok(Handle::of(&key)), Err) })
    }

    fn poll<'a>(
        &'a self,
        _: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        self.polls.fetch_add(1, SeqCst);
        Box::pin(async move {
            let clock = self.context.lock().child("poll");
            let mut spent = Duration::ZERO;
            while !self.open.load(SeqCst) {
                if self.patient && spent >= patience {
                    return Ok(Progress::Running);
                }
                clock.sleep(TICK).await;
                spent += TICK;
            }
            Ok(Progress::Proved(self.proof.clone()))
        })
    }

    fn release<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, ()> {
        self.releases.fetch_add(1, SeqCst);
        Box::pin(async {})
    }
}

/// How long a lease is that a test waits for.
const LEASE: Duration = Duration::from_secs(1);

/// Servers, and the queue there as one scheduler has it.
struct World {
    context: Context,
    servers: Vec<Server>,
    copies: u32,
    queue: Arc<dyn Prover>,
    client: OnceCell<Client>,
}

impl World {
    fn new(context: Context, servers: Vec<Server>) -> Self {
        let copies = if servers.len() > 1 { 3 } else { 1 };
        let queue = queue(&context, &servers);
        Self { context, servers, copies, queue, client: OnceCell::new() }
    }

    /// Makes the queue before a worker does.
    async fn make(&self, sized: Sized) {
        sized.make(&self.context, &self.servers, self.copies).await;
    }

    fn worker(&self, script: &Scripted) -> Running {
        worker(&self.context, &self.servers, self.copies, script)
    }

    /// A worker that takes one job at a time.
    fn worker_of(&self, double: &Arc<Double>) -> Running {
        let taken = (self.copies, NZUsize!(1));
        worker_with(&self.context, &self.servers, taken, double.clone())
    }

    async fn submitted(&self, height: u64, inputs: impl Into<Bytes>) -> Handle {
        submitted(&self.context, &self.queue, height, inputs).await
    }

    async fn ended(&self, handle: &Handle) -> Result<Bytes, Failure> {
        ended(&self.queue, handle).await
    }

    async fn tick(&self) {
        self.context.sleep(TICK).await;
    }

    /// Waits for `condition`.
    async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            self.tick().await;
        }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| connected(&self.context, &self.servers)).await
    }

    /// What JetStream answers.
    async fn api(&self, subject: &str, body: &Value) -> Result<Value, String> {
        api(self.client().await, subject, body).await
    }

    /// How many messages a stream has, as soon as the server says it.
    async fn count(&self, stream: &str) -> u64 {
        loop {
            if let Ok(info) = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
                return info["state"]["messages"].as_u64().unwrap();
            }
        }
    }

    /// Waits until a stream has so many messages.
    async fn counts(&self, stream: &str, wanted: u64) {
        while self.count(stream).await != wanted {
            self.tick().await;
        }
    }

    async fn purge(&self, stream: &str) {
        self.api(&format!("STREAM.PURGE.{stream}"), &Value::Null).await.unwrap();
    }

    /// The newest message of a stream on `subject`.
    async fn newest(&self, stream: &str, subject: &str) -> Value {
        let which = json!({ "last_by_subj": subject });
        let found = self.api(&format!("STREAM.MSG.GET.{stream}"), &which).await.unwrap();
        let data = STANDARD.decode(found["message"]["data"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&data).unwrap()
    }

    /// Why the newest dead letter is one.
    async fn newest_reason(&self) -> Value {
        self.newest(&names().dead(), "$JS.EVENT.ADVISORY.>").await["reason"].take()
    }

    /// The result of a job, as it stands in the bucket.
    async fn record(&self, handle: &Handle) -> Record {
        let id = JobId::read(handle.as_str()).unwrap();
        serde_json::from_value(self.newest(&results(), &names().result(&id)).await).unwrap()
    }
}

/// Runs `test` over one server.
fn alone(test: impl AsyncFnOnce(World)) {
    rig::alone(LIMIT, NEWEST, |context, servers| test(World::new(context, servers)));
}

fn names() -> JobNames {
    JobNames::of(PROGRAM)
}

/// The stream of the bucket of results.
fn results() -> String {
    format!("KV_{}", names().results())
}

/// The stream of the bucket of inputs and proofs.
fn objects() -> String {
    format!("OBJ_{}", names().objects())
}

async fn a_name_is_remembered(world: World) {
    let script = Scripted::default();
    let worker = world.worker(&script);
    let handle = world.submitted(1, "one").await;
    assert_eq!(world.ended(&handle).await, Ok(proof(&key(1), b"one")));
    world.counts(&names().jobs(), 0).await;
    // The same name once more: acknowledged, and not stored.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", handle.as_str());
    let request = Request::new().payload("one".into()).headers(headers);
    let answer =
        world.client().await.send_request(names().subject(&key(1)), request).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["duplicate"], true, "{answer}");
    assert_eq!(world.count(&names().jobs()).await, 0);
    // What is submitted again has another one.
    world.queue.release(&handle).await;
    let anew = world.submitted(1, "one").await;
    assert_ne!(anew, handle);
    assert_eq!(world.ended(&anew).await, Ok(proof(&key(1), b"one")));
    assert_eq!(script.begun(1), 2);
    // A late release of the old one is none of the new one.
    world.queue.release(&handle).await;
    assert_eq!(world.ended(&anew).await, Ok(proof(&key(1), b"one")));
    stopped(worker).await;
}

#[test]
fn one_server_drops_a_name_that_it_remembers_and_a_released_job_has_a_new_one() {
    alone(a_name_is_remembered);
}

#[test]
fn a_cluster_drops_a_name_that_it_remembers_and_a_released_job_has_a_new_one() {
    rig::three(LIMIT, |context, servers| a_name_is_remembered(World::new(context, servers)));
}

#[test]
fn a_lease_is_held_by_renewals() {
    alone(async |world| {
        world.make(Sized { lease: LEASE, ..Sized::default() }).await;
        let double = Double::new(&world.context, Vec::new(), true);
        let worker = world.worker_of(&double);
        let handle = world.submitted(1, "").await;
        // Each poll takes a third of the lease.
        world.until(|| double.polls.load(SeqCst) >= 12).await;
        double.open();
        assert_eq!(world.ended(&handle).await, Ok(double.proof.clone()));
        assert_eq!(double.submissions.load(SeqCst), 1);
        assert_eq!(world.record(&handle).await.delivery, 1);
        stopped(worker).await;
    });
}

#[test]
fn a_worker_that_lost_its_lease_and_ends_late_changes_nothing() {
    alone(async |world| {
        world.make(Sized { lease: LEASE, ..Sized::default() }).await;
        // It answers nothing for longer than the lease.
        let double = Double::new(&world.context, Vec::new(), false);
        let late = world.worker_of(&double);
        let handle = world.submitted(1, "one").await;
        world.until(|| double.polls.load(SeqCst) == 1).await;
        let script = Scripted::default();
        let second = world.worker(&script);
        let proved = Ok(proof(&key(1), b"one"));
        assert_eq!(world.ended(&handle).await, proved);
        double.open();
        world.until(|| double.releases.load(SeqCst) == 1).await;
        assert_eq!(world.ended(&handle).await, proved, "the first result counts");
        assert!(world.record(&handle).await.delivery > 1);
        // What the late one stored is removed: the pieces and the entry of one object are left.
        world.counts(&objects(), 2).await;
        stopped(late).await;
        stopped(second).await;
    });
}

#[test]
fn a_machine_in_trouble_gives_a_job_back_and_the_delivery_is_counted() {
    alone(async |world| {
        let double = Double::new(&world.context, vec![Failure::Full], true);
        double.open();
        let worker = world.worker_of(&double);
        let handle = world.submitted(1, "").await;
        assert_eq!(world.ended(&handle).await, Ok(double.proof.clone()));
        assert_eq!(world.record(&handle).await.delivery, 2);
        stopped(worker).await;
    });
}

#[test]
fn a_job_that_nobody_ends_is_a_dead_letter_and_whoever_submitted_is_told() {
    alone(async |world| {
        world.make(Sized { deliveries_max: 2, ..Sized::default() }).await;
        let trouble = || Failure::Unavailable("no memory".into());
        let double = Double::new(&world.context, vec![trouble(), trouble()], true);
        double.open();
        let worker = world.worker_of(&double);
        let handle = world.submitted(1, "").await;
        let dead = world.ended(&handle).await.unwrap_err();
        assert!(matches!(dead, Failure::Unprovable(_)), "{dead}");
        assert!(dead.to_string().contains("given up after 2 deliveries"), "{dead}");
        assert_eq!(world.record(&handle).await.outcome, Outcome::Dead { deliveries: 2 });
        assert_eq!(world.count(&names().jobs()).await, 0, "it does not fill the queue");
        assert_eq!(world.count(&names().dead()).await, 1, "the advisory is kept");
        // It may be submitted again.
        world.queue.release(&handle).await;
        let anew = world.submitted(1, "").await;
        assert_eq!(world.ended(&anew).await, Ok(double.proof.clone()));
        stopped(worker).await;
    });
}

#[test]
fn poison_is_ended_for_good_with_its_reason_and_is_kept_among_the_dead_letters() {
    alone(async |world| {
        let script = Scripted::default();
        let worker = world.worker(&script);
        let handle = world.submitted(1, "fail it does not hash").await;
        let failed = Err(Failure::Unprovable("it does not hash".into()));
        assert_eq!(world.ended(&handle).await, failed);
        world.counts(&names().dead(), 1).await;
        assert_eq!(world.newest_reason().await, "it does not hash");
        assert_eq!(world.count(&names().jobs()).await, 0);
        assert_eq!(script.begun(1), 1);
        stopped(worker).await;
    });
}

#[test]
fn a_message_that_is_no_job_is_ended_for_good() {
    alone(async |world| {
        let script = Scripted::default();
        let worker = world.worker(&script);
        let handle = world.submitted(1, "one").await;
        world.client().await.publish(names().subject(&key(2)), "rubbish".into()).await.unwrap();
        // A result that nobody of ours wrote is no result.
        assert!(world.ended(&handle).await.is_ok());
        let id = JobId::read(handle.as_str()).unwrap();
        world.client().await.request(names().result(&id), "rubbish".into()).await.unwrap();
        assert_eq!(world.ended(&handle).await, Err(Failure::Lost));
        world.counts(&names().dead(), 1).await;
        assert_eq!(world.newest_reason().await, "no job: it has no Nats-Msg-Id");
        stopped(worker).await;
    });
}

#[test]
fn inputs_and_proofs_may_be_larger_than_a_message() {
    alone(async |world| {
        let script = Scripted::default();
        let worker = world.worker(&script);
        for (height, size) in [(1, 64 << 10), (2, (64 << 10) + 1), (3, 3 << 20)] {
            let inputs = Bytes::from(vec![b'x'; size]);
            let handle = world.submitted(height, inputs.clone()).await;
            assert_eq!(world.ended(&handle).await, Ok(proof(&key(height), &inputs)), "{size}");
            world.queue.release(&handle).await;
        }
        let large = Bytes::from(vec![b'x'; usize::try_from(super::BYTES_MAX).unwrap() + 1]);
        let handle = world.submitted(4, large).await;
        let refused = world.ended(&handle).await.unwrap_err().to_string();
        assert!(refused.contains("8388609 bytes"), "{refused}");
        world.queue.release(&handle).await;
        // Nothing of them is left.
        world.counts(&objects(), 0).await;
        stopped(worker).await;
    });
}

#[test]
fn what_the_cluster_forgot_is_lost_and_submitted_again() {
    alone(async |world| {
        let script = Scripted::default();
        let worker = world.worker(&script);
        // The message, while somebody works on it.
        let handle = world.submitted(1, "wait").await;
        world.until(|| script.begun(1) == 1).await;
        world.purge(&names().jobs()).await;
        assert_eq!(world.ended(&handle).await, Err(Failure::Lost));
        script.open(1);
        // The proof, and not the result.
        let handle = world.submitted(2, "two").await;
        assert!(world.ended(&handle).await.is_ok());
        world.purge(&objects()).await;
        assert_eq!(world.ended(&handle).await, Err(Failure::Lost));
        world.queue.release(&handle).await;
        let handle = world.submitted(2, "two").await;
        assert_eq!(world.ended(&handle).await, Ok(proof(&key(2), b"two")));
        // Inputs, before a worker had them.
        for height in [11, 12] {
            world.submitted(height, "wait").await;
            world.until(|| script.begun(height) == 1).await;
        }
        let large = Bytes::from(vec![b'x'; 100_000]);
        let handle = world.submitted(13, large.clone()).await;
        world.purge(&objects()).await;
        script.open(11);
        assert_eq!(world.ended(&handle).await, Err(Failure::Lost));
        let handle = world.submitted(13, large.clone()).await;
        assert_eq!(world.ended(&handle).await, Ok(proof(&key(13), &large)));
        assert_eq!(script.begun(13), 1);
        script.open(12);
        // Everything.
        for stream in [names().jobs(), names().dead(), results(), objects()] {
            world.api(&format!("STREAM.DELETE.{stream}"), &Value::Null).await.unwrap();
        }
        let handle = world.submitted(3, "three").await;
        assert_eq!(world.ended(&handle).await, Ok(proof(&key(3), b"three")));
        stopped(worker).await;
    });
}

#[test]
fn without_a_queue_and_without_a_worker_it_is_said_what_to_do() {
    alone(async |mut world| {
        let away = Queue::new(world.context.child("away"), options(&world.servers), PROGRAM, 1_000);
        world.servers[0].kill();
        assert!(matches!(away.offer().await, Err(Failure::Unavailable(_))));
        world.servers[0].restart();
        drop(connected(&world.context, &world.servers).await);
        let told = |failure: Result<Offer, Failure>| failure.unwrap_err().to_string();
        while !told(world.queue.offer().await).contains("no queue yet") {
            world.tick().await;
        }
        let worker = world.worker(&Scripted::default());
        while world.queue.offer().await.is_err() {
            world.tick().await;
        }
        assert_eq!(world.queue.offer().await.unwrap().slots % 2, 0);
        stopped(worker).await;
        let handle = loop {
            let none = world.queue.offer().await;
            if none.is_err() {
                assert!(told(none).contains("tidewatch prover-worker --nats"));
                break world.queue.submit(key(1), Bytes::new()).await.unwrap();
            }
            world.tick().await;
        };
        let waits = world.queue.poll(&handle, Duration::ZERO).await.unwrap_err().to_string();
        assert!(waits.contains("no worker"), "{waits}");
    });
}

#[test]
fn a_queue_has_one_consumer_and_one_in_another_form_is_refused_by_the_setting() {
    alone(async |world| {
        world.make(Sized::default()).await;
        let stream = names().jobs();
        let second = json!({
            "stream_name": stream,
            "config": { "durable_name": "second", "ack_policy": "explicit" },
        });
        let create = format!("CONSUMER.DURABLE.CREATE.{stream}.second");
        let refused = world.api(&create, &second).await.unwrap_err();
        assert!(refused.contains("10099"), "{refused}");
        // A back-off would be the lease in place of `ack_wait`.
        world.api(&format!("CONSUMER.DELETE.{stream}.provers"), &Value::Null).await.unwrap();
        let mut config = settings::workers().all;
        config.insert("backoff".into(), json!([1_000_000_000_u64, 2_000_000_000_u64]));
        let create = format!("CONSUMER.DURABLE.CREATE.{stream}.provers");
        let body = json!({ "stream_name": stream, "config": config });
        world.api(&create, &body).await.unwrap();
        let ended = world.worker(&Scripted::default()).await.unwrap_err();
        assert_eq!(ended.kind, FaultKind::InvalidConfig);
        assert!(ended.to_string().contains("backoff is"), "{ended}");
        // Copies that are others than were asked for.
        let ended =
            worker(&world.context, &world.servers, 3, &Scripted::default()).await.unwrap_err();
        assert!(ended.to_string().contains("num_replicas is 1 and has to be 3"), "{ended}");
        // A stream that keeps what was acknowledged.
        world.api(&format!("STREAM.DELETE.{stream}"), &Value::Null).await.unwrap();
        let mut config = settings::jobs(&names(), 1).all;
        config.insert("retention".into(), "limits".into());
        world.api(&format!("STREAM.CREATE.{stream}"), &Value::Object(config)).await.unwrap();
        let ended = world.worker(&Scripted::default()).await.unwrap_err();
        assert!(ended.to_string().contains("retention is"), "{ended}");
    });
}

#[test]
fn a_worker_refuses_a_server_below_the_floor() {
    rig::alone(LIMIT, TOO_OLD, async |context, servers| {
        let ended = worker(&context, &servers, 1, &Scripted::default()).await.unwrap_err();
        assert!(ended.to_string().contains("2.12.8"), "{ended}");
        let queue = queue(&context, &servers);
        let refused = queue.offer().await.unwrap_err().to_string();
        assert!(refused.contains("2.11.11"), "{refused}");
    });
}

#[test]
fn a_worker_that_stops_gives_its_job_to_the_next_at_once() {
    alone(async |world| {
        let script = Scripted::default();
        let first = world.worker(&script);
        let handle = world.submitted(1, "wait").await;
        world.until(|| script.begun(1) == 1).await;
        let second = world.worker(&script);
        stopped(first).await;
        // The lease would be 30 s.
        let begun = world.context.current();
        world.until(|| script.begun(1) == 2).await;
        assert!(world.context.current().duration_since(begun).unwrap() < LONG / 4);
        script.open(1);
        assert_eq!(world.ended(&handle).await, Ok(proof(&key(1), b"wait")));
        stopped(second).await;
    });
}

#[test]
fn what_was_released_while_the_servers_were_away_is_removed_when_they_are_back() {
    alone(async |mut world| {
        let worker = world.worker(&Scripted::default());
        let handle = world.submitted(1, "one").await;
        assert!(world.ended(&handle).await.is_ok());
        world.servers[0].kill();
        // A scheduler gives a call up at its deadline.
        let release = world.queue.release(&handle);
        assert_eq!(within(&world.context, 10 * TICK, release).await, None);
        world.servers[0].restart();
        while world.count(&results()).await != 0 {
            let _ = within(&world.context, 20 * TICK, world.queue.offer()).await;
        }
        world.counts(&objects(), 0).await;
        stopped(worker).await;
    });
}
