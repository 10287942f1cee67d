//! Requests over real sockets.

#![allow(
    clippy::disallowed_methods,
    reason = "the servers are not what runs here, and end with the test"
)]

mod http;
pub(crate) mod node;
pub(crate) mod script;
mod secrets;
mod ws;

use super::{Call, Config, Endpoint, Node, Toll, Unanswered};
use axum::{Router, body::Bytes, extract::Request, response::Response};
use commonware_runtime::{Runner as _, tokio};
use commonware_utils::sync::Mutex;
use serde_json::{Value, json};
use std::{future::Future, net::SocketAddr, sync::Arc};
use tidewatch_core::FaultKind;

/// Runs on tokio: there are sockets here.
pub(crate) fn run<F: Future>(test: impl FnOnce(tokio::Context) -> F) -> F::Output {
    tokio::Runner::default().start(test)
}

/// A node at `address`, which has `path` behind it.
fn node(
    context: tokio::Context,
    scheme: &str,
    address: SocketAddr,
    path: &str,
) -> Node<tokio::Context> {
    let text = format!("eth+{scheme}://{address}{path}");
    let endpoint = Endpoint::parse("eth", &["http", "ws"], &text).unwrap();
    Node::new(context, &endpoint, &Config::default()).unwrap()
}

/// Serves `routes` on a port that the system chooses.
pub(crate) async fn serve(routes: Router) -> SocketAddr {
    let listener = ::tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    ::tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

/// Every request that came, with its headers.
type Seen = Arc<Mutex<Vec<(axum::http::request::Parts, Value)>>>;

/// Answers every request by `answer`, from what was asked.
async fn answering(
    answer: impl Fn(&Value) -> Response + Clone + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let requests = seen.clone();
    let handler = move |request: Request| {
        let (answer, requests) = (answer.clone(), requests.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let response = answer(&asked);
            requests.lock().push((parts, asked));
            response
        }
    };
    (serve(Router::new().fallback(handler)).await, seen)
}

fn response(status: u16, content_type: &str, body: impl Into<axum::body::Body>) -> Response {
    let response = Response::builder().status(status).header("content-type", content_type);
    response.body(body.into()).unwrap()
}

fn sent(value: &Value) -> Response {
    response(200, "application/json", value.to_string())
}

/// The answer to one call: its parameters.
fn echo(call: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": call["id"], "result": call["params"]})
}

/// The answers to a request of any kind.
fn echoes(asked: &Value) -> Value {
    asked.as_array().map_or_else(|| echo(asked), |calls| calls.iter().map(echo).collect())
}

fn calls(count: u64) -> Vec<Call> {
    (0..count).map(|i| Call::new("echo", vec![i.into()])).collect()
}

/// Costs nothing.
fn free() -> Toll {
    Arc::new(|| Box::pin(std::future::ready(())))
}

fn kind(unanswered: &Unanswered) -> (FaultKind, bool) {
    match unanswered {
        Unanswered::TooMany(fault) => (fault.kind, true),
        Unanswered::Fault(fault) => (fault.kind, false),
        Unanswered::Part { fault, .. } => (fault.kind, true),
        Unanswered::Busy { fault, .. } => (fault.kind, false),
    }
}
