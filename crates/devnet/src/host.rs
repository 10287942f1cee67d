//! A loopback HTTP server that can die.
//!
//! # Overview
//!
//! Each server runs on a thread and a runtime of its own, and closing it drops that runtime: every
//! connection is cut, upgraded WebSockets included, and every task and everything it holds is gone.
//! To a client this looks like the server's process being killed, which is what tests of a follower
//! want. A task inside a shared runtime could not do that: connection tasks outlive their listener.
//!
//! # Limits
//!
//! One thread serves all connections. Between [`Host::close`] and [`Host::open`] the port belongs to
//! nobody, and another process may take it: then `open` answers [`Error::Bind`].

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

    /// Where it serves, also while closed.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves.
    pub(crate) const fn is_open(&self) -> bool {
        self.running.is_some()
    }

    /// Serves `router` again, on the same port. Does nothing if it is open.
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
                            tracing::warn!(?result, %address, "indexer ended by itself");
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

    /// Cuts every connection and frees the port. Does nothing if it is closed.
    ///
    /// # Cancel safety
    ///
    /// The server ends in any case; what may be lost is the waiting for it.
    pub(crate) async fn close(&mut self) {
        let Some(Running { stop, done, thread }) = self.running.take() else { return };
        drop(stop);
        let _ = done.await;
        // The thread has nothing left to do but return.
        let _ = thread.join();
    }
}
