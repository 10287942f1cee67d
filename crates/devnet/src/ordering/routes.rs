//! The interface: see [`tidewatch_sequencer::remote`].

use super::{
    config::Limits,
    decide::Outcome,
    disk::Preblocks,
    metrics::Metrics,
    orderer::{Status, Submit},
};
use crate::Rounds;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_formatting::hex;
use futures::{Stream, stream};
use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidewatch_core::Height;
use tidewatch_sequencer::{Content, Proposal, remote::wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// Streams hold no place of other requests.
const STREAM: &str = "/v1/preblocks";

/// What every route reads.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) submit: mpsc::Sender<Submit>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) preblocks: Preblocks,
    pub(super) rounds: Rounds,
    pub(super) silent: Arc<[AtomicBool]>,
    pub(super) quorum: usize,
    pub(super) limits: Limits,
    pub(super) requests: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
}

/// Every route, with its bounds.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/proposals/{identity}", put(submit))
        .route(STREAM, get(preblocks))
        .route("/v1/newest", get(newest))
        .route("/v1/round", get(round))
        .route("/v1/health", get(health))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(shared.limits.content_max))
        .layer(from_fn_with_state(shared.clone(), bounded))
        .with_state(shared)
}

/// Refuses, and counts why.
fn refuse(
    shared: &Shared,
    status: StatusCode,
    kind: &'static str,
    why: impl fmt::Display,
) -> Response {
    shared.metrics.refused(kind);
    (status, format!("{kind}: {why}\n")).into_response()
}

/// What every request passes: a place, and a deadline until its answer begins.
async fn bounded(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let is_stream = request.uri().path() == STREAM && request.method() == Method::GET;
    let place = shared.requests.clone().try_acquire_owned();
    if place.is_err() && !is_stream {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return refuse(&shared, status, "busy", "too many requests at once");
    }
    let served = tokio::time::timeout(shared.limits.request, next.run(request)).await;
    served.unwrap_or_else(|_| {
        let limit = shared.limits.request;
        let why = format!("it took longer than {limit:?}");
        refuse(&shared, StatusCode::REQUEST_TIMEOUT, "slow", why)
    })
}

async fn no_route(State(shared): State<Shared>) -> Response {
    refuse(&shared, StatusCode::NOT_FOUND, "no_route", "there is nothing here")
}

async fn no_method(State(shared): State<Shared>) -> Response {
    refuse(&shared, StatusCode::METHOD_NOT_ALLOWED, "no_method", "this route has no such method")
}

async fn submit(
    State(shared): State<Shared>,
    Path(identity): Path<String>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Some(identity) = wire::named(&identity) else {
        let why = "expected NUMBER-PARENT-CONTENT-ATTEMPT";
        return refuse(&shared, StatusCode::BAD_REQUEST, "identity", why);
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let why = format!("a content has {} bytes at the most", shared.limits.content_max);
            return refuse(&shared, StatusCode::PAYLOAD_TOO_LARGE, "large", why);
        }
        Err(rejection) => return refuse(&shared, rejection.status(), "body", rejection),
    };
    let content = match Content::decode(body) {
        Ok(content) => content,
        Err(error) => {
            return refuse(&shared, StatusCode::UNPROCESSABLE_ENTITY, "content", error);
        }
    };
    let digest = content.digest(identity.number, identity.parent);
    if digest != identity.content {
        let why = format!("the body is content {digest}");
        return refuse(&shared, StatusCode::UNPROCESSABLE_ENTITY, "content", why);
    }
    let (answer, answered) = oneshot::channel();
    let proposal = Proposal { identity, content };
    let stopping = || refuse(&shared, StatusCode::SERVICE_UNAVAILABLE, "stopping", "it has ended");
    if shared.submit.send(Submit { proposal, answer }).await.is_err() {
        return stopping();
    }
    match answered.await {
        Err(_) => stopping(),
        Ok(Outcome::Accepted) => StatusCode::ACCEPTED.into_response(),
        Ok(Outcome::Known) => StatusCode::OK.into_response(),
        Ok(Outcome::Taken) => {
            let why = format!("number {} has other content", identity.number);
            refuse(&shared, StatusCode::CONFLICT, "taken", why)
        }
        Ok(Outcome::NotNext(next)) => {
            let why = format!("number {next} is the next one");
            refuse(&shared, StatusCode::PRECONDITION_FAILED, "not_next", why)
        }
    }
}

