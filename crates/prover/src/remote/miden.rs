//! Miden's protocol of remote provers: what a sequencer of Miden's calls.
//!
//! # Overview
//!
//! ```text
//!  sequencer ──▶ remote_prover.Api/Prove {BLOCK, payload} ──▶ read: a key ──▶ a turn ──▶ Prover ──▶ {payload}
//! ```
//!
//! A sequencer of version 0.15 asks for the proof of each block, several at once, and waits for 10 s. It tries a block three
//! times without a pause, and ends itself when all three failed. So a call is not refused because everything is busy:
//! it waits for its turn, in the order in which calls came.
//!
//! A job is named by what is read out of the payload ([`Reads`]): a call that is made again after it was given up is
//! the same job, and finds what was proven meanwhile. When the caller goes away the job is released.
//!
//! # Calls
//!
//! | call | answer |
//! |---|---|
//! | `remote_prover.Api/Prove` | the proof of a block |
//! | `remote_prover.WorkerStatusApi/Status` | the version, and that blocks are proven |
//! | `grpc.health.v1.Health/Check` | serving, of these services and of all together |
//!
//! # How a call fails
//!
//! | status | when |
//! |---|---|
//! | `INVALID_ARGUMENT` | no message, not the proof of a block, a payload that is none; no proof exists |
//! | `RESOURCE_EXHAUSTED` | the message is too long, or [`Calls::calls_max`] are there already |
//! | `DEADLINE_EXCEEDED` | no proof in the time that the caller gave (`grpc-timeout`), or within [`Calls::wait_max`] |
//! | `UNAVAILABLE` | it is stopping, or the prover behind it is not there or lost the job |
//! | `UNAUTHENTICATED` | another token, or none |
//! | `UNIMPLEMENTED` | no such method; a message that is compressed |
//!
//! What is no gRPC, or not over HTTP/2, is answered by HTTP's 415 and 505.

use super::grpc::{self, Code, Status};
use crate::{Failure, Handle, Key, Progress, Prover};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::Request,
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{EncodeLabelSet, Gauge, MetricsExt as _, Registered, raw},
};
use commonware_utils::NZUsize;
use prost::Message;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::Stopping;
use tokio::{
    sync::{
        Semaphore,
        mpsc::{Receiver, Sender, channel},
    },
    time::timeout,
};

/// How long the prover may wait for news before it is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait after it had no slot, because others use it too.
const AGAIN: Duration = Duration::from_millis(50);
/// Jobs that were given up and are to be released.
const RELEASES: usize = 256;

/// Reads what is to be proven out of a request's payload.
///
/// # Errors
///
/// Why it is none.
pub type Reads = fn(payload: &[u8]) -> Result<Key, String>;

/// How much is done at once.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Jobs that are handed to the prover at once: its slots.
    pub slots: NonZeroUsize,
    /// Calls at once, those that wait for their turn included; others are refused.
    pub calls_max: NonZeroUsize,
    /// How long a call may take, whatever the caller says.
    pub wait_max: Duration,
    /// Largest message, in bytes.
    pub message_max: usize,
}

impl Default for Calls {
    /// One, 32, 60 s, 32 MiB.
    fn default() -> Self {
        Self {
            slots: NZUsize!(1),
            calls_max: NZUsize!(32),
            wait_max: Duration::from_secs(60),
            message_max: 32 * 1024 * 1024,
        }
    }
}

/// What a caller is proven, and by whom.
#[derive(Clone)]
pub struct Miden {
    prover: Arc<dyn Prover>,
    reads: Reads,
    version: String,
    calls: Calls,
    metrics: Metrics,
}

impl fmt::Debug for Miden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miden").field("prover", &self.prover.name()).finish_non_exhaustive()
    }
}

impl Miden {
    /// Has `prover` prove what `reads` finds in payloads. `version` is what callers see.
    pub fn new(
        context: &impl Register,
        prover: Arc<dyn Prover>,
        reads: Reads,
        version: impl Into<String>,
        calls: Calls,
    ) -> Self {
        Self { prover, reads, version: version.into(), calls, metrics: Metrics::new(context) }
    }

