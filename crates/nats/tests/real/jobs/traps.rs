//! What was seen of servers, and what is known to break.

use super::{
    LONG, PROGRAM, Sized, TICK, api, connected, ended, key, options, queue, run,
    scripted::{Scripted, proof},
    submitted, worker, worker_with,
};
use crate::server::{NEWEST, Server, TOO_OLD, installed};
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
use tidewatch_core::{FaultKind, within};
use tidewatch_nats::jobs::{JobId, JobNames, Outcome, Queue, Record, settings};
use tidewatch_prover::{Failure, Handle, Key, Offer, Progress, Prover};

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

/// Waits for `condition`.
async fn until(context: &Context, condition: impl Fn() -> bool) {
    while !condition() {
        context.sleep(TICK).await;
    }
}

/// How many messages a stream has, as soon as the server says it.
async fn count(client: &Client, stream: &str) -> u64 {
    loop {
        if let Ok(info) = api(client, &format!("STREAM.INFO.{stream}"), &Value::Null).await {
            return info["state"]["messages"].as_u64().unwrap();
        }
    }
}

/// Waits until a stream has so many messages.
async fn counts(context: &Context, client: &Client, stream: &str, wanted: u64) {
    while count(client, stream).await != wanted {
        context.sleep(TICK).await;
    }
}

/// The newest message of a stream on `subject`.
async fn newest(client: &Client, stream: &str, subject: &str) -> Value {
    let which = json!({ "last_by_subj": subject });
    let found = api(client, &format!("STREAM.MSG.GET.{stream}"), &which).await.unwrap();
    let data = STANDARD.decode(found["message"]["data"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&data).unwrap()
}

fn names() -> JobNames {
    JobNames::of(PROGRAM)
}

/// The result of a job, as it stands in the bucket.
async fn record(client: &Client, handle: &Handle) -> Record {
    let id = JobId::read(handle.as_str()).unwrap();
    let bucket = format!("KV_{}", names().results());
    serde_json::from_value(newest(client, &bucket, &names().result(&id)).await).unwrap()
}

async fn a_name_is_remembered(context: &Context, servers: &[Server], copies: u32) {
    let script = Scripted::default();
    let worker = worker(context, servers, copies, &script);
    let queue = queue(context, servers);
    let handle = submitted(context, &queue, 1, "one").await;
    assert_eq!(ended(&queue, &handle).await, Ok(proof(&key(1), b"one")));
    let client = connected(context, servers).await;
    counts(context, &client, &names().jobs(), 0).await;
    // The same name once more: acknowledged, and not stored.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", handle.as_str());
    let request = Request::new().payload("one".into()).headers(headers);
    let answer = client.send_request(names().subject(&key(1)), request).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["duplicate"], true, "{answer}");
    assert_eq!(count(&client, &names().jobs()).await, 0);
    // What is submitted again has another one.
    queue.release(&handle).await;
    let anew = submitted(context, &queue, 1, "one").await;
    assert_ne!(anew, handle);
    assert_eq!(ended(&queue, &anew).await, Ok(proof(&key(1), b"one")));
    assert_eq!(script.begun(1), 2);
    // A late release of the old one is none of the new one.
    queue.release(&handle).await;
    assert_eq!(ended(&queue, &anew).await, Ok(proof(&key(1), b"one")));
    worker.stop();
    worker.await.unwrap();
}

#[test]
fn one_server_drops_a_name_that_it_remembers_and_a_released_job_has_a_new_one() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        a_name_is_remembered(&context, &[Server::start(&executable)], 1).await;
    });
}

#[test]
fn a_cluster_drops_a_name_that_it_remembers_and_a_released_job_has_a_new_one() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        a_name_is_remembered(&context, &Server::cluster(&executable), 3).await;
    });
}

