//! Offers a prover over HTTP.

use super::{
    Miden, Offered, Token, connections,
    grpc::{self, Code, Status},
    miden::released,
};
use crate::{Failure, Handle, Progress, Prover};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{
        StatusCode,
        header::{AUTHORIZATION, CONTENT_LENGTH, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use commonware_macros::select;
use commonware_utils::NZUsize;
use std::{
    collections::HashMap, fmt, future::pending, num::NonZeroUsize, sync::Arc, time::Duration,
};
use tidewatch_core::{Digest, Stopping};
use tokio::{net::TcpListener, sync::Semaphore};

/// What one server does at the most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest inputs, in bytes.
    pub inputs_max: usize,
    /// Requests that are served at once; others are refused.
    pub requests_max: NonZeroUsize,
    /// How long a request may wait for news.
    pub wait_max: Duration,
}

impl Default for Limits {
    /// 64 MiB, 64 requests, 30 s.
    fn default() -> Self {
        Self {
            inputs_max: 64 * 1024 * 1024,
            requests_max: NZUsize!(64),
            wait_max: Duration::from_secs(30),
        }
    }
}

/// What is served.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Jobs of [`Remote`](super::Remote); `None` takes none.
    pub jobs: Option<Jobs>,
    /// Calls of Miden's sequencers; `None` answers none.
    pub miden: Option<Miden>,
    /// How much at once. [`Calls`](super::Calls) bounds those of Miden's sequencers.
    pub limits: Limits,
    /// What a request has to show; `None` serves whoever connects.
    pub token: Option<Token>,
}

/// Who takes jobs, and of what.
#[derive(Clone)]
pub struct Jobs {
    /// Who proves.
    pub prover: Arc<dyn Prover>,
    /// What: jobs of another program are refused.
    pub program: Digest,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("prover", &self.prover.name()).finish_non_exhaustive()
    }
}

/// What the handlers of jobs have.
#[derive(Clone)]
struct Desk {
    jobs: Jobs,
    wait_max: Duration,
    stop: Stopping,
}

/// Serves `worker` on `listener` until it is stopped. What is being answered then has a second to end; requests that
/// wait for news, and calls of Miden's sequencers, end at once. Dropped, it cuts every connection.
pub async fn serve(listener: TcpListener, worker: Worker, stop: Stopping) {
    let Worker { jobs, miden, limits, token } = worker;
    let mut router = Router::new();
    let mut at_once = 0;
    if let Some(jobs) = jobs {
        at_once += limits.requests_max.get();
        router = router.merge(routes(jobs, &limits, stop.clone()));
    }
    let mut releasing = None;
    if let Some(miden) = miden {
        at_once += miden.calls_max();
        let prover = miden.prover();
        let (routes, given_up) = miden.routes(stop.clone());
        router = router.merge(routes);
        releasing = Some(released(prover, given_up));
    }
    let router = router.fallback(unknown).layer(from_fn_with_state(token, shown));
    let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
    let released = async {
        if let Some(releasing) = releasing {
            releasing.await;
        }
        pending::<()>().await;
    };
    select! {
        () = connections::serve(listener, router, at_once, stop) => {},
        () = released => {},
    }
}

fn routes(jobs: Jobs, limits: &Limits, stop: Stopping) -> Router {
    let gate = Gate {
        places: Arc::new(Semaphore::new(limits.requests_max.get())),
        inputs_max: limits.inputs_max as u64,
        // A request that waits for news as long as it may, and one that sends its body slowly.
        longest: limits.wait_max.saturating_mul(2),
    };
    Router::new()
        .route("/v1/offer", get(offer))
        .route("/v1/jobs/{handle}", get(poll).put(submit).delete(release))
        .layer(DefaultBodyLimit::max(limits.inputs_max))
        .layer(from_fn_with_state(gate, bounded))
        .with_state(Desk { jobs, wait_max: limits.wait_max, stop })
}

/// What is answered to a request for anything else.
async fn unknown(request: Request) -> Response {
    if grpc::is_call(request.headers()) {
        return Status::new(Code::Unimplemented, "no such method here").into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}

/// Lets those pass who show the token, where there is one.
async fn shown(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    if let Some(token) = &token {
        let shown = request.headers().get(AUTHORIZATION);
        if !shown.is_some_and(|header| token.is_shown_in(header.as_bytes())) {
            if grpc::is_call(request.headers()) {
                return Status::new(Code::Unauthenticated, "a token is wanted").into_response();
            }
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response();
        }
    }
    next.run(request).await
}

/// What every request about jobs passes.
#[derive(Clone)]
struct Gate {
    places: Arc<Semaphore>,
    inputs_max: u64,
    longest: Duration,
}

async fn bounded(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Ok(_place) = gate.places.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once").into_response();
    };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|length| length > gate.inputs_max)
    {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let served = tokio::time::timeout(gate.longest, next.run(request)).await;
    served.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

fn failed(failure: &Failure) -> Response {
    let status = match failure {
        Failure::Full => StatusCode::TOO_MANY_REQUESTS,
        Failure::Lost => StatusCode::NOT_FOUND,
        Failure::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        Failure::Unavailable(_) | Failure::Silent(_) => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Unprovable(_) | Failure::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let reason = match failure {
        Failure::Unprovable(reason) => reason.clone(),
        other => other.to_string(),
    };
    (status, reason).into_response()
}

async fn offer(State(desk): State<Desk>) -> Response {
    match desk.jobs.prover.offer().await {
        Ok(offer) => {
            let deadline_ms = offer
                .deadline
                .map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
            let program = desk.jobs.program.to_string();
            axum::Json(Offered { program, slots: offer.slots, deadline_ms }).into_response()
        }
        Err(failure) => failed(&failure),
    }
}

async fn submit(State(desk): State<Desk>, Path(handle): Path<String>, body: Bytes) -> Response {
    let Some(key) = Handle::new(handle).ok().as_ref().and_then(Handle::key) else {
        return (StatusCode::BAD_REQUEST, "no handle").into_response();
    };
    if key.program != desk.jobs.program {
        let ours = desk.jobs.program;
        return (StatusCode::CONFLICT, format!("{ours} is proven here")).into_response();
    }
    match desk.jobs.prover.submit(key, body).await {
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(failure) => failed(&failure),
    }
}

async fn poll(
    State(desk): State<Desk>,
    Path(handle): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Ok(handle) = Handle::new(handle) else {
        return (StatusCode::BAD_REQUEST, "no handle").into_response();
    };
    let wait = query.get("wait_ms").and_then(|wait| wait.parse().ok()).unwrap_or(0);
    let wait = Duration::from_millis(wait).min(desk.wait_max);
    let progress = select! {
        progress = desk.jobs.prover.poll(&handle, wait) => progress,
        () = desk.stop.stopped() => Ok(Progress::Running),
    };
    match progress {
        Ok(Progress::Proved(proof)) => proof.into_response(),
        Ok(Progress::Running) => StatusCode::ACCEPTED.into_response(),
        Err(failure) => failed(&failure),
    }
}

async fn release(State(desk): State<Desk>, Path(handle): Path<String>) -> Response {
    let Ok(handle) = Handle::new(handle) else {
        return (StatusCode::BAD_REQUEST, "no handle").into_response();
    };
    desk.jobs.prover.release(&handle).await;
    StatusCode::NO_CONTENT.into_response()
}