    pub(super) const fn calls_max(&self) -> usize {
        self.calls.calls_max.get()
    }

    pub(super) fn prover(&self) -> Arc<dyn Prover> {
        self.prover.clone()
    }

    /// The routes, and the jobs that are given up: somebody has to hand those to [`released`].
    pub(super) fn routes(self, stop: Stopping) -> (Router, Receiver<Handle>) {
        let (releases, given_up) = channel(RELEASES);
        let desk = Desk {
            turns: Semaphore::new(self.calls.slots.get()),
            places: Semaphore::new(self.calls.calls_max.get()),
            miden: self,
            releases,
            stop,
        };
        let router = Router::new()
            .route("/remote_prover.Api/Prove", post(prove))
            .route("/remote_prover.WorkerStatusApi/Status", post(status))
            .route("/grpc.health.v1.Health/Check", post(health))
            .with_state(Arc::new(desk));
        (router, given_up)
    }
}

/// Releases jobs as they are given up; ends when nobody can give one up any more.
pub(super) async fn released(prover: Arc<dyn Prover>, mut given_up: Receiver<Handle>) {
    while let Some(handle) = given_up.recv().await {
        prover.release(&handle).await;
    }
}

/// What all calls share.
struct Desk {
    miden: Miden,
    /// One for each job that the prover has; calls wait here in their order.
    turns: Semaphore,
    places: Semaphore,
    releases: Sender<Handle>,
    stop: Stopping,
}

async fn prove(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    if let Some(refused) = grpc::no_call(&request) {
        return refused;
    }
    let call = Counted::new(&desk.miden.metrics);
    match desk.prove(request).await {
        Ok(payload) => {
            call.ended("ok");
            grpc::answer(&Proof { payload: payload.into() }.encode_to_vec())
        }
        Err(status) => {
            tracing::debug!(code = status.code.as_str(), text = status.text, "a call failed");
            call.ended(status.code.as_str());
            status.into_response()
        }
    }
}

impl Desk {
    /// The proof that a call asks for, in its time.
    async fn prove(&self, request: Request<Body>) -> Result<Bytes, Status> {
        let Calls { calls_max, wait_max, .. } = self.miden.calls;
        let Ok(_place) = self.places.try_acquire() else {
            let text = format!("{calls_max} calls are waiting already");
            return Err(Status::new(Code::ResourceExhausted, text));
        };
        let limit = grpc::timeout(request.headers()).map_or(wait_max, |asked| asked.min(wait_max));
        select! {
            proved = timeout(limit, self.proved(request)) => proved.unwrap_or_else(|_| {
                let text = format!("no proof within {limit:?}");
                Err(Status::new(Code::DeadlineExceeded, text))
            }),
            () = self.stop.stopped() => {
                Err(Status::new(Code::Unavailable, "this worker is stopping"))
            },
        }
    }

    async fn proved(&self, request: Request<Body>) -> Result<Bytes, Status> {
        let Miden { prover, reads, calls, .. } = &self.miden;
        let invalid = |text: String| Status::new(Code::InvalidArgument, text);
        let message = grpc::message(request, calls.message_max).await?;
        let asked = ProofRequest::decode(message).map_err(|error| invalid(error.to_string()))?;
        match ProofType::try_from(asked.proof_type) {
            Ok(ProofType::Block) => {}
            Ok(other) => {
                let text = format!("unsupported proof type: {other:?}, blocks alone are proven");
                return Err(invalid(text));
            }
            Err(_) => return Err(invalid(format!("no proof type: {}", asked.proof_type))),
        }
        let payload = Bytes::from(asked.payload);
        let key = reads(&payload).map_err(invalid)?;
        // A semaphore that is never closed.
        let _turn = self.turns.acquire().await.ok();
        let handle = loop {
            match prover.submit(key, payload.clone()).await {
                Ok(handle) => break handle,
                Err(Failure::Full) => drop(timeout(AGAIN, self.stop.stopped()).await),
                Err(failure) => return Err(failed(&failure)),
            }
        };
        let mut waits = Waits { handle: Some(handle.clone()), releases: &self.releases };
        let outcome = loop {
            match prover.poll(&handle, PATIENCE).await {
                Ok(Progress::Running) => {}
                Ok(Progress::Proved(proof)) => break Ok(proof),
                Err(failure) => break Err(failed(&failure)),
            }
        };
        // What is proven stays there for whoever asks again: the prover keeps a few.
        waits.handle = None;
        outcome
    }
}

