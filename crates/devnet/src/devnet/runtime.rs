//! The thread and the runtime that the validators live in.
//!
//! They are not tasks of the embedder's runtime, for three reasons. An alto engine panics when its
//! disk fails: here that ends the devnet, not the follower. Stopping means that everything is gone:
//! the runtime returns once every task is dropped, and holds its directory until the last write to it
//! has landed, so that the next start on the same directory sees a consistent one. And checking
//! signatures keeps the threads of this runtime busy, not those of the follower.

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
/// Storage operations under way at once; each is short.
const BLOCKING_THREADS: usize = 32;
/// Between two looks at whether the validators listen.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// Longest that the parts of the validators may take to end by themselves; then they are dropped.
const ORDERLY_STOP: Duration = Duration::from_millis(250);

/// Where the validators stand.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Starting,
    Running,
    /// Over, and everything is freed. The reason is `None` if they were told to stop.
    Ended(Option<String>),
}

/// What a runtime needs beyond its settings.
pub(super) struct Launch<S: Validate> {
    pub(super) config: Config,
    pub(super) committee: Arc<Committee>,
    pub(super) slot: Arc<Slot<S>>,
    pub(super) paused: Arc<AtomicBool>,
}

/// Running validators. Dropping it tells them to stop.
#[derive(Debug)]
pub(super) struct Validators {
    /// Where they listen to each other.
    #[cfg_attr(not(test), expect(dead_code, reason = "shown by Debug, and looked at by tests"))]
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    phase: watch::Receiver<Phase>,
}

/// The storage directory: the configured one, or one that goes when this goes.
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

/// Finds free loopback ports. The network binds its own listener, so they are given back before use:
/// whoever takes one in between makes the start fail, and it is tried again with others.
fn reserve(count: usize) -> Result<Vec<SocketAddr>, Error> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bind = |source| Error::Bind { address: any, source };
    let listeners =
        (0..count).map(|_| TcpListener::bind(any).map_err(bind)).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| listener.local_addr().map_err(bind)).collect()
}

/// Starts the validators on a thread of their own, and returns at once.
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
            // A temporary directory goes before anybody is told that the validators are gone.
            drop(directory);
            let reason = result.unwrap_or_else(|_| Some("their runtime panicked".into()));
            phase.send_replace(Phase::Ended(reason));
        })
        .map_err(|source| Error::Thread { name: THREAD, source })?;
    Ok(Validators { addresses, stop: Some(stop), thread: Some(thread), phase: watched })
}

/// Runs all validators until told to stop, or until the first one ends: then it says why.
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
            // Dropped one by one, each part would take the end of the others for a failure, and log it.
            if let Err(error) = context.stop(0, Some(ORDERLY_STOP)).await {
                tracing::debug!(%error, "the validators are dropped before they ended");
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

    /// Resolves once the validators are gone, with the reason.
    pub(super) async fn ended(&self) -> Error {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await.as_deref() {
            Ok(Phase::Ended(reason)) => ended(reason.clone()),
            Ok(_) | Err(_) => ended(None),
        }
    }

    /// Tells the validators to stop and waits until everything that they held is freed.
    pub(super) async fn stop(&mut self) {
        drop(self.stop.take());
        let _ = self.ended().await;
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do but return.
            let _ = thread.join();
        }
    }
}

fn ended(reason: Option<String>) -> Error {
    Error::Ended { reason: reason.unwrap_or_else(|| "they were stopped".into()) }
}
