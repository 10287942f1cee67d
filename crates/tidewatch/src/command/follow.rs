//! `tidewatch follow`: from options to exit code.

use super::{
    Problem,
    args::{DATA_DIR, Follow, Format},
    data_dir::DataDir,
    embedded::Embedded,
    execution::{Execution, Wanted},
    logs, metrics,
    nats::Publishing,
    proving::{self, args::Proving},
    serve::Serving,
    signals::Stop,
    target::Target,
};
use crate::{
    Outcome,
    output::{Audience, CONSUMER, Printer, report},
};
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio::Context};
use std::{path::Path, sync::Arc, time::SystemTime};
use tidewatch_core::{
    AnyBlock, Fault, FaultKind, Monitor, Positions as _, Severity, Source, Tier, Watermarks,
};
use tidewatch_node::{
    Attachment, Config as NodeConfig, Follower, Member, Report, Role, supervisor,
};
use tidewatch_sources::registry;
use tidewatch_store::{Config as StoreConfig, Reader, Store, Writer};
use tidewatch_stream::{delivery, driver};

/// How long actors may take to end: with the devnet after them, it stays below two seconds.
const STOP_LIMIT: std::time::Duration = std::time::Duration::from_millis(1_000);

/// Runs until it is stopped, or until what was asked for is reached. With `proving`, blocks are proven too.
pub(super) fn run(options: Follow, proving: Option<Proving>) -> Outcome<()> {
    logs::start();
    let proving = proving.map(|proving| proving::Wanted::parse(&options, proving)).transpose()?;
    let target = Target::parse(&options)?;
    let target = if proving.is_some() { target.proven() } else { target };
    let wanted = Wanted::parse(&options)?;
    let serving = Serving::parse(&options)?;
    let publishing = Publishing::parse(&options)?;
    let data = match (&options.data_dir, &target) {
        (Some(path), _) => DataDir::open(path)?,
        (None, Target::Devnet { .. }) => DataDir::temporary()?,
        (None, _) => DataDir::open(Path::new(DATA_DIR))?,
    };
    let printer = Printer::stdout()?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let context = metrics::named(&context);
        let stop = Stop::new()?;
        let json = options.format.unwrap_or_default() == Format::Json;
        let tier = if proving.is_some() { Tier::Proven } else { Tier::Finalized };
        let audience = Audience::new(printer, json, options.until, tier);
        audience.bar().into_iter().for_each(logs::beside);
        // The data directory is locked until everything has stopped.
        let proves = proving.is_some();
        let run = Run { context, options, wanted, proving, serving, publishing, audience, stop };
        let outcome = run.target(target, &data).await;
        if proves {
            drop(data);
            crate::leave(outcome);
        }
        outcome
    })
}

/// One run of the command.
struct Run {
    context: Context,
    options: Follow,
    /// The execution client that is to follow too.
    wanted: Option<Wanted>,
    /// What is to be served.
    serving: Option<Serving>,
    /// Where events are to be published.
    publishing: Option<Publishing>,
    /// Who is to prove the blocks.
    proving: Option<proving::Wanted>,
    audience: Audience,
    stop: Stop,
}

impl Run {
    /// Follows `target`; the devnet is started before and stopped after.
    async fn target(mut self, target: Target, data: &DataDir) -> Outcome<()> {
        if let Some(address) = self.options.metrics {
            let address = metrics::serve(&self.context, address).await?;
            self.audience.say(&format!("metrics at http://{address}/metrics")).await;
        }
        if let Some(serving) = &mut self.serving {
            let address = serving.listen().await?;
            self.audience.say(&format!("serving at http://{address}")).await;
        }
        let chosen = match target {
            Target::Devnet(chosen) => chosen,
            Target::Remote(target) => return self.follow(target, None, data).await,
        };
        let validators = match chosen.epochs {
            true => "six validators, four of them in turn,",
            false => "four validators",
        };
        self.audience.say(&format!("starting the devnet: {validators} and an indexer")).await;
        let devnet = select! {
            () = self.stop.asked() => return Ok(()),
            started = Embedded::start(&self.context, chosen, data.storage().join("devnet")) => {
                started?
            },
        };
        let result = match devnet.target() {
            Ok(target) => self.follow(target, Some(&devnet), data).await,
            Err(problem) => Err(problem),
        };
        devnet.stop().await;
        result
    }

