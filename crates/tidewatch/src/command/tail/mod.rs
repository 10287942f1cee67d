//! `tidewatch tail`: what followers published to NATS, in this terminal.

pub(crate) mod args;

use super::{Problem, logs, nats, signals::Stop};
use crate::{Outcome, output::Printer};
use args::{Begin, Tail};
use commonware_macros::select;
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Fault, FaultKind, Monitor};
use tidewatch_nats::{
    Error, Positions, Tail as Reads,
    client::JetStream,
    service::Config,
    tail::{self, From},
};

/// The pause before a cluster that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

impl std::convert::From<Begin> for From {
    fn from(begin: Begin) -> Self {
        match begin {
            Begin::Oldest => Self::Oldest,
            Begin::Newest => Self::Newest,
            Begin::After(cursor) => Self::Position(cursor),
        }
    }
}

/// Says what goes wrong and is tried again.
struct Said;

impl Monitor for Said {
    fn fault(&self, fault: &Fault) {
        tracing::warn!(%fault, "reading again");
    }
}

/// Prints until it is stopped, or until nobody reads any more.
pub(super) fn run(asked: Tail) -> Outcome<()> {
    logs::start();
    let options = nats::read(&asked.nats, asked.nats_creds.as_ref())?;
    let chain = ChainId::new(asked.chain.as_str())
        .map_err(|error| Problem::usage(format!("--chain: {error}")))?;
    let printer = Printer::stdout()?;
    Runner::new(RuntimeConfig::new().with_worker_threads(1)).start(|context| async move {
        let mut stop = Stop::new()?;
        let config = Config { options, chain, replicas: None };
        select! {
            () = stop.asked() => Ok(()),
            ended = prints(context, asked, config, printer) => ended,
        }
    })
}

async fn prints(context: Context, asked: Tail, config: Config, printer: Printer) -> Outcome<()> {
    let cluster = found(&context, &config).await?;
    let kept = match &asked.consumer {
        None => None,
        Some(name) => {
            let mut rng = context.child("writer");
            let opened = Positions::open(cluster.clone(), config.chain.clone(), &mut rng).await;
            Some((opened.map_err(nats::refused)?, name.as_str()))
        }
    };
    let from = match (asked.from.clone(), &kept) {
        (Some(begin), _) => begin.into(),
        (None, None) => From::Oldest,
        (None, Some((positions, name))) => {
            let kept = positions.kept(name).await.map_err(nats::refused)?;
            kept.map_or(From::Oldest, |kept| kept.from())
        }
    };
    let (child, settings) = (context.child("tail"), tail::Config::new(config.chain));
    let mut reads = Reads::new(child, cluster, Arc::new(Said), settings, from);
    loop {
        let taken = reads.next().await.map_err(refused)?;
        for line in taken.lines() {
            // A reader who left is no failure.
            let line = String::from_utf8_lossy(&line);
            if printer.print(format!("{line}\n")).await.is_err() {
                return Ok(());
            }
        }
        let Some((positions, name)) = &kept else { continue };
        while let Err(fault) = positions.keep(name, &taken.place).await {
            if fault.severity().is_fatal() {
                return Err(nats::refused(fault));
            }
            Said.fault(&fault);
            context.sleep(PAUSE).await;
        }
    }
}

/// The stream, as soon as a server answers.
async fn found(context: &Context, config: &Config) -> Outcome<JetStream> {
    loop {
        match config.find(context).await {
            Ok(cluster) => return Ok(cluster),
            Err(fault) if fault.severity().is_fatal() => return Err(nats::refused(fault)),
            Err(fault) if matches!(fault.reason(), Some(Error::Refused { .. })) => {
                return Err(refused(fault));
            }
            Err(fault) => Said.fault(&fault),
        }
        context.sleep(PAUSE).await;
    }
}

/// Why it is not gone on.
fn refused(fault: Fault) -> Problem {
    match fault.reason() {
        Some(Error::Trimmed { .. }) => Problem::usage(fault.to_string())
            .hint("drop what was made of the events, and begin again with --from oldest"),
        Some(error) if error.is_no_stream() => Problem::usage(fault.to_string())
            .hint("nobody publishes this chain there: `tidewatch follow --nats` says what its chain is called"),
        _ if fault.kind == FaultKind::WrongChain => Problem::usage(fault.to_string()).hint(
            "name the chain as `tidewatch follow --nats` does where it says what it publishes, not as the stream is called",
        ),
        _ => nats::refused(fault),
    }
}
