//! Everything that runs.

use super::{
    args::Running,
    followed::Followed,
    intake::{Bounds, Intake},
    keys::{chain, foreign, keys},
    network::failed,
};
use crate::{
    Outcome,
    command::{Problem, data_dir::DataDir, logs, metrics, serve::Serving, signals::Stop},
    output::Printer,
};
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, tokio::Context};
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tidewatch_core::{Block as _, ChainId, Digest, Fault, Height};
use tidewatch_devnet::{
    Error,
    ordering::{Config, Network},
};
use tidewatch_sequencer::{
    Applier as _, Coordinator, Opened, Ordering as _, PreblockMonitor, Publisher as _,
    coordinator::{self, Ports},
    disk::{Chain, DiskPool, Genesis, Limits, Published},
    monitor,
    remote::{Limits as RemoteLimits, Remote},
};
use tokio::net::TcpListener;

/// Prefix of the partitions.
const PARTITION: &str = "tidewatch-sequencer";
/// The network's.
const ORDERING: &str = "tidewatch-ordering";
/// Largest transaction: as large as a request may be.
const TRANSACTION_MAX: usize = 1024 * 1024;
/// Bytes of transactions in one block, at the most.
const BLOCK_BYTES: usize = 2 * TRANSACTION_MAX;
/// How long a stop waits for what is applied and published, and for those who follow it to hear of the end.
const GRACE: Duration = Duration::from_millis(1600);
/// How long it waits for the last two, whatever is left of that.
const LAST: Duration = Duration::from_millis(150);

/// Sequences until it is stopped.
pub(super) fn run(options: &Running) -> Outcome<()> {
    logs::start();
    let serving = Serving::parse(&options.served.options())?;
    let data = DataDir::open(&options.data_dir)?;
    let printer = Printer::stdout()?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let context = metrics::named(&context);
        let outcome = sequence(&context, options, serving, &data, &printer).await;
        drop(data);
        crate::leave(outcome)
    })
}

/// A network that keeps everything in `data`.
pub(super) fn config(port: u16, data: &DataDir) -> Config {
    let mut config = Config { partition: ORDERING.into(), port, ..Config::default() };
    config.devnet.directory = Some(data.storage().join("devnet"));
    config
}

/// The network that orders.
struct Orders {
    /// The one that runs inside of this process.
    network: Option<Network>,
    remote: Remote,
    chain: ChainId,
}

impl Orders {
    async fn start(context: &Context, options: &Running, data: &DataDir) -> Outcome<Self> {
        let options = &options.ordering;
        let keys = keys(options)?;
        let named = chain(options, &keys);
        let chain = ChainId::new(named).map_err(|error| Problem::failure(error.to_string()))?;
        let network = match options.ordering {
            Some(_) => None,
            None => {
                let started = Network::start(context.child("network"), config(0, data)).await;
                Some(started.map_err(|error| failed(&error))?)
            }
        };
        let inside = network.as_ref().map(Network::url);
        let address = options.ordering.as_deref().or(inside.as_deref()).unwrap_or_default();
        let remote = Remote::new(address, keys, RemoteLimits::default()).map_err(|error| {
            Problem::usage(format!("--ordering {error}"))
                .hint("`tidewatch sequence network` prints where it orders")
        })?;
        Ok(Self { network, remote, chain })
    }

    /// Resolves if nothing can be ordered by it any more.
    async fn ended(&self, context: &Context) -> Problem {
        let Some(network) = &self.network else { return foreign(context, &self.remote).await };
        let reason: Error = network.ended().await;
        Problem::failure(format!("the network of key holders ended: {reason}"))
    }
}

async fn listen(options: &Running) -> Outcome<TcpListener> {
    TcpListener::bind(options.listen).await.map_err(|error| {
        Problem::usage(format!("cannot listen at {}: {error}", options.listen))
            .hint("name a free address of this machine with --listen, such as 127.0.0.1:8750")
    })
}

