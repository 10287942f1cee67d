//! `tidewatch follow`: from options to exit code.

use super::{
    Problem,
    args::{Follow, Format},
    data_dir::DataDir,
    logs, metrics,
    upstream::{Target, Upstreams, probe},
};
use crate::{
    Outcome,
    output::{CONSUMER, Events, Human, Lines, Printer, Reached},
};
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio::Context};
use std::{path::Path, sync::Arc, time::SystemTime};
use tidewatch::{Config as DriverConfig, Follower};
use tidewatch_core::{EventLog as _, FaultKind, LocalView, Monitor, Source as _, Tier};
use tidewatch_devnet::Devnet;
use tidewatch_sources::alto::{self, AltoBlock, CertificateMode, StandardScheme, VrfScheme};
use tidewatch_store::{Config as StoreConfig, Store};
use tidewatch_stream::delivery;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where data is kept when nobody says where.
const DATA_DIR: &str = "tidewatch-data";

/// How long actors may take to end: with the devnet after them, it stays below two seconds.
const STOP_LIMIT: std::time::Duration = std::time::Duration::from_millis(1_000);

/// Runs until it is told to stop, or until what was asked for is reached.
pub(super) fn run(options: Follow) -> Outcome<()> {
    logs::start();
    let target = Target::parse(&options)?;
    let data = match (&options.data_dir, &target) {
        (Some(path), _) => DataDir::open(path)?,
        (None, Target::Devnet { .. }) => DataDir::temporary()?,
        (None, Target::Alto(_)) => DataDir::open(Path::new(DATA_DIR))?,
    };
    let printer = Printer::start(std::io::stdout())
        .map_err(|error| Problem::failure(format!("cannot start printing: {error}")))?;
    // One thread for the network, one for whatever waits for the disk.
    let runtime = commonware_runtime::tokio::Config::new()
        .with_worker_threads(2)
        .with_catch_panics(true)
        .with_tcp_nodelay(Some(true))
        .with_storage_directory(data.storage());
    commonware_runtime::tokio::Runner::new(runtime).start(|context| async move {
        let mut stop = Stop::new()?;
        Command { context, options, printer, data }.run(target, &mut stop).await
    })
}

/// The signals that ask a process to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Outcome<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Problem::failure(format!("cannot listen to signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        select! {
            _ = self.interrupt.recv() => {},
            _ = self.terminate.recv() => {},
        }
    }
}

struct Command {
    context: Context,
    options: Follow,
    printer: Printer,
    /// Held until the end: it is the lock.
    data: DataDir,
}

/// Who is shown what.
struct Audience<M> {
    monitor: Arc<M>,
    reached: Reached,
    /// Events are printed, and `--until` waits for them.
    json: bool,
    human: Option<Human>,
}

impl Command {
    async fn run(self, target: Target, stop: &mut Stop) -> Outcome<()> {
        if let Some(address) = self.options.metrics {
            let address = metrics::serve(&self.context, address).await?;
            self.say(&format!("metrics at http://{address}/metrics")).await;
        }
        let mode = match target {
            Target::Alto(upstreams) => return self.follow(upstreams, None, stop).await,
            Target::Devnet { mode } => mode,
        };
        self.say("starting the devnet: four validators and an indexer").await;
        let config = tidewatch_devnet::Config {
            directory: Some(self.data.storage().join("devnet")),
            mode,
            ..tidewatch_devnet::Config::default()
        };
        let started = select! {
            () = stop.asked() => return Ok(()),
            started = Devnet::start(self.context.child("devnet"), config) => started,
        };
        let devnet = started
            .map_err(|error| Problem::failure(format!("the devnet did not start: {error}")))?;
        let result = match Upstreams::devnet(&devnet) {
            Ok(upstreams) => self.follow(upstreams, Some(&devnet), stop).await,
            Err(problem) => Err(problem),
        };
        devnet.stop().await;
        result
    }

    /// One line for people.
    async fn say(&self, line: &str) {
        if self.options.format.unwrap_or_default() == Format::Human {
            let _ = self.printer.print(format!("{line}\n")).await; // Nobody reads: no matter.
        }
    }

    async fn follow(
        &self,
        upstreams: Upstreams,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
    ) -> Outcome<()> {
        let json = self.options.format.unwrap_or_default() == Format::Json;
        let reached = Reached::new(self.options.until, json);
        if json {
            let monitor = Arc::new(Lines::new(self.printer.clone(), reached.clone()));
            let audience = Audience { monitor, reached, json, human: None };
            return self.certified(upstreams, devnet, stop, audience).await;
        }
        let human = Human::new(self.printer.clone(), reached.clone(), self.options.until);
        logs::beside(human.bar());
        let monitor = Arc::new(human.clone());
        let audience = Audience { monitor, reached, json, human: Some(human) };
        self.certified(upstreams, devnet, stop, audience).await
    }