#[test]
fn a_lease_is_held_by_renewals() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let lease = Duration::from_secs(1);
        Sized { lease, ..Sized::default() }.make(&context, &servers, 1).await;
        let double = Double::new(&context, Vec::new(), true);
        let worker = worker_with(&context, &servers, (1, NZUsize!(1)), double.clone());
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "").await;
        // Each poll takes a third of the lease.
        until(&context, || double.polls.load(SeqCst) >= 12).await;
        double.open();
        assert_eq!(ended(&queue, &handle).await, Ok(double.proof.clone()));
        assert_eq!(double.submissions.load(SeqCst), 1);
        let client = connected(&context, &servers).await;
        assert_eq!(record(&client, &handle).await.delivery, 1);
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn a_worker_that_lost_its_lease_and_ends_late_changes_nothing() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let lease = Duration::from_secs(1);
        Sized { lease, ..Sized::default() }.make(&context, &servers, 1).await;
        // It answers nothing for longer than the lease.
        let double = Double::new(&context, Vec::new(), false);
        let late = worker_with(&context, &servers, (1, NZUsize!(1)), double.clone());
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "one").await;
        until(&context, || double.polls.load(SeqCst) == 1).await;
        let script = Scripted::default();
        let second = worker(&context, &servers, 1, &script);
        let proved = Ok(proof(&key(1), b"one"));
        assert_eq!(ended(&queue, &handle).await, proved);
        double.open();
        until(&context, || double.releases.load(SeqCst) == 1).await;
        assert_eq!(ended(&queue, &handle).await, proved, "the first result counts");
        let client = connected(&context, &servers).await;
        assert!(record(&client, &handle).await.delivery > 1);
        // What the late one stored is removed: the pieces and the entry of one object are left.
        counts(&context, &client, &format!("OBJ_{}", names().objects()), 2).await;
        for worker in [late, second] {
            worker.stop();
            worker.await.unwrap();
        }
    });
}

#[test]
fn a_machine_in_trouble_gives_a_job_back_and_the_delivery_is_counted() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let double = Double::new(&context, vec![Failure::Full], true);
        double.open();
        let worker = worker_with(&context, &servers, (1, NZUsize!(1)), double.clone());
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "").await;
        assert_eq!(ended(&queue, &handle).await, Ok(double.proof.clone()));
        let client = connected(&context, &servers).await;
        assert_eq!(record(&client, &handle).await.delivery, 2);
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn a_job_that_nobody_ends_is_a_dead_letter_and_whoever_submitted_is_told() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        Sized { deliveries_max: 2, ..Sized::default() }.make(&context, &servers, 1).await;
        let trouble = || Failure::Unavailable("no memory".into());
        let double = Double::new(&context, vec![trouble(), trouble()], true);
        double.open();
        let worker = worker_with(&context, &servers, (1, NZUsize!(1)), double.clone());
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "").await;
        let dead = ended(&queue, &handle).await.unwrap_err();
        assert!(matches!(dead, Failure::Unprovable(_)), "{dead}");
        assert!(dead.to_string().contains("given up after 2 deliveries"), "{dead}");
        let client = connected(&context, &servers).await;
        assert_eq!(record(&client, &handle).await.outcome, Outcome::Dead { deliveries: 2 });
        assert_eq!(count(&client, &names().jobs()).await, 0, "it does not fill the queue");
        assert_eq!(count(&client, &names().dead()).await, 1, "the advisory is kept");
        // It may be submitted again.
        queue.release(&handle).await;
        let anew = submitted(&context, &queue, 1, "").await;
        assert_eq!(ended(&queue, &anew).await, Ok(double.proof.clone()));
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn poison_is_ended_for_good_with_its_reason_and_is_kept_among_the_dead_letters() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let script = Scripted::default();
        let worker = worker(&context, &servers, 1, &script);
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "fail it does not hash").await;
        let failed = Err(Failure::Unprovable("it does not hash".into()));
        assert_eq!(ended(&queue, &handle).await, failed);
        let client = connected(&context, &servers).await;
        counts(&context, &client, &names().dead(), 1).await;
        let advisory = newest(&client, &names().dead(), "$JS.EVENT.ADVISORY.>").await;
        assert_eq!(advisory["reason"], "it does not hash", "{advisory}");
        assert_eq!(count(&client, &names().jobs()).await, 0);
        assert_eq!(script.begun(1), 1);
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn a_message_that_is_no_job_is_ended_for_good() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let script = Scripted::default();
        let worker = worker(&context, &servers, 1, &script);
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "one").await;
        let client = connected(&context, &servers).await;
        client.publish(names().subject(&key(2)), "rubbish".into()).await.unwrap();
        // A result that nobody of ours wrote is no result.
        assert!(ended(&queue, &handle).await.is_ok());
        let id = JobId::read(handle.as_str()).unwrap();
        client.request(names().result(&id), "rubbish".into()).await.unwrap();
        assert_eq!(ended(&queue, &handle).await, Err(Failure::Lost));
        counts(&context, &client, &names().dead(), 1).await;
        let advisory = newest(&client, &names().dead(), "$JS.EVENT.ADVISORY.>").await;
        assert_eq!(advisory["reason"], "no job: it has no Nats-Msg-Id", "{advisory}");
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn inputs_and_proofs_may_be_larger_than_a_message() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let script = Scripted::default();
        let worker = worker(&context, &servers, 1, &script);
        let queue = queue(&context, &servers);
        let client = connected(&context, &servers).await;
        for (height, size) in [(1, 64 << 10), (2, (64 << 10) + 1), (3, 3 << 20)] {
            let inputs = Bytes::from(vec![b'x'; size]);
            let handle = submitted(&context, &queue, height, inputs.clone()).await;
            assert_eq!(ended(&queue, &handle).await, Ok(proof(&key(height), &inputs)), "{size}");
            queue.release(&handle).await;
        }
        let large = Bytes::from(vec![b'x'; usize::try_from(super::BYTES_MAX).unwrap() + 1]);
        let handle = submitted(&context, &queue, 4, large).await;
        let refused = ended(&queue, &handle).await.unwrap_err().to_string();
        assert!(refused.contains("8388609 bytes"), "{refused}");
        queue.release(&handle).await;
        // Nothing of them is left.
        counts(&context, &client, &format!("OBJ_{}", names().objects()), 0).await;
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn what_the_cluster_forgot_is_lost_and_submitted_again() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let script = Scripted::default();
        let worker = worker(&context, &servers, 1, &script);
        let queue = queue(&context, &servers);
        let client = connected(&context, &servers).await;
        let purge = |stream: String| {
            let client = client.clone();
            async move { api(&client, &format!("STREAM.PURGE.{stream}"), &Value::Null).await.unwrap() }
        };
        // The message, while somebody works on it.
        let handle = submitted(&context, &queue, 1, "wait").await;
        until(&context, || script.begun(1) == 1).await;
        purge(names().jobs()).await;
        assert_eq!(ended(&queue, &handle).await, Err(Failure::Lost));
        script.open(1);
        // The proof, and not the result.
        let handle = submitted(&context, &queue, 2, "two").await;
        assert!(ended(&queue, &handle).await.is_ok());
        purge(format!("OBJ_{}", names().objects())).await;
        assert_eq!(ended(&queue, &handle).await, Err(Failure::Lost));
        queue.release(&handle).await;
        let handle = submitted(&context, &queue, 2, "two").await;
        assert_eq!(ended(&queue, &handle).await, Ok(proof(&key(2), b"two")));
        // Inputs, before a worker had them.
        for height in [11, 12] {
            submitted(&context, &queue, height, "wait").await;
            until(&context, || script.begun(height) == 1).await;
        }
        let large = Bytes::from(vec![b'x'; 100_000]);
        let handle = submitted(&context, &queue, 13, large.clone()).await;
        purge(format!("OBJ_{}", names().objects())).await;
        script.open(11);
        assert_eq!(ended(&queue, &handle).await, Err(Failure::Lost));
        let handle = submitted(&context, &queue, 13, large.clone()).await;
        assert_eq!(ended(&queue, &handle).await, Ok(proof(&key(13), &large)));
        assert_eq!(script.begun(13), 1);
        script.open(12);
        // Everything.
        for stream in [
            names().jobs(),
            names().dead(),
            format!("KV_{}", names().results()),
            format!("OBJ_{}", names().objects()),
        ] {
            api(&client, &format!("STREAM.DELETE.{stream}"), &Value::Null).await.unwrap();
        }
        let handle = submitted(&context, &queue, 3, "three").await;
        assert_eq!(ended(&queue, &handle).await, Ok(proof(&key(3), b"three")));
        worker.stop();
        worker.await.unwrap();
    });
}

