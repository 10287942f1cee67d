//! The listener and its connections.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Bytes that the kernel holds for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes that are held here of what a connection reads and writes.
const BUFFER: usize = 64 * 1024;

/// Bounds of the connections of an interface over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    /// Connections that are open at once; others wait.
    pub connections_max: NonZeroUsize,
    /// How long the headers of a request may take, and a connection between two requests.
    pub headers: Duration,
    /// A connection that takes nothing for so long is cut.
    pub stall: Duration,
}

/// What happens to connections, for a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// All places are taken: the next connection waits.
    Full,
    /// It was cut: its headers did not come in time, or it was idle.
    Slow,
    /// What came is no HTTP.
    Malformed,
    /// It broke.
    Broken,
}

impl Trouble {
    /// Name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
        }
    }
}

/// Serves `app` on `listener` for as long as it is polled, and hands `trouble` what happens to connections. Dropped,
/// every connection is cut.
pub async fn serve<F>(listener: TcpListener, app: Router, sockets: Sockets, trouble: F)
where
    F: Fn(Trouble) + Clone + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(sockets.connections_max.get()));
    let mut connections = JoinSet::new();
    loop {
        if places.available_permits() == 0 {
            trouble(Trouble::Full);
        }
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => break stream,
                    Err(error) => {
                        // The process has too many files open, or the client has left already.
                        tracing::debug!(%error, "a connection was not accepted");
                        tokio::task::yield_now().await;
                    }
                },
                Some(_) = connections.join_next() => {},
            }
        };
        if let Err(error) = bounded(&stream, sockets.stall) {
            tracing::debug!(%error, "a socket could not be bounded");
        }
        let (app, trouble) = (app.clone(), trouble.clone());
        connections.spawn(async move {
            connection(stream, app, sockets, trouble).await;
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    app: Router,
    sockets: Sockets,
    trouble: impl Fn(Trouble) + Send,
) {
    let service = TowerToHyperService::new(app);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(sockets.headers)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
        trouble(match &error {
            error if error.is_timeout() => Trouble::Slow,
            error if error.is_parse() => Trouble::Malformed,
            _ => Trouble::Broken,
        });
    }
}

/// Has the kernel cut a connection whose client takes nothing: nothing above sees that, because nothing is polled
/// while a socket is full.
fn bounded(stream: &TcpStream, stall: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(stall))?;
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = stall;
    Ok(())
}
