//! A network that runs.

use super::{
    config::{Config, Limits},
    disk,
    metrics::Metrics,
    orderer::{Orderer, Status},
    routes::{Shared, router},
    server::{self, Sockets, Trouble},
};
use crate::{CertificateMode, Committee, Devnet, Error, Rounds};
use commonware_runtime::{Handle, Spawner as _, Supervisor as _, tokio::Context};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidewatch_sequencer::timelock::Keys;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
};

/// Proposals that wait for the orderer; others wait for a place.
const SUBMITTED: usize = 16;

/// A running network. Dropping it stops it without waiting for the shutdown.
///
/// # Restart safety
///
/// A start on the same storage with the same settings goes on: what was acknowledged is there.
pub struct Network {
    devnet: Devnet,
    holders: Holders,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("url", &self.url()).field("devnet", &self.devnet).finish()
    }
}

impl Network {
    /// Starts the validators, the key holders and their interface. Orders are attested once the validators certify
    /// rounds: within a few block times.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if the mode is not VRF; [`Error::Ordering`] if the storage cannot be used;
    /// [`Error::Bind`] if the port cannot be; and those of [`Devnet::start`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything it started is stopped.
    pub fn start(context: Context, config: Config) -> BoxFuture<'static, Result<Self, Error>> {
        let start = async move {
            let mode = config.devnet.mode;
            if mode != CertificateMode::Vrf {
                return Err(Error::Setting {
                    setting: "mode",
                    value: mode.as_str().into(),
                    expected: format!("{}, whose rounds have seeds", CertificateMode::Vrf.as_str()),
                });
            }
            let devnet = Devnet::start(context.child("devnet"), config.devnet.clone()).await?;
            let (committee, rounds) = (devnet.committee().clone(), devnet.rounds());
            let holders = Holders::start(&context, committee, rounds, &config).await?;
            Ok(Self { devnet, holders })
        };
        start.boxed()
    }

    /// URL of the interface: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.holders.url()
    }

    /// What a sequencer is configured with, to verify what the network says.
    pub const fn keys(&self) -> &Keys {
        &self.holders.keys
    }

    /// The validators.
    pub const fn devnet(&self) -> &Devnet {
        &self.devnet
    }

    /// Has the key holder at `index` do nothing, or take part again. Without a quorum of them nothing is ordered.
    pub fn silence(&self, index: usize, silent: bool) {
        self.holders.silence(index, silent);
    }

    /// Resolves with the reason when it ends although it was not stopped: the validators did, or its disk failed.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn ended(&self) -> Error {
        tokio::select! {
            reason = self.devnet.ended() => reason,
            () = self.holders.ended() => {
                Error::Ordering { reason: "the key holders ended, as their disk failed".into() }
            }
        }
    }

    /// Stops it: connections are cut, ports are freed.
    pub async fn stop(self) {
        let Self { devnet, holders } = self;
        holders.stop().await;
        devnet.stop().await;
    }
}

/// The key holders and their interface, over rounds that are certified elsewhere.
pub(super) struct Holders {
    pub(super) keys: Keys,
    address: SocketAddr,
    silent: Arc<[AtomicBool]>,
    /// Closed once the orderer ended.
    status: watch::Receiver<Status>,
    tasks: Tasks,
}

/// The orderer and its interface. Dropped, they end.
struct Tasks([Handle<()>; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(Handle::abort);
    }
}

impl Holders {
    pub(super) async fn start(
        context: &Context,
        committee: Arc<Committee>,
        rounds: Rounds,
        config: &Config,
    ) -> Result<Self, Error> {
        let limits = config.limits;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let bind = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let context = context.child("ordering");
        let opened = disk::open(&context, &config.partition).await?;
        let keys = committee.keys();
        let silent: Arc<[_]> = committee.members().iter().map(|_| AtomicBool::new(false)).collect();
        let metrics = Arc::new(Metrics::new(&context));
        let counted = metrics.clone();
        let preblocks = opened.preblocks.clone();
        let (submit, submitted) = mpsc::channel(SUBMITTED);
        let orderer = Orderer::new(
            context.child("orderer"),
            keys.clone(),
            committee,
            silent.clone(),
            rounds.clone(),
            opened,
            metrics.clone(),
        );
        let status = orderer.status();
        let app = router(Shared {
            submit,
            status: status.clone(),
            preblocks,
            rounds,
            silent: silent.clone(),
            quorum: keys.quorum(),
            limits,
            requests: Arc::new(Semaphore::new(limits.requests_max.get())),
            streams: Arc::new(Semaphore::new(limits.streams_max.get())),
            metrics,
        });
        let ordering = context.child("run").spawn(move |_| async move {
            if let Err(error) = orderer.run(submitted).await {
                tracing::error!(%error, "the ordering network ended");
            }
        });
        let Limits { connections_max, request: headers, stall, .. } = limits;
        let sockets = Sockets { connections_max, headers, stall };
        let serving = context.child("interface").spawn(move |_| {
            let trouble = move |trouble: Trouble| counted.connection(trouble.as_str());
            server::serve(listener, app, sockets, trouble)
        });
        Ok(Self { keys, address, silent, status, tasks: Tasks([ordering, serving]) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn silence(&self, index: usize, silent: bool) {
        if let Some(holder) = self.silent.get(index) {
            holder.store(silent, Ordering::Release);
        }
    }

    /// Resolves once nothing is ordered any more.
    async fn ended(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// Ends both tasks, and waits for that.
    pub(super) async fn stop(mut self) {
        for task in &mut self.tasks.0 {
            task.abort();
            let _ = task.await;
        }
    }
}
