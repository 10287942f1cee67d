//! The queue of a prover's jobs over real servers of NATS, alone and in a cluster of three.
//!
//! `conformance` is one suite for every implementation of the port `Prover`; `traps` has what was seen of servers; `kills`
//! kills workers and servers; `speed` measures.

#[path = "../../../prover/tests/chained/mod.rs"]
mod chained;
mod conformance;
mod kills;
mod scripted;
mod speed;
mod traps;

use crate::{
    rig::{self, TICK, connected, options},
    server::Server,
};
use async_nats::Client;
use bytes::Bytes;
use commonware_runtime::{Clock as _, Supervisor as _, tokio::Context};
use commonware_utils::NZUsize;
use scripted::Scripted;
use serde_json::{Map, Value, json};
use std::{future::Future, num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Digest, Fault, Height, Monitor, Running};
use tidewatch_nats::{
    jobs::{JobNames, Queue, Worker, WorkerConfig, settings},
    settings::Wanted,
};
use tidewatch_prover::{Failure, Handle, Key, Pool, Progress, Prover};

const LIMIT: Duration = Duration::from_secs(60);
/// Patience of a poll: what is waited for comes sooner.
const LONG: Duration = Duration::from_secs(40);
const PROGRAM: Digest = Digest([9; 32]);
const SLOTS: NonZeroUsize = NZUsize!(2);
const BYTES_MAX: u64 = 8 << 20;

/// Runs `test` as the others do, within [`LIMIT`].
fn run<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    rig::run(LIMIT, test);
}

fn key(height: u64) -> Key {
    let mut digest = [3; 32];
    digest[..8].copy_from_slice(&height.to_be_bytes());
    Key::one(BlockRef::new(Height::new(height), Digest(digest)), PROGRAM)
}

/// What JetStream answers.
async fn api(client: &Client, subject: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let asked = client.request(format!("$JS.API.{subject}"), body);
    let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
    let answer = asked.map_err(|_| "silent".to_owned())?.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    if answer["error"].is_null() { Ok(answer) } else { Err(answer["error"].to_string()) }
}

/// How a queue is made that an operator sized.
struct Sized {
    jobs_max: u64,
    lease: Duration,
    deliveries_max: u64,
}

impl Default for Sized {
    fn default() -> Self {
        Self { jobs_max: 1_000, lease: Duration::from_secs(30), deliveries_max: 5 }
    }
}

impl Sized {
    /// Makes the stream of jobs and its consumer, as soon as the servers can.
    async fn make(&self, context: &Context, servers: &[Server], copies: u32) {
        let client = connected(context, servers).await;
        let names = JobNames::of(PROGRAM);
        let with = |wanted: Wanted, changes: &[(&str, u64)]| -> Map<String, Value> {
            let mut all = wanted.all;
            for (name, value) in changes {
                all.insert((*name).into(), (*value).into());
            }
            all
        };
        let jobs = with(settings::jobs(&names, copies), &[("max_msgs", self.jobs_max)]);
        let lease = u64::try_from(self.lease.as_nanos()).unwrap();
        let workers =
            with(settings::workers(), &[("ack_wait", lease), ("max_deliver", self.deliveries_max)]);
        let stream = names.jobs();
        let made = [
            (format!("STREAM.CREATE.{stream}"), Value::Object(jobs)),
            (
                format!("CONSUMER.DURABLE.CREATE.{stream}.provers"),
                json!({ "stream_name": stream, "config": workers }),
            ),
        ];
        for (subject, body) in made {
            while let Err(error) = api(&client, &subject, &body).await {
                println!("{subject}: {error}");
                assert!(!error.contains("invalid"), "{error}");
                context.sleep(TICK).await;
            }
        }
    }
}

/// Prints what fails, for whoever reads why a test did not end.
struct Said;

impl Monitor for Said {
    fn fault(&self, fault: &Fault) {
        println!("{fault}");
    }
}

/// A worker in this process, with a pool that computes `script`.
fn worker(context: &Context, servers: &[Server], copies: u32, script: &Scripted) -> Running {
    let pool = Pool::new(context.child("pool"), "pool", script.clone(), SLOTS);
    worker_with(context, servers, (copies, SLOTS), Arc::new(pool))
}

fn worker_with(
    context: &Context,
    servers: &[Server],
    (copies, slots): (u32, NonZeroUsize),
    prover: Arc<dyn Prover>,
) -> Running {
    let config = WorkerConfig {
        options: options(servers),
        program: PROGRAM,
        prover,
        slots,
        replicas: Some(copies),
        inputs_max: BYTES_MAX,
    };
    Running::start(Worker::new(context.child("worker"), config, Arc::new(Said)))
}

/// The queue, as one scheduler has it.
fn queue(context: &Context, servers: &[Server]) -> Arc<dyn Prover> {
    Arc::new(Queue::new(context.child("queue"), options(servers), PROGRAM, BYTES_MAX))
}

/// Submits as a scheduler does: again, where there is nobody or no room.
async fn submitted(
    context: &Context,
    prover: &Arc<dyn Prover>,
    height: u64,
    inputs: impl Into<Bytes>,
) -> Handle {
    let inputs = inputs.into();
    loop {
        match prover.submit(key(height), inputs.clone()).await {
            Ok(handle) => return handle,
            Err(Failure::Full | Failure::Unavailable(_)) => context.sleep(TICK).await,
            Err(failure) => panic!("{failure}"),
        }
    }
}

/// The worker ends as it was asked to.
async fn stopped(worker: Running) {
    worker.stop();
    worker.await.unwrap();
}

/// Polls until the job ended.
async fn ended(prover: &Arc<dyn Prover>, handle: &Handle) -> Result<Bytes, Failure> {
    loop {
        match prover.poll(handle, Duration::from_secs(1)).await {
            Ok(Progress::Proved(proof)) => return Ok(proof),
            Ok(Progress::Running) | Err(Failure::Unavailable(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
}