#[test]
fn without_a_queue_and_without_a_worker_it_is_said_what_to_do() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let mut servers = [Server::start(&executable)];
        let away = Queue::new(context.child("away"), options(&servers), PROGRAM, 1_000);
        servers[0].kill();
        assert!(matches!(away.offer().await, Err(Failure::Unavailable(_))));
        servers[0].restart();
        drop(connected(&context, &servers).await);
        let told = |failure: Result<Offer, Failure>| failure.unwrap_err().to_string();
        let queue = queue(&context, &servers);
        while !told(queue.offer().await).contains("no queue yet") {
            context.sleep(TICK).await;
        }
        let worker = worker(&context, &servers, 1, &Scripted::default());
        while queue.offer().await.is_err() {
            context.sleep(TICK).await;
        }
        assert_eq!(queue.offer().await.unwrap().slots % 2, 0);
        worker.stop();
        worker.await.unwrap();
        let handle = loop {
            let none = queue.offer().await;
            if none.is_err() {
                assert!(told(none).contains("tidewatch prover-worker --nats"));
                break queue.submit(key(1), Bytes::new()).await.unwrap();
            }
            context.sleep(TICK).await;
        };
        let waits = queue.poll(&handle, Duration::ZERO).await.unwrap_err().to_string();
        assert!(waits.contains("no worker"), "{waits}");
    });
}

