//! Metrics for Prometheus, over HTTP.

use super::{
    Problem,
    port::{self, Limits, Page},
};
use commonware_runtime::{Metrics as _, Spawner as _, Supervisor as _, tokio::Context};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// What the encoder writes: the format that Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What runs, below the name that all of its metrics begin with. Those of the runtime itself have the names that they
/// have in every program on it.
pub(super) fn named(context: &Context) -> Context {
    context.child("tidewatch")
}

/// Serves the metrics of `context` at `address` until the runtime ends. Returns once it listens, with
/// the address (of which the port may have been chosen by the system).
pub(super) async fn serve(context: &Context, address: SocketAddr) -> Result<SocketAddr, Problem> {
    let refuse = |error: std::io::Error| {
        Problem::usage(format!("cannot serve metrics at {address}: {error}"))
            .hint("name a free address with --metrics, such as 127.0.0.1:9100")
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let registry = context.child("registry");
    let metrics = move |path: &str| {
        let page = || Page { content_type: OPEN_METRICS, body: registry.encode() };
        (path == "/metrics").then(page)
    };
    context
        .child("metrics_server")
        .spawn(move |context| port::serve(context, listener, Limits::default(), metrics));
    Ok(address)
}