async fn sequence(
    context: &Context,
    options: &Running,
    mut serving: Option<Serving>,
    data: &DataDir,
    printer: &Printer,
) -> Outcome<()> {
    let mut stop = Stop::new()?;
    if let Some(address) = options.metrics {
        let address = metrics::serve(context, address).await?;
        printer.hint(format!("metrics at http://{address}/metrics\n"));
    }
    let listener = listen(options).await?;
    let address = listener.local_addr().unwrap_or(options.listen);
    if let Some(serving) = &mut serving {
        let address = serving.listen().await?;
        printer.hint(format!("serving at http://{address}\n"));
    }
    let orders = select! {
        () = stop.asked() => return Ok(()),
        orders = Orders::start(context, options, data) => orders?,
    };
    let remote = orders.remote.clone();
    let ended = |fault: Fault| Problem::ended(fault, data.path());
    let ports = open(context, &orders).await.map_err(ended)?;

    let config = coordinator::Config {
        block_bytes: BLOCK_BYTES,
        ..coordinator::Config::every(Duration::from_secs(options.interval))
    };
    let (coordinator, mailbox) =
        Coordinator::new(context.child("coordinator"), ports.clone(), config);
    let ordering = ports.ordering.clone();
    let (child, config) = (context.child("monitor"), monitor::Config::default());
    let monitor = PreblockMonitor::new(child, ordering, mailbox.clone(), config);
    let at = context.child("intake");
    let intake = Intake::new(&at, ports.pool.clone(), remote, BLOCK_BYTES, Bounds::default());
    let (places, stopping) = (intake.places.clone(), intake.stopping.clone());
    let mut served = at.spawn(move |_| intake.serve(listener));
    let (chain, printed) = (ports.applier.clone(), printer.clone());
    let numbers = ports.publisher.numbers();
    let mut next = ports.publisher.published().next();
    let lines = context.child("lines").spawn(move |_| async move {
        loop {
            let Ok(newest) = numbers.until(|newest| *newest >= next).await else { return };
            while next <= newest {
                let Ok(block) = chain.block(next).await else { return };
                places.lock().applied(&block);
                printed.hint(line(&block));
                next = next.next();
            }
        }
    });
    let followed = match serving {
        Some(serving) => {
            let chain = (ports.applier.clone(), ports.publisher.clone());
            Followed::start(context, chain, mailbox.status(), serving, data).await?
        }
        None => Followed::NOT,
    };
    let (mut coordinator, mut monitor) = (coordinator.start(), monitor.start());
    let head = ports.applier.head().block.height;
    printer.hint(format!(
        "sequencing at http://{address}, from block {head} on; key holders at {}\n",
        ports.ordering.name()
    ));
    let outcome = select! {
        () = stop.asked() => Ok(()),
        failed = &mut served => Err(Problem::failure(format!("cannot serve at {address}: {failed:?}"))),
        ended = &mut coordinator => Err(stopped(ended, data.path())),
        ended = &mut monitor => Err(stopped(ended, data.path())),
        problem = orders.ended(context) => Err(problem),
        problem = followed.ended(data) => Err(problem),
    };
    // New transactions are refused, what is applied is finished and published, and the stream is closed last.
    stopping.store(true, Ordering::Release);
    mailbox.stop();
    let end = context.current() + GRACE;
    if outcome.is_ok() {
        select! {
            _ = &mut coordinator => {},
            () = context.sleep(GRACE) => tracing::warn!("the stop took too long: the rest is done at the next start"),
        }
    }
    served.abort();
    lines.abort();
    monitor.abort();
    let left = end.duration_since(context.current()).unwrap_or_default().max(LAST);
    if let Err(problem) = followed.stop(left).await {
        tracing::warn!(%problem, "the stop took too long");
    }
    let head = ports.applier.head().block.height;
    // The process ends now: what was said before is written first, unless nobody reads it.
    select! {
        _ = printer.print(format!("stopped at block {head}\n")) => {},
        () = context.sleep(LAST) => {},
    }
    outcome
}

type Opens = Ports<DiskPool<Context>, Chain<Context>, Published<Context>, Remote>;

async fn open(context: &Context, orders: &Orders) -> Result<Opens, Fault> {
    let chain = orders.chain.clone();
    let limits = Limits { transaction_bytes: TRANSACTION_MAX, ..Limits::default() };
    let genesis = Genesis { chain: chain.clone(), digest: Digest([0; 32]), time_ms: 0 };
    Ok(Ports {
        pool: Arc::new(DiskPool::open(context.child("pool"), PARTITION, chain, limits).await?),
        applier: Arc::new(Chain::open(context.child("chain"), PARTITION, genesis).await?),
        publisher: Arc::new(Published::open(context.child("published"), PARTITION).await?),
        ordering: Arc::new(orders.remote.clone()),
    })
}

fn stopped(ended: Result<Result<(), Fault>, commonware_runtime::Error>, data: &Path) -> Problem {
    match ended {
        Ok(Err(fault)) => Problem::ended(fault, data),
        Ok(Ok(())) => Problem::failure("the sequencer ended"),
        Err(error) => Problem::failure(format!("the sequencer ended: {error}")),
    }
}

/// A line for a block.
fn line(block: &tidewatch_sequencer::Block) -> String {
    let dropped = block.opened.iter().filter(|said| matches!(said, Opened::Dropped(_))).count();
    let (applied, reference) = (block.opened.len() - dropped, block.reference());
    let number: Height = reference.height;
    let digest = reference.digest.to_string();
    let digest = digest.get(..12).unwrap_or(&digest);
    match dropped {
        0 => format!("block {number} {digest}: {applied} transactions\n"),
        dropped => format!("block {number} {digest}: {applied} transactions, {dropped} dropped\n"),
    }
}