/// Somebody waits for a job. If they go away before it ended, it is released.
struct Waits<'a> {
    handle: Option<Handle>,
    releases: &'a Sender<Handle>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take()
            && self.releases.try_send(handle).is_err()
        {
            tracing::debug!("a job that was given up runs to its end");
        }
    }
}

fn failed(failure: &Failure) -> Status {
    let code = match failure {
        Failure::Full => Code::ResourceExhausted,
        Failure::TimedOut(_) => Code::DeadlineExceeded,
        Failure::Unavailable(_) | Failure::Silent(_) | Failure::Lost => Code::Unavailable,
        Failure::Unprovable(_) | Failure::Rejected(_) => Code::InvalidArgument,
    };
    Status::new(code, failure.reason())
}

async fn status(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    let proves = ProofType::Block.into();
    let answer = WorkerStatus { version: desk.miden.version.clone(), proves };
    small(request, |Nothing {}| Ok(answer)).await
}

async fn health(request: Request<Body>) -> Response {
    let known = ["", "remote_prover.Api", "remote_prover.WorkerStatusApi"];
    let answer = |HealthRequest { service }: HealthRequest| {
        let serving = Health { status: SERVING };
        let unknown = || Status::new(Code::NotFound, "no such service");
        known.contains(&service.as_str()).then_some(serving).ok_or_else(unknown)
    };
    small(request, answer).await
}

/// Longest message of calls that are about nothing large, in bytes.
const SMALL: usize = 1024;

/// A call that is answered at once.
async fn small<Asked: Message + Default, Answer: Message>(
    request: Request<Body>,
    answer: impl FnOnce(Asked) -> Result<Answer, Status>,
) -> Response {
    if let Some(refused) = grpc::no_call(&request) {
        return refused;
    }
    let answered = grpc::message(request, SMALL).await.and_then(|message| {
        let asked = Asked::decode(message);
        answer(asked.map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?)
    });
    answered.map_or_else(
        |status| status.into_response(),
        |answer| grpc::answer(&answer.encode_to_vec()),
    )
}

/// `remote_prover.ProofType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ProofType {
    Transaction = 0,
    Batch = 1,
    Block = 2,
}

/// `remote_prover.ProofRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct ProofRequest {
    #[prost(int32, tag = "1")]
    proof_type: i32,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// `remote_prover.Proof`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Proof {
    #[prost(bytes = "vec", tag = "1")]
    payload: Vec<u8>,
}

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Nothing {}

/// `remote_prover.WorkerStatus`.
#[derive(Clone, PartialEq, Eq, Message)]
struct WorkerStatus {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(enumeration = "ProofType", tag = "2")]
    proves: i32,
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `SERVING` of `grpc.health.v1.HealthCheckResponse`.
const SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Health {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: String,
}

#[derive(Clone)]
struct Metrics {
    calls: Gauge,
    ended: Registered<raw::Family<Label, raw::Counter>>,
}

impl Metrics {
    fn new(context: &impl Register) -> Self {
        Self {
            calls: context.gauge("calls", "Calls for a proof that are being answered, or wait"),
            ended: context.family("calls_ended", "Calls for a proof, by how they ended"),
        }
    }

    fn count(&self, kind: &str) {
        self.ended.get_or_create(&Label { kind: kind.into() }).inc();
    }
}

/// A call that is being answered, for as long as it is.
struct Counted<'a> {
    metrics: &'a Metrics,
    how: &'static str,
}

impl<'a> Counted<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.calls.inc();
        // Until it ends in another way, and then nobody is there to answer.
        Self { metrics, how: "gone" }
    }

    fn ended(mut self, how: &'static str) {
        self.how = how;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.calls.dec();
        self.metrics.count(self.how);
    }
}