async fn newest(State(shared): State<Shared>) -> Response {
    let newest = shared.status.borrow().newest.map(Height::get);
    Json(wire::Newest { newest }).into_response()
}

async fn round(State(shared): State<Shared>) -> Response {
    let seen = shared.status.borrow().certified;
    // While an order is opened the holders look at nothing else, and rounds go on.
    let newest = seen.map(|seen| shared.rounds.newest().borrow().map_or(seen, |at| at.max(seen)));
    let seed = newest.and_then(|round| Some((round, shared.rounds.seed(round)?)));
    let Some((round, seed)) = seed else {
        let why = "no round is certified yet";
        return refuse(&shared, StatusCode::SERVICE_UNAVAILABLE, "no_round", why);
    };
    let (epoch, view) = (round.epoch().get(), round.view().get());
    Json(wire::Round { epoch, view, seed: hex(&seed.encode()) }).into_response()
}

async fn health(State(shared): State<Shared>) -> Response {
    let Status { certified, newest, pending } = *shared.status.borrow();
    let silent = shared.silent.iter().filter(|silent| silent.load(Ordering::Acquire)).count();
    let view = certified.map(|round| round.view().get());
    let (holders, quorum) = (shared.silent.len() - silent, shared.quorum);
    let [newest, pending] = [newest, pending].map(|number| number.map(Height::get));
    let status = if holders < quorum || shared.submit.is_closed() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, Json(wire::Health { newest, view, pending, holders, quorum })).into_response()
}

async fn preblocks(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let from = query.get("from").and_then(|from| from.parse().ok()).map(Height::new);
    let Some(from) = from.filter(|_| query.len() == 1) else {
        let why = "expected ?from=NUMBER";
        return refuse(&shared, StatusCode::BAD_REQUEST, "number", why);
    };
    if let Some(first) = shared.preblocks.first().filter(|first| from < *first) {
        let why = format!("the history begins with number {first}");
        return refuse(&shared, StatusCode::GONE, "gone", why);
    }
    let Ok(place) = shared.streams.clone().try_acquire_owned() else {
        let why = "too many streams at once";
        return refuse(&shared, StatusCode::SERVICE_UNAVAILABLE, "busy", why);
    };
    shared.metrics.streams(shared.limits.streams_max.get() - shared.streams.available_permits());
    let body = Body::from_stream(lines(shared, from, place));
    ([(CONTENT_TYPE, "text/plain")], body).into_response()
}

/// A stream that is open.
struct Reader {
    shared: Shared,
    next: Height,
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.place.take());
        let Shared { metrics, limits, streams, .. } = &self.shared;
        metrics.streams(limits.streams_max.get() - streams.available_permits());
    }
}

fn lines(
    shared: Shared,
    next: Height,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<String, Infallible>> {
    let reader = Reader { shared, next, place: Some(place) };
    stream::unfold(reader, |mut reader| async move {
        let line = reader.line().await?;
        Some((Ok(line), reader))
    })
}

impl Reader {
    /// The next line. `None` ends the stream.
    async fn line(&mut self) -> Option<String> {
        let (next, alive) = (self.next, self.shared.limits.alive);
        let status = self.shared.status.wait_for(|status| status.newest >= Some(next));
        match tokio::time::timeout(alive, status).await {
            Err(_) => return Some("\n".into()),
            Ok(Err(_)) => return None,
            Ok(Ok(_)) => {}
        }
        // A history that began above it, since.
        if self.shared.preblocks.first() > Some(next) {
            return None;
        }
        let preblock = self.shared.preblocks.read(next).await;
        let preblock = preblock.inspect_err(|error| tracing::warn!(%error, "a stream is ended"));
        self.next = next.next();
        Some(wire::line(&preblock.ok()?))
    }
}