#[test]
fn a_queue_has_one_consumer_and_one_in_another_form_is_refused_by_the_setting() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let client = connected(&context, &servers).await;
        Sized::default().make(&context, &servers, 1).await;
        let stream = names().jobs();
        let second = json!({
            "stream_name": stream,
            "config": { "durable_name": "second", "ack_policy": "explicit" },
        });
        let create = format!("CONSUMER.DURABLE.CREATE.{stream}.second");
        let refused = api(&client, &create, &second).await.unwrap_err();
        assert!(refused.contains("10099"), "{refused}");
        // A back-off would be the lease in place of `ack_wait`.
        api(&client, &format!("CONSUMER.DELETE.{stream}.provers"), &Value::Null).await.unwrap();
        let mut config = settings::workers().all;
        config.insert("backoff".into(), json!([1_000_000_000_u64, 2_000_000_000_u64]));
        let create = format!("CONSUMER.DURABLE.CREATE.{stream}.provers");
        let body = json!({ "stream_name": stream, "config": config });
        api(&client, &create, &body).await.unwrap();
        let ended = worker(&context, &servers, 1, &Scripted::default()).await.unwrap_err();
        assert_eq!(ended.kind, FaultKind::InvalidConfig);
        assert!(ended.to_string().contains("backoff is"), "{ended}");
        // Copies that are others than were asked for.
        let ended = worker(&context, &servers, 3, &Scripted::default()).await.unwrap_err();
        assert!(ended.to_string().contains("num_replicas is 1 and has to be 3"), "{ended}");
        // A stream that keeps what was acknowledged.
        api(&client, &format!("STREAM.DELETE.{stream}"), &Value::Null).await.unwrap();
        let mut config = settings::jobs(&names(), 1).all;
        config.insert("retention".into(), "limits".into());
        api(&client, &format!("STREAM.CREATE.{stream}"), &Value::Object(config)).await.unwrap();
        let ended = worker(&context, &servers, 1, &Scripted::default()).await.unwrap_err();
        assert!(ended.to_string().contains("retention is"), "{ended}");
    });
}

#[test]
fn a_worker_refuses_a_server_below_the_floor() {
    let Some(executable) = installed(TOO_OLD) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let ended = worker(&context, &servers, 1, &Scripted::default()).await.unwrap_err();
        assert!(ended.to_string().contains("2.12.8"), "{ended}");
        let queue = queue(&context, &servers);
        let refused = queue.offer().await.unwrap_err().to_string();
        assert!(refused.contains("2.11.11"), "{refused}");
    });
}

#[test]
fn a_worker_that_stops_gives_its_job_to_the_next_at_once() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let servers = [Server::start(&executable)];
        let script = Scripted::default();
        let first = worker(&context, &servers, 1, &script);
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "wait").await;
        until(&context, || script.begun(1) == 1).await;
        let second = worker(&context, &servers, 1, &script);
        first.stop();
        first.await.unwrap();
        // The lease would be 30 s.
        let begun = context.current();
        until(&context, || script.begun(1) == 2).await;
        assert!(context.current().duration_since(begun).unwrap() < LONG / 4);
        script.open(1);
        assert_eq!(ended(&queue, &handle).await, Ok(proof(&key(1), b"wait")));
        second.stop();
        second.await.unwrap();
    });
}

#[test]
fn what_was_released_while_the_servers_were_away_is_removed_when_they_are_back() {
    let Some(executable) = installed(NEWEST) else { return };
    run(|context| async move {
        let mut servers = [Server::start(&executable)];
        let worker = worker(&context, &servers, 1, &Scripted::default());
        let queue = queue(&context, &servers);
        let handle = submitted(&context, &queue, 1, "one").await;
        assert!(ended(&queue, &handle).await.is_ok());
        servers[0].kill();
        // A scheduler gives a call up at its deadline.
        let release = queue.release(&handle);
        assert_eq!(within(&context, 10 * TICK, release).await, None);
        servers[0].restart();
        let client = connected(&context, &servers).await;
        let empty = async {
            loop {
                let _ = within(&context, 20 * TICK, queue.offer()).await;
                if count(&client, &format!("KV_{}", names().results())).await == 0 {
                    break;
                }
            }
        };
        empty.await;
        counts(&context, &client, &format!("OBJ_{}", names().objects()), 0).await;
        worker.stop();
        worker.await.unwrap();
    });
}
