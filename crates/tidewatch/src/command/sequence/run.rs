//! Everything that runs.

use super::{args::Running, intake::Intake};
use crate::{
    Outcome,
    command::{Problem, data_dir::DataDir, logs, metrics, signals::Stop},
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
use tidewatch_devnet::ordering::{Config, Network};
use tidewatch_sequencer::{
    Applier as _, Coordinator, Opened, PreblockMonitor, Publisher as _,
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
/// What the chain is called.
const CHAIN: &str = "sequenced:devnet";
/// Largest transaction: as large as a request may be.
const TRANSACTION_MAX: usize = 1024 * 1024;
/// How long a stop waits for what is applied and published.
const GRACE: Duration = Duration::from_millis(1700);

/// Sequences until it is stopped.
pub(super) fn run(options: &Running) -> Outcome<()> {
    logs::start();
    let data = DataDir::open(&options.data_dir)?;
    let printer = Printer::start(std::io::stdout())
        .map_err(|error| Problem::failure(format!("cannot start printing: {error}")))?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let outcome = sequence(&context, options, &data, &printer).await;
        drop(data);
        crate::leave(outcome)
    })
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
    let mut config = Config { partition: ORDERING.into(), ..Config::default() };
    config.devnet.directory = Some(data.storage().join("devnet"));
    let network = Network::start(context.child("network"), config).await.map_err(|error| {
        Problem::failure(format!("the network of key holders did not start: {error}"))
    })?;
    let remote = Remote::new(&network.url(), network.keys().clone(), RemoteLimits::default())
        .map_err(|error| Problem::failure(error.to_string()))?;
    let ended = |fault: Fault| Problem::ended(fault, data.path());
    let ports = open(context, remote.clone()).await.map_err(ended)?;

    let config = coordinator::Config {
        block_bytes: 2 * TRANSACTION_MAX,
        ..coordinator::Config::every(Duration::from_secs(options.interval))
    };
    let (coordinator, mailbox) =
        Coordinator::new(context.child("coordinator"), ports.clone(), config);
    let ordering = ports.ordering.clone();
    let (child, config) = (context.child("monitor"), monitor::Config::default());
    let monitor = PreblockMonitor::new(child, ordering, mailbox.clone(), config);
    let intake = Intake::new(ports.pool.clone(), remote);
    let (places, stopping) = (intake.places.clone(), intake.stopping.clone());
    let app = intake.router();
    let mut served = context
        .child("intake")
        .spawn(move |_| async move { axum::serve(listener, app).await.err() });
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
    let (mut coordinator, mut monitor) = (coordinator.start(), monitor.start());
    let head = ports.applier.head().block.height;
    printer.hint(format!(
        "sequencing at http://{address}, from block {head} on; key holders at {}\n",
        network.url()
    ));
    let outcome = select! {
        () = stop.asked() => Ok(()),
        failed = &mut served => Err(Problem::failure(format!("cannot serve at {address}: {failed:?}"))),
        ended = &mut coordinator => Err(stopped(ended, data.path())),
        ended = &mut monitor => Err(stopped(ended, data.path())),
        reason = network.devnet().ended() => {
            Err(Problem::failure(format!("the devnet ended: {reason}")))
        },
    };
    // New transactions are refused, what is applied is finished and published, and the stream is closed last.
    stopping.store(true, Ordering::Release);
    mailbox.stop();
    if outcome.is_ok() {
        select! {
            _ = &mut coordinator => {},
            () = context.sleep(GRACE) => tracing::warn!("the stop took too long: the rest is done at the next start"),
        }
    }
    served.abort();
    lines.abort();
    monitor.abort();
    let head = ports.applier.head().block.height;
    // The process ends now: what was said before is written first, unless nobody reads it.
    select! {
        _ = printer.print(format!("stopped at block {head}\n")) => {},
        () = context.sleep(GRACE) => {},
    }
    outcome
}

type Opens = Ports<DiskPool<Context>, Chain<Context>, Published<Context>, Remote>;

async fn open(context: &Context, remote: Remote) -> Result<Opens, Fault> {
    let chain = ChainId::new(CHAIN)
        .map_err(|error| tidewatch_core::FaultKind::InvalidConfig.fault("the chain", error))?;
    let limits = Limits { transaction_bytes: TRANSACTION_MAX, ..Limits::default() };
    let genesis = Genesis { chain: chain.clone(), digest: Digest([0; 32]), time_ms: 0 };
    Ok(Ports {
        pool: Arc::new(DiskPool::open(context.child("pool"), PARTITION, chain, limits).await?),
        applier: Arc::new(Chain::open(context.child("chain"), PARTITION, genesis).await?),
        publisher: Arc::new(Published::open(context.child("published"), PARTITION).await?),
        ordering: Arc::new(remote),
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
