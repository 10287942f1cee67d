//! The thread and the runtime of the validators.
//!
//! Validators are not tasks of the embedder's runtime, for three reasons:
//!
//! - An alto engine panics when its disk fails: with its own runtime, that ends the devnet and not the
//!   follower.
//! - A stop must be complete: the runtime returns once every task is dropped, and locks its directory
//!   until the last write has completed, so that the next start finds a consistent directory.
//! - Signature verification must not block the threads of the follower.

use super::{
    upload::Slot,
    validator::{self, Plan, Validate},
};
use crate::{Committee, Config, Error};
use commonware_runtime::{
    Clock as _, Network as _, Runner as _, Spawner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread::{Builder, JoinHandle},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

const THREAD: &str = "devnet-validators";
const WORKER_THREADS: usize = 2;
/// Maximum number of concurrent storage operations; each is short.
const BLOCKING_THREADS: usize = 32;
/// Interval between probes whether the validators listen.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// Maximum duration of an orderly shutdown; after it, the remaining tasks are dropped.
const ORDERLY_STOP: Duration = Duration::from_millis(250);

/// Lifecycle of the validators.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Starting,
    Running,
    /// The validators ended and released all resources. The reason is `None` if they were stopped.
    Ended(Option<String>),
}

/// Arguments of [`launch`].
pub(super) struct Launch<S: Validate> {
    pub(super) config: Config,
    pub(super) committee: Arc<Committee>,
    pub(super) slot: Arc<Slot<S>>,
    pub(super) paused: Arc<AtomicBool>,
}

/// Handle of the running validators. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Validators {
    /// Addresses of their p2p listeners.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by Debug and by tests"))]
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    phase: watch::Receiver<Phase>,
}

/// The storage directory: the configured one, or a temporary one that is removed on drop.
struct Directory {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Directory {
    fn open(configured: Option<PathBuf>) -> Result<Self, Error> {
        let Some(path) = configured else {
            let temporary = TempDir::with_prefix("tidewatch-devnet-")
                .map_err(|source| Error::Directory { directory: std::env::temp_dir(), source })?;
            return Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) });
        };
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(Self { path, _temporary: None }),
            Err(source) => Err(Error::Directory { directory: path, source }),
        }
    }
}

/// Finds free loopback ports. The p2p network binds its own listeners, so the ports are released before
/// use: if another process takes one in between, the start fails and is retried with other ports.
fn reserve(count: usize) -> Result<Vec<SocketAddr>, Error> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bind = |source| Error::Bind { address: any, source };
    let listeners =
        (0..count).map(|_| TcpListener::bind(any).map_err(bind)).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| listener.local_addr().map_err(bind)).collect()
}

/// Starts the validators on their own thread, and returns immediately.
pub(super) fn launch<S: Validate>(launch: Launch<S>) -> Result<Validators, Error> {
    let Launch { config, committee, slot, paused } = launch;
    let directory = Directory::open(config.directory.clone())?;
    let addresses = reserve(committee.members().len())?;
    let plan = Plan { config, committee, addresses: addresses.clone(), slot, paused };
    let plan = Arc::new(plan);
    let (stop, stopped) = oneshot::channel();
    let (phase, watched) = watch::channel(Phase::Starting);

    let runtime = RuntimeConfig::default()
        .with_worker_threads(WORKER_THREADS)
        .with_max_blocking_threads(BLOCKING_THREADS)
        .with_storage_directory(directory.path.clone())
        .with_catch_panics(true);
    let thread = Builder::new()
        .name(THREAD.into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| {
                let phase = &phase;
                Runner::new(runtime).start(|context| supervise(context, plan, stopped, phase))
            }));
            // A temporary directory must be removed before the end of the validators is observable.
            drop(directory);
            let reason = result.unwrap_or_else(|_| Some("their runtime panicked".into()));
            phase.send_replace(Phase::Ended(reason));
        })
        .map_err(|source| Error::Thread { name: THREAD, source })?;
    Ok(Validators { addresses, stop: Some(stop), thread: Some(thread), phase: watched })
}

/// Runs all validators until they are stopped, or until the first one ends, and returns its reason.
async fn supervise<S: Validate>(
    context: Context,
    plan: Arc<Plan<S>>,
    stopped: oneshot::Receiver<()>,
    phase: &watch::Sender<Phase>,
) -> Option<String> {
    let mut validators: FuturesUnordered<_> = (0..plan.addresses.len())
        .map(|index| {
            let plan = plan.clone();
            context
                .child("validator")
                .with_attribute("index", index)
                .spawn(move |context| validator::run(context, plan, index))
        })
        .collect();
    let listening = async {
        for address in &plan.addresses {
            while context.dial(*address).await.is_err() {
                context.sleep(PROBE_INTERVAL).await;
            }
        }
        phase.send_replace(Phase::Running);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = stopped => {
            // If the parts were dropped one by one, each would log the end of the others as a failure.
            if let Err(error) = context.stop(0, Some(ORDERLY_STOP)).await {
                tracing::debug!(%error, "dropping validators that did not end in time");
            }
            None
        }
        ended = validators.next() => Some(match ended {
            Some(Ok(reason)) => reason,
            Some(Err(error)) => format!("a validator ended: {error}"),
            None => "there are no validators".into(),
        }),
        () = listening => None,
    }
}

impl Validators {
    #[cfg(test)]
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Resolves once all validators listen.
    pub(super) async fn running(&self) -> Result<(), Error> {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| !matches!(phase, Phase::Starting)).await.as_deref() {
            Ok(Phase::Running | Phase::Starting) => Ok(()),
            Ok(Phase::Ended(reason)) => Err(ended(reason.clone())),
            Err(_) => Err(ended(None)),
        }
    }

    /// Resolves with the reason once the validators have ended.
    pub(super) async fn ended(&self) -> Error {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await.as_deref() {
            Ok(Phase::Ended(reason)) => ended(reason.clone()),
            Ok(_) | Err(_) => ended(None),
        }
    }

    /// Stops the validators and waits until all their resources are released.
    pub(super) async fn stop(&mut self) {
        drop(self.stop.take());
        let _ = self.ended().await;
        if let Some(thread) = self.thread.take() {
            // `Ended` is the last thing the thread reports, so joining it does not block.
            let _ = thread.join();
        }
    }
}

fn ended(reason: Option<String>) -> Error {
    Error::Ended { reason: reason.unwrap_or_else(|| "they were stopped".into()) }
}
