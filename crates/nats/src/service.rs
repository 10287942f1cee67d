//! A connection, an elector and a publisher, as one actor.

use crate::{
    Elector, Names, Publisher, PublisherId,
    client::{JetStream, Options, connect},
    elector,
    patience::{FIRST, OPEN, RETRY, RETRY_MAX, in_time},
    publisher,
};
use commonware_macros::select;
use commonware_runtime::{
    Clock, ContextCell, Handle, Metrics as Register, Spawner, Supervisor, spawn_cell,
    telemetry::metrics::{Gauge, MetricsExt as _},
};
use rand::Rng;
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Actor, Backoff, ChainId, Fault, History, Monitor, Running, Stopper, Stopping,
};
use tracing::info;

/// Where to publish what.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers.
    pub options: Options,
    /// The chain.
    pub chain: ChainId,
    /// How many copies stream and bucket are to have; as many as there are where nothing is said.
    pub replicas: Option<u32>,
}

impl Config {
    /// Connects, makes stream and bucket where they are not there, and checks both.
    ///
    /// # Errors
    ///
    /// No server answers, it is too old, or what is there is not as it has to be.
    pub async fn open(&self, clock: &impl Clock) -> Result<JetStream, Fault> {
        in_time(clock, OPEN, FIRST, async {
            let client = connect(&self.options).await?;
            JetStream::open(client, Names::of(&self.chain), self.replicas).await
        })
        .await
    }

    /// Connects to read what is there: nothing is made.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and there is no such stream.
    pub async fn find(&self, clock: &impl Clock) -> Result<JetStream, Fault> {
        in_time(clock, OPEN, FIRST, async {
            let client = connect(&self.options).await?;
            JetStream::there(client, Names::of(&self.chain)).await
        })
        .await
    }
}

/// Publishes a log's events at a cluster, as long as it is there and whenever it comes back.
pub struct Service<E: Spawner + Clock, L> {
    context: ContextCell<E>,
    config: Config,
    opened: Option<JetStream>,
    log: L,
    monitor: Arc<dyn Monitor>,
    connected: Gauge,
    stopper: Stopper,
    stop: Stopping,
}

impl<E: Spawner + Clock, L> fmt::Debug for Service<E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<E, L> Service<E, L>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
    L: History,
{
    /// Publishes `log`, over `opened` where that is there already.
    pub fn new(
        context: E,
        config: Config,
        opened: Option<JetStream>,
        log: L,
        monitor: Arc<dyn Monitor>,
    ) -> Self {
        let (stopper, stop) = Stopper::new();
        let connected = context
            .gauge("connected", "1 once the cluster answered, and was found as it has to be");
        let context = ContextCell::new(context);
        Self { context, config, opened, log, monitor, connected, stopper, stop }
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, signal) = self.stop.clone().with_runtime(&*self.context);
        let mut backoff = Backoff::new(RETRY, RETRY_MAX);
        let cluster = loop {
            if let Some(opened) = self.opened.take() {
                break opened;
            }
            let opened = select! {
                () = stop.stopped() => return Ok(()),
                opened = self.config.open(&*self.context) => opened,
            };
            match opened {
                Ok(opened) => break opened,
                Err(fault) if fault.severity().is_fatal() => return Err(fault),
                Err(fault) => self.monitor.fault(&fault),
            }
            let pause = backoff.fail(&mut *self.context);
            select! {
                () = stop.stopped() => return Ok(()),
                () = self.context.sleep(pause) => {},
            }
        };
        self.connected.set(1);
        let timing = cluster.timing();
        info!(servers = self.config.options.shown(), replicas = cluster.replicas(), "nats");
        let id = PublisherId::draw(&mut *self.context);
        let (publisher, standing) = Publisher::new(
            self.context.child("publisher"),
            cluster.clone(),
            self.log.clone(),
            self.monitor.clone(),
            publisher::Config::new(self.config.chain.clone(), id.clone()),
        );
        let config = elector::Config { publisher: id, timing };
        let (elector, leadership) =
            Elector::new(self.context.child("elector"), cluster, config, standing);
        let mut elector = Running::start(elector);
        let mut publisher = Running::start(publisher.led(leadership));
        let ended = select! {
            () = stop.stopped() => Ok(()),
            ended = &mut publisher => {
                elector.stop();
                let _ = elector.await;
                return ended;
            },
            ended = &mut elector => {
                publisher.stop();
                let _ = publisher.await;
                return ended;
            },
        };
        // What is on the way is abandoned, and the lease given up: the next one need not wait.
        publisher.stop();
        elector.stop();
        let _ = publisher.await;
        let _ = elector.await;
        drop(signal);
        ended
    }
}

impl<E, L> Actor for Service<E, L>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
    L: History,
{
    fn name(&self) -> String {
        "nats".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }
}
