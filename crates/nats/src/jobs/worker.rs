//! A worker: takes jobs from the queue, for any prover.

use super::{cluster::Queued, lane::Lane, metrics::Metrics, values::JobNames};
use crate::{
    client::{Options, connect},
    patience::{FIRST, OPEN, RETRY, RETRY_MAX, in_time},
};
use commonware_macros::select;
use commonware_runtime::{
    Clock, ContextCell, Handle as Task, Metrics as Register, Spawner, Supervisor, spawn_cell,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use rand::{Rng, RngExt as _};
use std::{fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::{Actor, Backoff, Digest, Fault, Monitor, Stopper, Stopping};
use tidewatch_prover::Prover;
use tracing::info;

/// What a worker works with.
#[derive(Clone)]
pub struct Config {
    /// The servers.
    pub options: Options,
    /// What is proven.
    pub program: Digest,
    /// Who proves it.
    pub prover: Arc<dyn Prover>,
    /// Jobs that are taken at once: as many as the prover has slots.
    pub slots: NonZeroUsize,
    /// How many copies of the queue there are to be; as many as there are where nothing is said.
    pub replicas: Option<u32>,
    /// Largest inputs, in bytes.
    pub inputs_max: u64,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Config {
    /// Connects, makes the queue where it is not there, and checks it.
    async fn open(&self, clock: &impl Clock) -> Result<Opened, Fault> {
        in_time(clock, OPEN, FIRST, async {
            let client = connect(&self.options).await?;
            let names = JobNames::of(self.program);
            let queued = Queued::make(client.clone(), names, self.replicas).await?;
            Ok(Opened { client, queued })
        })
        .await
    }
}

/// A connection, and the queue that was found over it.
struct Opened {
    client: async_nats::Client,
    queued: Queued,
}

/// Takes jobs from the queue, has them proven, and stores what came of it: see the [module](super).
pub struct Worker<E: Spawner + Clock> {
    context: ContextCell<E>,
    pub(super) config: Config,
    monitor: Arc<dyn Monitor>,
    pub(super) name: String,
    pub(super) metrics: Metrics,
    stopper: Stopper,
    stop: Stopping,
}

impl<E: Spawner + Clock> fmt::Debug for Worker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<E> Worker<E>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
{
    /// A worker that tells `monitor` of what fails.
    pub fn new(mut context: E, config: Config, monitor: Arc<dyn Monitor>) -> Self {
        let (stopper, stop) = Stopper::new();
        let name = format!("{:016x}", context.random::<u64>());
        let metrics = Metrics::new(&context);
        Self { context: ContextCell::new(context), config, monitor, name, metrics, stopper, stop }
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, signal) = self.stop.clone().with_runtime(&*self.context);
        let mut backoff = Backoff::new(RETRY, RETRY_MAX);
        let opened = loop {
            let opened = select! {
                () = stop.stopped() => return Ok(()),
                opened = self.config.open(&*self.context) => opened,
            };
            match opened {
                Ok(opened) => break opened,
                Err(fault) if fault.severity().is_fatal() => return Err(fault),
                Err(fault) => self.failed(&fault),
            }
            let pause = backoff.fail(&mut *self.context);
            select! {
                () = stop.stopped() => return Ok(()),
                () = self.context.sleep(pause) => {},
            }
        };
        self.metrics.connected();
        info!(servers = self.config.options.shown(), worker = self.name, "takes jobs");
        let slots = self.config.slots.get();
        let contexts: Vec<_> = (0..slots).map(|_| self.context.child("lane")).collect();
        let (this, opened) = (&self, &opened);
        let lanes = contexts.into_iter().map(|context| Lane {
            worker: this,
            context,
            client: &opened.client,
            queued: opened.queued.clone(),
            stop: stop.clone(),
        });
        let mut lanes: FuturesUnordered<_> = lanes.map(Lane::run).collect();
        while let Some(ended) = lanes.next().await {
            ended?;
        }
        drop(signal);
        Ok(())
    }

    pub(super) fn failed(&self, fault: &Fault) {
        self.metrics.unanswered();
        self.monitor.fault(fault);
    }
}

impl<E> Actor for Worker<E>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
{
    fn name(&self) -> String {
        "nats jobs".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(mut self) -> Task<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }
}
