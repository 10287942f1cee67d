//! Offers a prover over HTTP.

use super::{Offered, Token, key};
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
use commonware_utils::NZUsize;
use std::{collections::HashMap, fmt, num::NonZeroUsize, sync::Arc, time::Duration};
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
#[derive(Clone)]
pub struct Worker {
    /// Who proves.
    pub prover: Arc<dyn Prover>,
    /// What: jobs of another program are refused.
    pub program: Digest,
    /// How much at once.
    pub limits: Limits,
    /// What a request has to show; `None` serves whoever connects.
    pub token: Option<Token>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("prover", &self.prover.name()).finish_non_exhaustive()
    }
}

/// Serves `worker` on `listener` until it is stopped.
///
/// # Errors
///
/// The listener fails.
pub async fn serve(listener: TcpListener, worker: Worker, stop: Stopping) -> std::io::Result<()> {
    let gate = Gate {
        token: worker.token.clone(),
        places: Arc::new(Semaphore::new(worker.limits.requests_max.get())),
        inputs_max: worker.limits.inputs_max as u64,
        // A request that waits for news as long as it may, and one that sends its body slowly.
        longest: worker.limits.wait_max.saturating_mul(2),
    };
    let inputs_max = worker.limits.inputs_max;
    let router = Router::new()
        .route("/v1/offer", get(offer))
        .route("/v1/jobs/{handle}", get(poll).put(submit).delete(release))
        .layer(DefaultBodyLimit::max(inputs_max))
        .layer(from_fn_with_state(gate, bounded))
        .with_state(worker);
    let stopped = async move { stop.stopped().await };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

/// What every request passes.
#[derive(Clone)]
struct Gate {
    token: Option<Token>,
    places: Arc<Semaphore>,
    inputs_max: u64,
    longest: Duration,
}

async fn bounded(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if let Some(token) = &gate.token {
        let shown = request.headers().get(AUTHORIZATION);
        if !shown.is_some_and(|header| token.is_shown_in(header.as_bytes())) {
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response();
        }
    }
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

async fn offer(State(worker): State<Worker>) -> Response {
    match worker.prover.offer().await {
        Ok(offer) => {
            let deadline_ms = offer
                .deadline
                .map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
            let program = worker.program.to_string();
            axum::Json(Offered { program, slots: offer.slots, deadline_ms }).into_response()
        }
        Err(failure) => failed(&failure),
    }
}

async fn submit(State(worker): State<Worker>, Path(handle): Path<String>, body: Bytes) -> Response {
    let Some(key) = Handle::new(handle).ok().as_ref().and_then(key) else {
        return (StatusCode::BAD_REQUEST, "no handle").into_response();
    };
    if key.program != worker.program {
        let ours = worker.program;
        return (StatusCode::CONFLICT, format!("{ours} is proven here")).into_response();
    }
    match worker.prover.submit(key, body).await {
        Ok(_) => StatusCode::ACCEPTED.into_response(),
        Err(failure) => failed(&failure),
    }
}

async fn poll(
    State(worker): State<Worker>,
    Path(handle): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Ok(handle) = Handle::new(handle) else {
        return (StatusCode::BAD_REQUEST, "no handle").into_response();
    };
    let wait = query.get("wait_ms").and_then(|wait| wait.parse().ok()).unwrap_or(0);
    let wait = Duration::from_millis(wait).min(worker.limits.wait_max);
    match worker.prover.poll(&handle, wait).await {
        Ok(Progress::Proved(proof)) => proof.into_response(),
        Ok(Progress::Running) => StatusCode::ACCEPTED.into_response(),
        Err(failure) => failed(&failure),
    }
}

async fn release(State(worker): State<Worker>, Path(handle): Path<String>) -> Response {
    let Ok(handle) = Handle::new(handle) else {
        return (StatusCode::BAD_REQUEST, "no handle").into_response();
    };
    worker.prover.release(&handle).await;
    StatusCode::NO_CONTENT.into_response()
}
