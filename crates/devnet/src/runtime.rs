//! The thread and the runtime of the validators.
//!
//! Validators are not tasks of the embedder's runtime, for three reasons:
//!
//! - An engine panics when its disk fails: with its own runtime, that ends the devnet and not the
//!   follower.
//! - A stop must be complete: the runtime returns once every task is dropped, and locks its directory
//!   until the last write has completed, so that the next start finds a consistent directory.
//! - Signature verification must not block the threads of the follower.

use crate::Error;
use commonware_runtime::{
    Clock as _, Handle, Network as _, Runner as _, Spawner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use futures::{
    future::select_all,
    stream::{FuturesUnordered, StreamExt as _},
};
use rand::{Rng, RngExt as _};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread::{Builder, JoinHandle},
    time::Duration,
};
use tempfile::TempDir;
use tidewatch_core::Height;
use tokio::sync::{oneshot, watch};

const THREAD: &str = "devnet-validators";
const WORKER_THREADS: usize = 2;
/// Maximum number of concurrent storage operations; each is short.
const BLOCKING_THREADS: usize = 32;
/// Interval between probes whether the validators listen.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// Maximum duration of an orderly shutdown; after it, the remaining tasks are dropped.
const ORDERLY_STOP: Duration = Duration::from_millis(250);
/// Maximum number of attempts to start, because another process may take a reserved port.
const START_ATTEMPTS: u32 = 3;
/// Deadline of a start, until all validators listen. A start first flushes the file system, and waits
/// for the directory while another devnet still holds it.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Maximum wait for outstanding writes at a stop. The next start on the directory waits for the rest.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

const STARTING: &str = "starting the validators (is their directory in use?)";

/// Lifecycle of the validators.
#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Running,
    /// The validators ended and released all resources. The reason is `None` if they were stopped.
    Ended(Option<String>),
}

/// Handle of the running validators. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Validators {
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

/// Ports of validators: below those that Linux and others give to outgoing connections. One of these would take the
/// port of a validator that is stopped for a while.
const PORTS: Range<u16> = 10_000..32_000;

/// Ports that are tried before any will do.
const PORTS_TRIED: usize = 1_000;

/// Finds free loopback ports. The p2p network binds its own listeners, so the ports are released before
/// use: if another process takes one in between, the start fails and is retried with other ports.
fn reserve(rng: &mut impl Rng, count: usize) -> Result<Vec<SocketAddr>, Error> {
    let mut listeners = Vec::with_capacity(count);
    let mut taken = 0;
    while listeners.len() < count {
        let port = if taken < PORTS_TRIED { rng.random_range(PORTS) } else { 0 };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(source) if port == 0 => return Err(Error::Bind { address, source }),
            Err(_) => taken += 1,
        }
    }
    let bound = |listener: &TcpListener| {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.local_addr().map_err(|source| Error::Bind { address: any, source })
    };
    listeners.iter().map(bound).collect()
}