    async fn certified<M: Monitor>(
        &self,
        upstreams: Upstreams,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
        audience: Audience<M>,
    ) -> Outcome<()> {
        match upstreams.mode() {
            CertificateMode::Standard => {
                self.alto::<StandardScheme, M>(&upstreams, devnet, stop, audience).await
            }
            CertificateMode::Vrf => {
                self.alto::<VrfScheme, M>(&upstreams, devnet, stop, audience).await
            }
        }
    }

    /// Opens the source and the store, and follows until there is a reason to end.
    async fn alto<S: alto::Scheme, M: Monitor>(
        &self,
        upstreams: &Upstreams,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
        audience: Audience<M>,
    ) -> Outcome<()> {
        let config = alto::Config::default();
        let codec = AltoBlock::codec(config.block_size_max);
        let (source, upstream) = alto::open::<_, S>(
            self.context.child("source"),
            upstreams.endpoints(),
            upstreams.identity(),
            audience.monitor.clone(),
            config,
        )?;
        select! {
            () = stop.asked() => return Ok(()),
            there = probe(&self.context, source.transport().endpoints()) => there?,
        }
        self.say(&format!("following {upstreams}")).await;
        let source = Arc::new(source);
        let identity = source.identity().await?;
        let store = Store::<_, AltoBlock>::open(
            self.context.child("store"),
            StoreConfig::new(identity.clone(), codec),
        )
        .await
        .map_err(|fault| match fault.kind {
            FaultKind::WrongChain => Problem::from(fault)
                .hint("name another directory with --data-dir, or check --identity"),
            _ => Problem::from(fault),
        })?;
        if let Some(cursor) = store.acknowledged(CONSUMER).await? {
            audience.reached.printed(cursor.block(Tier::Finalized));
        }
        let began = Began::now(&self.context, &store).await?;
        let mut follower = Follower::start(
            self.context.child("follower"),
            source.clone(),
            store.clone(),
            identity,
            audience.monitor.clone(),
            DriverConfig { mode: self.options.mode(), ..DriverConfig::default() },
        );
        follower.supervise("upstream", upstream.start());
        if audience.json {
            let events = Events::new(self.printer.clone(), audience.reached.clone());
            follower.attach(events, audience.monitor.clone(), delivery::Config::default());
        }
        let end = select! {
            () = stop.asked() => Ok(false),
            () = audience.reached.wait() => Ok(true),
            ended = follower.ended() => Err(problem(ended)),
            error = devnet_ended(devnet) => Err(error),
        };
        let stopped = follower.stop(STOP_LIMIT).await;
        if let Some(human) = audience.human {
            let line = human.finish();
            let checks = source.work().checks_total();
            let summary = began.summary(&self.context, &store, checks).await?;
            self.say(&format!("{line}\n{summary}")).await;
        }
        if self.printer.left_out() > 0 {
            tracing::warn!(lines = self.printer.left_out(), "nobody read standard output in time");
        }
        end?;
        stopped.map_err(|error| Problem::failure(error.to_string()))
    }
}

/// Resolves if the devnet ends although nobody stopped it.
async fn devnet_ended(devnet: Option<&Devnet>) -> Problem {
    match devnet {
        Some(devnet) => Problem::failure(format!("the devnet ended: {}", devnet.ended().await)),
        None => std::future::pending().await,
    }
}

/// Why a follower that nobody stopped has ended.
fn problem(ended: tidewatch::Ended) -> Problem {
    match ended.result {
        Ok(()) => Problem::failure(format!("{} ended by itself", ended.actor)),
        Err(fault) if fault.kind == FaultKind::WrongChain => {
            Problem::from(fault).hint("check the address and the identity")
        }
        Err(fault) => Problem::from(fault),
    }
}

/// Where a run began, for its last words.
struct Began {
    at: SystemTime,
    height: u64,
}

impl Began {
    async fn now(context: &Context, view: &impl LocalView) -> Outcome<Self> {
        Ok(Self { at: context.current(), height: height(view).await? })
    }

    async fn summary(
        &self,
        context: &Context,
        view: &impl LocalView,
        checks: u64,
    ) -> Outcome<String> {
        let blocks = height(view).await?.saturating_sub(self.height);
        let took = context.current().duration_since(self.at).unwrap_or_default().as_secs_f64();
        let rate = blocks as f64 / took.max(0.001);
        Ok(format!(
            "{blocks} blocks in {took:.1} s ({rate:.0} a second), {checks} certificates checked"
        ))
    }
}

async fn height(view: &impl LocalView) -> Outcome<u64> {
    Ok(view.marks().await?.delivered.map_or(0, |block| block.height.get()))
}
