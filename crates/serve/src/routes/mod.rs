//! What is at which path.

mod blocks;
mod chain;
mod consumers;
mod events;
pub(crate) mod health;
mod page;
mod session;
mod status;
mod tips;

pub(crate) use blocks::find;
pub(crate) use chain::wrong;
pub(crate) use events::settled;
pub(crate) use status::{dry, of as status};
pub(crate) use tips::{standing, why};

use crate::{
    describe, indexer,
    problem::{Code, Problem},
    rpc,
    served::Served,
    server::{connection::Peer, guard},
    shared::Shared,
};
use axum::{
    Json, Router,
    body::{Body, HttpBody as _, to_bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use commonware_macros::select;
use commonware_runtime::{Clock, Metrics};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, header};
use std::sync::Arc;

/// Longest body of a request, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// What every route has.
pub(crate) struct App<E, L> {
    pub(crate) context: Arc<E>,
    pub(crate) shared: Arc<Shared<L>>,
}

impl<E, L> Clone for App<E, L> {
    fn clone(&self) -> Self {
        Self { context: self.context.clone(), shared: self.shared.clone() }
    }
}

pub(crate) fn router<E: Clock + Metrics, L: Served>(
    context: Arc<E>,
    shared: Arc<Shared<L>>,
) -> Router {
    let app = App { context, shared };
    let guarded = Router::new()
        .route("/v1/events", get(events::events::<E, L>))
        .route("/v1/tips", get(tips::tips::<E, L>))
        .route("/v1/tips/{tier}", get(tips::tip::<E, L>))
        .route("/v1/tips/{tier}/proof", get(tips::proof::<E, L>))
        .route("/v1/status", get(status::status::<E, L>))
        .route("/v1/resume", get(status::resume::<E, L>))
        .route("/v1/faults", get(status::faults::<E, L>))
        .route("/v1/blocks/{name}", get(blocks::block::<E, L>))
        .route("/v1/digests", get(chain::digests::<E, L>))
        .route("/v1/range", get(chain::range::<E, L>))
        .route("/v1/consumers", get(consumers::all::<E, L>))
        .route(
            "/v1/consumers/{name}",
            get(consumers::one::<E, L>)
                .put(consumers::put::<E, L>)
                .delete(consumers::forget::<E, L>),
        )
        .route("/v1/session", post(session::session::<E, L>))
        .route("/rpc", get(rpc::connect::<E, L>).post(rpc::post::<E, L>))
        .route("/metrics", get(health::metrics::<E, L>))
        .merge(indexer::router(app.shared.ladder))
        .layer(from_fn_with_state(app.clone(), authorized::<E, L>));
    Router::new()
        .merge(guarded)
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/openapi.json", get(|| async { Json(describe::openapi()) }))
        .route("/openrpc.json", get(|| async { Json(describe::openrpc()) }))
        .route("/live", get(health::live::<E, L>))
        .route("/livez", get(health::live::<E, L>))
        .route("/ready", get(health::ready::<E, L>))
        .route("/readyz", get(health::ready::<E, L>))
        .route("/health", get(health::health::<E, L>))
        .fallback(|| async { Problem::new(Code::NotFound, "there is nothing at this path") })
        .layer(from_fn_with_state(app.clone(), checked::<E, L>))
        .with_state(app)
}

pub(crate) fn refused<L>(shared: &Shared<L>, problem: Problem) -> Response {
    shared.metrics.refused(problem.code);
    problem.into_response()
}

/// What needs the token.
async fn authorized<E: Clock, L: Served>(
    State(app): State<App<E, L>>,
    request: Request,
    next: Next,
) -> Response {
    let request = match guard::authorized(&app.shared.config, request.headers()) {
        Ok(()) => whole(&app, request).await,
        Err(problem) => Err(problem),
    };
    match request {
        Ok(request) => next.run(request).await,
        Err(problem) => refused(&app.shared, problem),
    }
}

/// `request` with its body, which has as long to come as the head had. A client that begins one and goes quiet
/// would hold its connection for ever.
async fn whole<E: Clock, L>(app: &App<E, L>, request: Request) -> Result<Request, Problem> {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let oversized = Problem::new(Code::Oversized, format!("a body has at most {BODY_MAX} bytes"));
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(oversized);
    }
    let limit = app.context.sleep(app.shared.config.ask).boxed();
    select! {
        read = to_bytes(body, BODY_MAX) => match read {
            Ok(bytes) => Ok(Request::from_parts(head, Body::from(bytes))),
            Err(_) => Err(oversized),
        },
        () = limit => Err(Problem::new(Code::TimedOut, "the body did not come in time")),
    }
}

/// What every request passes, and every answer carries.
async fn checked<E: Clock, L: Served>(
    State(app): State<App<E, L>>,
    request: Request,
    next: Next,
) -> Response {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    let Shared { config, address, .. } = &*app.shared;
    let id = request.headers().get(REQUEST_ID).filter(|id| id.len() <= 128).cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match guard::same_site(config, *address, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => refused(&app.shared, problem),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let named = origin.filter(|origin| config.origins.iter().any(|allowed| allowed == origin));
    if let Some(origin) = named {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    id.map(|id| headers.insert(REQUEST_ID, id));
    response
}
