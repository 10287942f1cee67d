//! A loopback HTTP server that can be killed and restarted.
//!
//! # Overview
//!
//! Each server runs on its own thread and runtime, and closing it drops that runtime: every connection
//! is cut, including upgraded WebSockets, and every task is dropped with its resources. To a client,
//! that looks as if the server's process were killed. A task in a shared runtime could not do that,
//! because connection tasks outlive their listener.
//!
//! # Limits
//!
//! One thread serves all connections. Between [`Host::close`] and [`Host::open`] the port is free, and
//! another process may take it: `open` then fails with [`Error::Bind`].

use crate::Error;
use axum::Router;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread::{Builder, JoinHandle},
};
use tokio::sync::oneshot;

const THREAD: &str = "devnet-indexer";

/// A server on a loopback port.
#[derive(Debug)]
pub(crate) struct Host {
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// Dropping it ends the server.
    stop: oneshot::Sender<()>,
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Host {
    /// Serves `router` on a loopback port; port 0 lets the system choose.
    pub(crate) fn start(port: u16, router: Router) -> Result<Self, Error> {
        let mut host =
            Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), running: None };
        host.open(router)?;
        Ok(host)
    }

    /// Address of the server; it stays the same while the server is closed.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the server is running.
    pub(crate) const fn is_open(&self) -> bool {
        self.running.is_some()
    }

    /// Serves `router` again on the same port. Does nothing if the server is running.
    pub(crate) fn open(&mut self, router: Router) -> Result<(), Error> {
        if self.running.is_some() {
            return Ok(());
        }
        let bind = |source| Error::Bind { address: self.address, source };
        let thread = |source| Error::Thread { name: THREAD, source };
        let listener = TcpListener::bind(self.address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;

        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(bind)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (finished, done) = oneshot::channel();
        let thread = Builder::new()
            .name(THREAD.into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        result = axum::serve(listener, router) => {
                            tracing::warn!(?result, %address, "indexer ended unexpectedly");
                        }
                    }
                });
                drop(runtime);
                let _ = finished.send(());
            })
            .map_err(thread)?;
        self.address = address;
        self.running = Some(Running { stop, done, thread });
        Ok(())
    }

    /// Cuts every connection and frees the port. Does nothing if the server is closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server still shuts down, but nothing waits for it.
    pub(crate) async fn close(&mut self) {
        let Some(Running { stop, done, thread }) = self.running.take() else { return };
        drop(stop);
        let _ = done.await;
        // `done` is sent last, so joining the thread does not block.
        let _ = thread.join();
    }
}
