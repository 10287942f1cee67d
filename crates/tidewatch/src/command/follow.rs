//! `tidewatch follow`: from options to exit code.

use super::{
    Problem,
    args::{Follow, Format},
    data_dir::DataDir,
    logs, metrics,
    upstream::{Remote, Target, Upstreams, probe},
};
use crate::{
    Outcome,
    output::{CONSUMER, Events, Human, Lines, Printer, Reached},
};
use commonware_codec::{Codec, Read};
use commonware_macros::select;
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, tokio::Context};
use std::{fmt::Debug, path::Path, sync::Arc, time::SystemTime};
use tidewatch_core::{EventLog as _, Fault, FaultKind, LocalView, Monitor, Severity, Source, Tier};
use tidewatch_devnet::Devnet;
use tidewatch_node::{Config as DriverConfig, Ended, Follower};
use tidewatch_sources::{
    alto::{self, AltoBlock, CertificateMode, StandardScheme, VrfScheme},
    aztec, ethereum, optimism, rpc,
};
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
        (None, _) => DataDir::open(Path::new(DATA_DIR))?,
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

/// A source that is open, and what goes with it.
struct Opened<S: Source<Block: Read>> {
    source: Arc<S>,
    /// Names it for people.
    name: String,
    /// How its blocks decode.
    codec: <S::Block as Read>::Cfg,
    /// The actor that brings its pushes, where there is one.
    upstream: Option<Handle<()>>,
    /// What it did, in words, at the end.
    work: Box<dyn Fn() -> String + Send + Sync>,
    /// What to check if it turns out to be of another chain.
    check: &'static str,
}