    /// Opens the source and the store, and follows until there is a reason to end.
    async fn follow(
        &mut self,
        target: registry::Target,
        devnet: Option<&Embedded>,
        data: &DataDir,
    ) -> Outcome<()> {
        let mut monitor = self.audience.monitor();
        let observer = self.serving.as_ref().map(|serving| serving.observer.clone());
        if let Some(observer) = &observer {
            monitor = Arc::new((monitor, observer.clone()));
        }
        let settings = self.options.settings();
        let opened = select! {
            // An anchor may have to be fetched.
            () = self.stop.asked() => return Ok(()),
            opened = target.open(self.context.child("source"), monitor.clone(), settings) => opened,
        };
        let opened = opened.map_err(|fault| match fault.kind {
            FaultKind::TooOld if settings.anchor.is_some() => {
                Problem::failure(fault.to_string()).hint(
                    "name a newer block with --anchor, or allow more with --trust-period",
                )
            }
            FaultKind::TooOld => Problem::failure(fault.to_string()).hint(
                "name a block of the chain that you trust with --anchor, or allow more with \
                 --trust-period; if the network's identity is the same still, another directory with \
                 --data-dir begins with it anew",
            ),
            _ => Problem::ended(fault, data.path()),
        })?;
        let check = match opened.has_identity {
            true => "check the address and --identity",
            false => "check the address",
        };
        let chain_info = select! {
            () = self.stop.asked() => return Ok(()),
            chain_info = opened.chain_info() => {
                chain_info.map_err(|faults| unreachable(&faults, opened.server))?
            },
        };
        let execution = match self.wanted.take() {
            Some(wanted) => select! {
                () = self.stop.asked() => return Ok(()),
                execution = wanted.connect(&self.context, &opened, &chain_info, data.path()) => {
                    Some(execution?)
                },
            },
            None => None,
        };
        let publishing = match self.publishing.take() {
            Some(publishing) => select! {
                () = self.stop.asked() => return Ok(()),
                publishing = publishing.open(&self.context, chain_info.id.clone()) => {
                    Some(publishing?)
                },
            },
            None => None,
        };
        self.audience.say(&format!("following {}", opened.name)).await;
        data.has_descriptors()?;
        let config = StoreConfig::new(chain_info, opened.decoder);
        let kept = Store::open::<_, AnyBlock>(self.context.child("store"), config);
        let (view, store) = kept.await.map_err(|fault| match fault.kind {
            FaultKind::WrongChain => Problem::from(fault)
                .hint(format!("name another directory with --data-dir, or {check}")),
            _ => Problem::ended(fault, data.path()),
        })?;
        let ended = |fault| Problem::ended(fault, data.path());
        if let Some(cursor) = store.load(CONSUMER).await.map_err(ended)? {
            self.audience.reached().printed(&cursor);
        }
        let began = Began::now(&self.context, &store.watermarks().map_err(ended)?);
        let ladder = opened.source.ladder();
        let proving = match self.proving.take() {
            Some(wanted) => Some(wanted.ready(&self.context, &store, data.path()).await?),
            None => None,
        };
        let driver = driver::Config { mode: self.options.mode(), ..driver::Config::default() };
        let (kept, driver) = ((view, store.clone()), (monitor.clone(), driver));
        let follower = match &proving {
            Some(ready) => start(&self.context, ready.overlay(opened.source), kept, driver),
            None => start(&self.context, opened.source, kept, driver),
        };
        for start in opened.actors {
            follower.supervise(Member::critical(start()));
        }
        if let Some(serving) = self.serving.take() {
            let (store, heads) = (store.clone(), follower.heads());
            let (context, source) = (&self.context, opened.name.clone());
            let server = serving.start(context, store, heads, ladder, source).await;
            server.map_err(ended)?.map(|server| follower.supervise(Member::optional(server)));
        }
        if let Some(publishing) = publishing {
            self.audience.say(&format!("publishing to {}", publishing.shown())).await;
            let published = publishing.start(&self.context, store.clone(), monitor.clone());
            follower.supervise(Member::optional(published));
        }
        if let Some(consumer) = self.audience.events() {
            // The command exists for this consumer: without it, nobody is left to follow for.
            let (role, config) = (Role::Critical, delivery::Config::default());
            let monitor = monitor.clone();
            follower.attach(Attachment { consumer, monitor, role, config });
        }
        let execution = execution.map(|ready| ready.start(monitor.clone()));
        if let Some(execution) = &execution {
            let name = execution.name();
            self.audience.say(&format!("{name} is given every block")).await;
        }
        let reached = async {
            self.audience.reached().wait(&follower.heads()).await;
            if let Some(execution) = &execution {
                execution.reached(self.options.until).await;
            }
        };
        // Operators are answered as long as it is held.
        let mut socket = None;
        let proves = async {
            let Some(ready) = proving else { return std::future::pending().await };
            let audience = self.audience.proving();
            let show = move |proving: &_| {
                observer.iter().for_each(|observer| observer.proving(proving));
                audience(proving);
            };
            match ready.start(&follower, monitor, show).await {
                Ok(answers) => socket = Some(answers),
                Err(problem) => return problem,
            }
            std::future::pending().await
        };
        let end = select! {
            () = self.stop.asked() => Ok(()),
            () = reached => Ok(()),
            problem = execution_ended(execution.as_ref(), self.options.until) => Err(problem),
            report = follower.ended() => Err(problem(report, check, data)),
            error = devnet_ended(devnet) => Err(error),
            problem = proves => Err(problem),
            error = gone(&self.context, data) => Err(error),
        };
        if let Some(execution) = execution {
            execution.stop(STOP_LIMIT).await;
        }
        let stopped = follower.stop(STOP_LIMIT).await;
        drop(socket);
        if let Some(line) = self.audience.finish() {
            // A store that failed has nothing more to say.
            let watermarks = store.watermarks().unwrap_or(began.watermarks);
            let summary = began.summary(&self.context, &watermarks, &(opened.work)());
            self.audience.say(&format!("{line}\n{summary}")).await;
        }
        end?;
        stopped.map(drop).map_err(|error| Problem::failure(error.to_string()))
    }
}

