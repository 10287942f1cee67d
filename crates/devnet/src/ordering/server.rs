//! The listener and its connections.

use super::config::Limits;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use std::sync::Arc;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Bytes that the kernel holds for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes that are held here of what a connection reads and writes.
const BUFFER: usize = 64 * 1024;

/// Serves `app` on `listener` for as long as it is polled. Dropped, every connection is cut.
pub(super) async fn serve(listener: TcpListener, app: Router, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections_max.get()));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // The process has too many files open, or the client has left already.
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::task::yield_now().await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        if let Err(error) = bounded(&stream, limits) {
            tracing::debug!(%error, "a socket could not be bounded");
        }
        let app = app.clone();
        connections.spawn(async move {
            connection(stream, app, limits).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, app: Router, limits: Limits) {
    let service = TowerToHyperService::new(app);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Has the kernel cut a connection whose client takes nothing: nothing above sees that, because nothing is polled
/// while a socket is full.
fn bounded(stream: &TcpStream, limits: Limits) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(limits.stall))?;
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = limits;
    Ok(())
}
