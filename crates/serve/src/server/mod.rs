//! The actor that listens.
//!
//! One task follows the log: it encodes each new event once, and wakes whoever is at the tip. Each connection is
//! a task of its own, and each stream the body of one answer. A stop ends every body with a `goodbye`, lets
//! connections finish for [`Config::stop`](crate::Config::stop), and cuts the others.

pub(crate) mod connection;
pub(crate) mod guard;

use crate::{
    Config, Observer,
    gate::Gate,
    liveness::{Liveness, TICKS},
    metrics::Metrics,
    routes,
    served::Served,
    shared::Shared,
    tail::Tail,
};
use commonware_macros::select;
use commonware_runtime::{Clock, Handle, Metrics as Register, Spawner};
use commonware_utils::NZUsize;
use futures::FutureExt as _;
use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::{Actor, Fault, FaultKind, Heads, Ladder, LogError, Status, Stopper, Stopping};
use tokio::{net::TcpListener, sync::Semaphore};

/// Connections beside those that hold a stream.
const REQUESTS_MAX: usize = 256;

/// Events that are encoded at once.
const BATCH: NonZeroUsize = NZUsize!(256);

/// Wait after a connection could not be accepted, for want of descriptors.
const REFUSED: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Debug)]
pub struct Parts<L> {
    /// The history, with its blocks and proofs.
    pub served: L,
    /// Where the driver stands.
    pub heads: Heads,
    /// The order of the chain's tiers.
    pub ladder: Ladder,
    /// What the driver and the source report to.
    pub observer: Observer,
    /// What is followed, without credentials.
    pub source: String,
}

/// Why an address cannot be served at.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened at.
    #[error("cannot serve at {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Other machines would reach it without a token.
    #[error(
        "other machines reach {0}, and nothing was said of who may: name a token, or serve it openly"
    )]
    Open(SocketAddr),
}

/// A port that waits for its server.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
}

impl Listening {
    /// Listens at `address`. Who connects waits for the server.
    ///
    /// # Errors
    ///
    /// See [`ListenError`].
    pub async fn bind(address: SocketAddr, config: Config) -> Result<Self, ListenError> {
        if !address.ip().to_canonical().is_loopback() && config.token.is_none() && !config.open {
            return Err(ListenError::Open(address));
        }
        let refused = |error| ListenError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, config })
    }

    /// Where it listens; the port may have been chosen by the system.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A server: see the [crate](crate).
pub struct Server<E, L> {
    context: E,
    listener: TcpListener,
    shared: Arc<Shared<L>>,
    stopper: Stopper,
    stopping: Stopping,
}

impl<E, L> std::fmt::Debug for Server<E, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl<E: Spawner + Clock + Register, L: Served> Server<E, L> {
    /// A server at a port that listens.
    ///
    /// # Errors
    ///
    /// The history cannot be read.
    pub async fn new(context: E, listening: Listening, parts: Parts<L>) -> Result<Self, Fault> {
        let Listening { listener, address, config } = listening;
        let Parts { served, heads, ladder, observer, source } = parts;
        let (newest, _) = served.newest().await?;
        let shared = Arc::new(Shared {
            chain_info: served.chain_info(),
            served,
            ladder,
            observer,
            tail: Tail::new(newest.handled(), heads.current().status, context.current()),
            heads,
            liveness: Liveness::default(),
            gate: Gate::new(&config),
            room: Arc::new(Semaphore::new(connections(&config))),
            metrics: Metrics::new(&context),
            config,
            address,
            source,
        });
        let (stopper, stopping) = Stopper::new();
        Ok(Self { context, listener, shared, stopper, stopping })
    }

    async fn run(self, context: E) -> Result<(), Fault> {
        let Self { listener, shared, stopping, .. } = self;
        // Kept to the end: who stops the runtime waits for it.
        let (stopping, _held) = stopping.with_runtime(&context);
        let mut pulse = {
            let (shared, stopping) = (shared.clone(), stopping.clone());
            context.child("pulse").spawn(move |context| pulse(context, shared, stopping))
        };
        let tick = shared.config.live / TICKS;
        let mut due = context.sleep(tick).boxed();
        let room = shared.room.clone();
        let app = routes::router(Arc::new(context.child("request")), shared.clone());
        let ended = loop {
            select! {
                () = stopping.stopped() => break Ok(()),
                ended = &mut pulse => break ended.unwrap_or_else(|error| {
                    Err(FaultKind::Bug.fault("serve", format!("its task ended: {error}")))
                }),
                () = &mut due => {
                    shared.liveness.tick([shared.observer.progress(), shared.tail.progress()]);
                    // The process may serve its metrics elsewhere too.
                    routes::health::show(&shared, context.current());
                    due = context.sleep(tick).boxed();
                },
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
                        let (app, shared) = (app.clone(), shared.clone());
                        context.child("connection").spawn(move |_| async move {
                            connection::serve(stream, peer, app, &shared).await;
                            drop(permit);
                        });
                    },
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        context.sleep(REFUSED).await;
                    },
                },
            }
        };
        drop(listener);
        shared.tail.drain();
        let all = u32::try_from(connections(&shared.config)).unwrap_or(u32::MAX);
        select! {
            _ = room.acquire_many(all) => {},
            () = context.sleep(shared.config.stop) => {
                tracing::debug!("connections are cut: their clients did not take what was sent");
            },
        }
        ended
    }
}

impl<E: Spawner + Clock + Register, L: Served> Actor for Server<E, L> {
    fn name(&self) -> String {
        "serve".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        self.context.child("server").spawn(move |context| self.run(context))
    }
}

/// Connections at once.
fn connections(config: &Config) -> usize {
    config.streams_max.get().saturating_add(REQUESTS_MAX)
}

/// Encodes events as they come, and wakes those who are at the tip; also when the follower's state changes.
async fn pulse<L: Served>(
    context: impl Clock,
    shared: Arc<Shared<L>>,
    stopping: Stopping,
) -> Result<(), Fault> {
    let Shared { served, tail, .. } = &*shared;
    let mut heads = shared.heads.clone();
    tail.turn(heads.current().status);
    let (mut next, mut over) = (tail.beat().end, false);
    loop {
        tail.progressed();
        select! {
            () = stopping.stopped() => return Ok(()),
            () = context.sleep(shared.config.live / TICKS) => {},
            waited = served.wait(next) => {
                match waited {
                    Ok(()) => {},
                    Err(LogError::Fault(fault)) => return Err(fault),
                    Err(LogError::TooOld { oldest, .. }) => next = oldest,
                }
                match served.read(next, BATCH).await {
                    Ok(records) => {
                        next += records.len() as u64;
                        tail.push(records, context.current());
                    },
                    Err(LogError::TooOld { oldest, .. }) => next = oldest,
                    Err(LogError::Fault(fault)) => return Err(fault),
                }
            },
            changed = changed(&mut heads, over) => {
                over |= changed.is_none();
                tail.turn(changed.unwrap_or_else(|| shared.heads.current().status));
            },
        }
    }
}

/// The follower's next status; `None` after the last one.
async fn changed(heads: &mut Heads, over: bool) -> Option<Status> {
    if over {
        std::future::pending::<()>().await;
    }
    heads.changed().await.ok().map(|head| head.status)
}