/// A store's two halves.
pub(super) type Kept = (Writer<Context, AnyBlock>, Reader<Context, AnyBlock>);

/// The follower of `source`.
pub(super) fn start(
    context: &Context,
    source: impl Source<Block = AnyBlock>,
    (view, log): Kept,
    (monitor, driver): (Arc<dyn Monitor>, driver::Config),
) -> Follower<Context, Reader<Context, AnyBlock>> {
    let supervisor = supervisor::Config { stop_limit: STOP_LIMIT, ..Default::default() };
    let config = NodeConfig { source: Arc::new(source), view, log, monitor, driver, supervisor };
    Follower::start(context.child("follower"), config)
}

/// Why no endpoint of `server`s told which chain it is of. Nobody whose server answered is told to start it.
fn unreachable(faults: &[Fault], server: &str) -> Problem {
    if let [fault] = faults
        && fault.severity() == Severity::Config
    {
        return Problem::from(fault.clone());
    }
    let silent = |fault: &Fault| matches!(fault.kind, FaultKind::Unreachable | FaultKind::Timeout);
    let reached = faults.iter().any(|fault| !silent(fault));
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    match faults.join("; ") {
        faults if reached => Problem::unusable(faults, server),
        faults => Problem::unreachable(faults, server),
    }
}

/// Resolves if the devnet ends although nobody stopped it.
async fn devnet_ended(devnet: Option<&Embedded>) -> Problem {
    match devnet {
        Some(devnet) => devnet.ended().await,
        None => std::future::pending().await,
    }
}

/// Resolves if the execution client cannot be driven any more and `--until` waits for it. Otherwise it is
/// reported, and what is followed besides goes on.
async fn execution_ended(execution: Option<&Execution>, until: Option<u64>) -> Problem {
    let Some(execution) = execution else { return std::future::pending().await };
    let problem = execution.ended().await;
    if until.is_some() {
        return problem;
    }
    report(&problem);
    std::future::pending().await
}

/// How often it is looked whether the data directory is still there.
const LOOK: std::time::Duration = std::time::Duration::from_secs(2);

/// Resolves if the data directory was moved or removed.
async fn gone(context: &Context, data: &DataDir) -> Problem {
    loop {
        context.sleep(LOOK).await;
        if let Err(problem) = data.is_there() {
            return problem;
        }
    }
}

/// Why a follower that nobody stopped has ended.
pub(super) fn problem(report: Report, check: &str, data: &DataDir) -> Problem {
    let Some(cause) = report.cause else { return Problem::failure("the follower was stopped") };
    match cause.result {
        Ok(()) => Problem::failure(format!("{} ended by itself", cause.actor)),
        Err(fault) if fault.kind == FaultKind::WrongChain => Problem::from(fault).hint(check),
        Err(fault) => Problem::ended(fault, data.path()),
    }
}

/// Where a run began, for its last words.
struct Began {
    at: SystemTime,
    watermarks: Watermarks,
}

impl Began {
    fn now(context: &Context, watermarks: &Watermarks) -> Self {
        Self { at: context.current(), watermarks: *watermarks }
    }

    fn summary(&self, context: &Context, watermarks: &Watermarks, work: &str) -> String {
        let blocks = height(watermarks).saturating_sub(height(&self.watermarks));
        let took = context.current().duration_since(self.at).unwrap_or_default().as_secs_f64();
        let rate = blocks as f64 / took.max(0.001);
        format!("{blocks} blocks in {took:.1} s ({rate:.0} a second), {work}")
    }
}

fn height(watermarks: &Watermarks) -> u64 {
    watermarks.delivered.map_or(0, |block| block.height.get())
}
