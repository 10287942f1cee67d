//! Metrics for Prometheus, over HTTP.

use super::Problem;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use commonware_runtime::{Metrics as _, Spawner as _, Supervisor as _, tokio::Context};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// What the encoder writes: the format that Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the metrics of `context` at `address` until the runtime ends. Returns once it listens, with
/// the address (of which the port may have been chosen by the system).
pub(super) async fn serve(context: &Context, address: SocketAddr) -> Result<SocketAddr, Problem> {
    let refuse = |error: std::io::Error| {
        Problem::usage(format!("cannot serve metrics at {address}: {error}"))
            .hint("name a free address with --metrics, such as 127.0.0.1:9100")
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let registry = Arc::new(context.child("registry"));
    let metrics = get(move || {
        let body = registry.encode();
        async move { ([(CONTENT_TYPE, OPEN_METRICS)], body) }
    });
    let app = Router::new().route("/metrics", metrics);
    context.child("metrics_server").spawn(move |_| async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(address)
}
