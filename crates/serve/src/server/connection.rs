//! One connection.

use crate::{served::Served, shared::Shared};
use axum::Router;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Bytes that the kernel holds for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes that are held here of what a connection reads and writes: a request with the longest cursor, and the
/// headers of a browser. hyper allocates 8 KiB for each direction whatever this says, and takes nothing lower.
const BUFFER: usize = 16 * 1024;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Answers at `stream` until its client leaves, stalls, or the server stops.
pub(super) async fn serve<L: Served>(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    shared: &Shared<L>,
) {
    if let Err(error) = bounded(&stream, shared.config.stall) {
        tracing::debug!(%error, "a socket could not be bounded");
    }
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        hyper::service::Service::call(&app, request)
    });
    let mut connection = Box::pin(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.config.ask)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades(),
    );
    let mut beat = shared.tail.watch();
    let drained = async { drop(beat.wait_for(|beat| beat.draining).await) };
    let ended = commonware_macros::select! {
        ended = connection.as_mut() => ended,
        () = drained => {
            connection.as_mut().graceful_shutdown();
            connection.await
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Has the kernel cut a connection whose client takes nothing for `stall`: nothing above sees that, because
/// nothing is polled while a socket is full.
fn bounded(stream: &TcpStream, stall: std::time::Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(stall))?;
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = stall;
    Ok(())
}