impl Command {
    async fn run(self, target: Target, stop: &mut Stop) -> Outcome<()> {
        if let Some(address) = self.options.metrics {
            let address = metrics::serve(&self.context, address).await?;
            self.say(&format!("metrics at http://{address}/metrics")).await;
        }
        let mode = match target {
            Target::Devnet { mode } => mode,
            Target::Remote(remote) => return self.follow(remote, None, stop).await,
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
            Ok(upstreams) => self.follow(Remote::Alto(upstreams), Some(&devnet), stop).await,
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
        remote: Remote,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
    ) -> Outcome<()> {
        let json = self.options.format.unwrap_or_default() == Format::Json;
        let reached = Reached::new(self.options.until, json);
        if json {
            let monitor = Arc::new(Lines::new(self.printer.clone(), reached.clone()));
            let audience = Audience { monitor, reached, json, human: None };
            return self.open(remote, devnet, stop, audience).await;
        }
        let human = Human::new(self.printer.clone(), reached.clone(), self.options.until);
        logs::beside(human.bar());
        let monitor = Arc::new(human.clone());
        let audience = Audience { monitor, reached, json, human: Some(human) };
        self.open(remote, devnet, stop, audience).await
    }

    /// Opens the source of whatever was asked for.
    async fn open<M: Monitor>(
        &self,
        remote: Remote,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
        audience: Audience<M>,
    ) -> Outcome<()> {
        let (context, monitor) = (self.context.child("source"), audience.monitor.clone());
        let config = rpc::Config::default();
        match remote {
            Remote::Alto(upstreams) => match upstreams.mode() {
                CertificateMode::Standard => {
                    self.alto::<StandardScheme, M>(&upstreams, devnet, stop, audience).await
                }
                CertificateMode::Vrf => {
                    self.alto::<VrfScheme, M>(&upstreams, devnet, stop, audience).await
                }
            },
            Remote::Ethereum(endpoints) => {
                let source = Arc::new(ethereum::open(context, &endpoints, monitor, &config)?);
                let work = source.clone();
                let work = move || requests(&[work.work()]);
                self.node(source, work, stop, audience).await
            }
            Remote::Optimism(addresses) => {
                let source = Arc::new(optimism::open(context, &addresses, monitor, &config)?);
                let work = source.clone();
                let work = move || requests(&work.work());
                self.node(source, work, stop, audience).await
            }
            Remote::Aztec(endpoints) => {
                let source = Arc::new(aztec::open(context, &endpoints, monitor, &config)?);
                let work = source.clone();
                let work = move || requests(&[work.work()]);
                self.node(source, work, stop, audience).await
            }
        }
    }

    /// A source that asks a node, and has no certificates.
    async fn node<S, M>(
        &self,
        source: Arc<S>,
        work: impl Fn() -> String + Send + Sync + 'static,
        stop: &mut Stop,
        audience: Audience<M>,
    ) -> Outcome<()>
    where
        S: Source<Block: Codec<Cfg = ()>>,
        M: Monitor,
    {
        let (name, work) = (source.name().to_owned(), Box::new(work));
        let check = "check the address";
        let opened = Opened { source, name, codec: (), upstream: None, work, check };
        self.along(opened, None, stop, audience).await
    }

    /// An alto chain, which is certified.
    async fn alto<C: alto::Scheme, M: Monitor>(
        &self,
        upstreams: &Upstreams,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
        audience: Audience<M>,
    ) -> Outcome<()> {
        let config = alto::Config::default();
        let codec = AltoBlock::codec(config.block_size_max);
        let (source, upstream) = alto::open::<_, C>(
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
        let source = Arc::new(source);
        let work = source.clone();
        let opened = Opened {
            source,
            name: upstreams.to_string(),
            codec,
            upstream: Some(upstream.start()),
            work: Box::new(move || format!("{} certificates checked", work.work().checks_total())),
            check: "check the address and --identity",
        };
        self.along(opened, devnet, stop, audience).await
    }

    /// Opens the store, and follows until there is a reason to end.
    async fn along<S, M>(
        &self,
        opened: Opened<S>,
        devnet: Option<&Devnet>,
        stop: &mut Stop,
        audience: Audience<M>,
    ) -> Outcome<()>
    where
        S: Source<Block: Codec<Cfg: Clone + Debug + Send + Sync>>,
        M: Monitor,
    {
        let Opened { source, name, codec, upstream, work, check } = opened;
        let chain_info = select! {
            () = stop.asked() => return Ok(()),
            chain_info = source.chain_info() => chain_info.map_err(unreachable)?,
        };
        self.say(&format!("following {name}")).await;
        let config = StoreConfig::new(chain_info.clone(), codec);
        let store = Store::<_, S::Block>::open(self.context.child("store"), config);
        let store = store.await.map_err(|fault| match fault.kind {
            FaultKind::WrongChain => Problem::from(fault)
                .hint(format!("name another directory with --data-dir, or {check}")),
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
            chain_info,
            audience.monitor.clone(),
            DriverConfig { mode: self.options.mode(), ..DriverConfig::default() },
        );
        if let Some(upstream) = upstream {
            follower.supervise("upstream", upstream);
        }
        if audience.json {
            let events = Events::new(self.printer.clone(), audience.reached.clone());
            follower.attach(events, audience.monitor.clone(), delivery::Config::default());
        }
        let end = select! {
            () = stop.asked() => Ok(false),
            () = audience.reached.wait() => Ok(true),
            ended = follower.ended() => Err(problem(ended, check)),
            error = devnet_ended(devnet) => Err(error),
        };
        let stopped = follower.stop(STOP_LIMIT).await;
        if let Some(human) = audience.human {
            let line = human.finish();
            let summary = began.summary(&self.context, &store, &work()).await?;
            self.say(&format!("{line}\n{summary}")).await;
        }
        if self.printer.left_out() > 0 {
            tracing::warn!(lines = self.printer.left_out(), "nobody read standard output in time");
        }
        end?;
        stopped.map_err(|error| Problem::failure(error.to_string()))
    }
}

/// What nodes were asked, in words.
fn requests(work: &[rpc::Work]) -> String {
    let requests: u64 = work.iter().map(|work| work.requests).sum();
    format!("{requests} requests")
}

/// Why nobody said which chain it is.
fn unreachable(fault: Fault) -> Problem {
    if fault.severity() == Severity::Config {
        return Problem::from(fault);
    }
    Problem::unreachable(fault, "node")
}

/// Resolves if the devnet ends although nobody stopped it.
async fn devnet_ended(devnet: Option<&Devnet>) -> Problem {
    match devnet {
        Some(devnet) => Problem::failure(format!("the devnet ended: {}", devnet.ended().await)),
        None => std::future::pending().await,
    }
}

/// Why a follower that nobody stopped has ended.
fn problem(ended: Ended, check: &str) -> Problem {
    match ended.result {
        Ok(()) => Problem::failure(format!("{} ended by itself", ended.actor)),
        Err(fault) if fault.kind == FaultKind::WrongChain => Problem::from(fault).hint(check),
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
        work: &str,
    ) -> Outcome<String> {
        let blocks = height(view).await?.saturating_sub(self.height);
        let took = context.current().duration_since(self.at).unwrap_or_default().as_secs_f64();
        let rate = blocks as f64 / took.max(0.001);
        Ok(format!("{blocks} blocks in {took:.1} s ({rate:.0} a second), {work}"))
    }
}

async fn height(view: &impl LocalView) -> Outcome<u64> {
    Ok(view.watermarks().await?.delivered.map_or(0, |block| block.height.get()))
}