/// Starts `count` validators by `attempt`, which is given an address for each, and returns once all of them listen.
/// Tries again with other ports if they end before that.
pub(crate) async fn start(
    context: &Context,
    count: usize,
    attempt: impl Fn(Vec<SocketAddr>) -> Result<Validators, Error>,
) -> Result<Validators, Error> {
    let (mut rng, mut number) = (context.child("ports"), 1);
    loop {
        let mut validators = attempt(reserve(&mut rng, count)?)?;
        match within(context, START_DEADLINE, STARTING, validators.running()).await {
            Ok(()) => return Ok(validators),
            Err(error @ Error::Ended { .. }) if number < START_ATTEMPTS => {
                tracing::warn!(%error, number, "devnet did not start, retrying");
                validators.stop().await;
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Starts one validator for each address on their own thread, and returns immediately. `run` runs the
/// validator of an index until one of its parts ends, and returns which one and why.
pub(crate) fn launch<R, F>(
    directory: Option<PathBuf>,
    addresses: Vec<SocketAddr>,
    run: R,
) -> Result<Validators, Error>
where
    R: Fn(Context, usize) -> F + Clone + Send + 'static,
    F: Future<Output = String> + Send + 'static,
{
    let directory = Directory::open(directory)?;
    let (stop, stopped) = oneshot::channel();
    let (phase, watched) = watch::channel(Phase::Starting);

    let runtime = RuntimeConfig::default()
        .with_worker_threads(WORKER_THREADS)
        .with_max_blocking_threads(BLOCKING_THREADS)
        .with_storage_directory(directory.path.clone())
        .with_catch_panics(true);
    let listeners = addresses.clone();
    let thread = Builder::new()
        .name(THREAD.into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| {
                let phase = &phase;
                Runner::new(runtime)
                    .start(|context| supervise(context, listeners, run, stopped, phase))
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
async fn supervise<R, F>(
    context: Context,
    addresses: Vec<SocketAddr>,
    run: R,
    stopped: oneshot::Receiver<()>,
    phase: &watch::Sender<Phase>,
) -> Option<String>
where
    R: Fn(Context, usize) -> F + Clone + Send + 'static,
    F: Future<Output = String> + Send + 'static,
{
    let mut validators: FuturesUnordered<_> = (0..addresses.len())
        .map(|index| {
            let run = run.clone();
            context
                .child("validator")
                .with_attribute("index", index)
                .spawn(move |context| run(context, index))
        })
        .collect();
    let listening = async {
        for address in &addresses {
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

/// Waits for the first part of a validator that ends, and returns which one and why.
pub(crate) async fn first_ended(
    index: usize,
    parts: impl IntoIterator<Item = (&'static str, Handle<()>)>,
) -> String {
    let parts =
        parts.into_iter().map(|(part, handle)| Box::pin(async move { (part, handle.await) }));
    let ((part, result), _, _) = select_all(parts).await;
    match result {
        Ok(()) => format!("the {part} of validator {index} returned"),
        Err(error) => format!("the {part} of validator {index} ended: {error}"),
    }
}

/// Does `work` before the deadline.
pub(crate) async fn within<T>(
    context: &Context,
    deadline: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        result = work => result,
        () = context.sleep(deadline) => Err(Error::Timeout { what, after: deadline }),
    }
}

impl Validators {
    #[cfg(test)]
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Resolves once all validators listen.
    async fn running(&self) -> Result<(), Error> {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| !matches!(phase, Phase::Starting)).await.as_deref() {
            Ok(Phase::Running | Phase::Starting) => Ok(()),
            Ok(Phase::Ended(reason)) => Err(ended(reason.clone())),
            Err(_) => Err(ended(None)),
        }
    }

    /// Resolves with the reason once the validators have ended.
    pub(crate) async fn ended(&self) -> Error {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await.as_deref() {
            Ok(Phase::Ended(reason)) => ended(reason.clone()),
            Ok(_) | Err(_) => ended(None),
        }
    }

    /// Waits until `tip` is at or above `height`.
    pub(crate) async fn reach(
        &self,
        context: &Context,
        mut tip: watch::Receiver<Height>,
        height: Height,
        deadline: Duration,
    ) -> Result<(), Error> {
        let reached = async {
            let below = tokio::select! {
                reached = tip.wait_for(|tip| *tip >= height) => reached.is_err(),
                _ = self.ended() => true,
            };
            if below { Err(self.ended().await) } else { Ok(()) }
        };
        within(context, deadline, "reaching a height", reached).await
    }

    /// Stops the validators, and waits a second for outstanding writes.
    pub(crate) async fn stop_within(&mut self, context: &Context) {
        tokio::select! {
            () = self.stop() => {}
            () = context.sleep(STOP_DEADLINE) => {
                tracing::debug!("devnet is still writing to its directory");
            }
        }
    }

    /// Stops the validators and waits until all their resources are released.
    async fn stop(&mut self) {
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
