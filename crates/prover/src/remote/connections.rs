//! Connections: HTTP/1.1 and HTTP/2 at one port, by what a client begins with.
//!
//! # Limits
//!
//! | what | how much |
//! |---|---|
//! | connections at once | 256; others wait until one ends |
//! | until a connection has sent the headers of a request, and between two of HTTP/1.1 | 10 s |
//! | a client that takes nothing, or answers no ping | 30 s |
//! | calls at once on a connection of HTTP/2 | as many as are served at all |
//! | headers of a request | 16 KiB |
//! | after a stop | 1 s for calls that are being answered |
//!
//! What a client of HTTP/2 sends ahead of what is read waits in its window: 1 MiB for a call, 4 MiB for a connection.

use axum::{Router, body::Body};
use commonware_macros::select;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use socket2::SockRef;
use std::{
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidewatch_core::Stopping;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// Connections at once.
const CONNECTIONS: usize = 256;
/// Until a connection has asked for something.
const HEADERS: Duration = Duration::from_secs(10);
/// A client that takes nothing for so long is cut.
const STALL: Duration = Duration::from_secs(30);
/// Time between two pings of a connection of HTTP/2 that is silent, and until one is answered.
const PING: Duration = Duration::from_secs(15);
/// How long calls may go on after a stop.
const DRAIN: Duration = Duration::from_secs(1);
/// Wait after a connection could not be accepted, for want of descriptors.
const REFUSED: Duration = Duration::from_millis(100);
/// Bytes of headers, and of what a connection of HTTP/1.1 reads ahead.
const BUFFER: u32 = 16 * 1024;
const CALL_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Serves `app` on `listener` until it is stopped, with at most `calls` at once on a connection. Dropped, it cuts
/// every connection.
pub(super) async fn serve(listener: TcpListener, app: Router, calls: u32, stop: Stopping) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // A semaphore that is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        select! {
            () = stop.stopped() => break,
            _ended = ended(&mut connections) => {},
            accepted = accepted => match accepted {
                (place, Ok((stream, _))) => {
                    let (app, stop) = (app.clone(), stop.clone());
                    connections.spawn(async move {
                        connection(stream, app, calls, stop).await;
                        drop(place);
                    });
                },
                (_, Err(error)) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    let _ = timeout(REFUSED, stop.stopped()).await;
                },
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::debug!("connections are cut: their calls did not end");
    }
}

/// The next connection that ended; none ever, where there are none.
async fn ended(connections: &mut JoinSet<()>) {
    if connections.join_next().await.is_none() {
        pending::<()>().await;
    }
}

async fn connection(stream: TcpStream, app: Router, calls: u32, stop: Stopping) {
    if let Err(error) = bounded(&stream) {
        tracing::debug!(%error, "a socket could not be bounded");
    }
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (app, asked) = (TowerToHyperService::new(app), asked.clone());
        service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            hyper::service::Service::call(&app, request.map(Body::new))
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(BUFFER as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(calls)
        .max_header_list_size(BUFFER)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = select! {
        ended = connection.as_mut() => ended,
        () = silent(&asked) => return,
        () = stop.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        },
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended");
    }
}

/// Resolves if nothing is asked for long enough after a connection was made.
async fn silent(asked: &AtomicBool) {
    let _ = timeout(HEADERS, pending::<()>()).await;
    if asked.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// Has the kernel cut a connection whose client takes nothing: nothing above sees that, because nothing is polled
/// while a socket is full.
fn bounded(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    SockRef::from(stream).set_tcp_user_timeout(Some(STALL))?;
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = (STALL, SockRef::from(stream));
    Ok(())
}
