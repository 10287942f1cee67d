//! `tidewatch tail`: what followers published to NATS, in this terminal.

use super::{Problem, logs, nats, signals::Stop};
use crate::{Outcome, output::Printer};
use clap::Args;
use commonware_macros::select;
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Cursor, Fault, Monitor};
use tidewatch_nats::{
    Error, Positions, Tail as Reads,
    client::{JetStream, Options},
    service::Config,
    tail::{self, From},
};

/// The pause before a cluster that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Options of `tail`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Tail {
    /// A server, such as `nats://127.0.0.1:4222`; several are servers of one cluster.
    #[arg(value_name = "URL", required = true)]
    pub(crate) nats: Vec<String>,
    /// The chain's name, as the followers have it.
    #[arg(long, value_name = "NAME")]
    pub(crate) chain: String,
    /// The file with the credentials for the servers.
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_creds: Option<PathBuf>,
    /// Where to begin: with the oldest event that is kept, with the newest, or after a cursor that was printed. [default:
    /// where the consumer is, otherwise oldest]
    #[arg(long, value_name = "oldest|newest|CURSOR")]
    pub(crate) from: Option<Begin>,
    /// Keep the position at the cluster under this name, and go on from it. Of two of one name the newer one goes on.
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
}

const HELP: &str = "\
Example:
  nats-server -js
  tidewatch follow --nats nats://127.0.0.1:4222
      in two terminals, and in a third one, with the name that `nats stream ls` shows after TIDEWATCH_:
  tidewatch tail nats://127.0.0.1:4222 --chain NAME --consumer mine

After a crash the last event may be printed once more. It ends with exit code 2 where something that was typed has to
change, and with 1 for what failed; whatever passes by itself is tried again for as long as it takes, and said.";

/// Where to begin.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    Oldest,
    Newest,
    After(Box<Cursor>),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            cursor => match cursor.parse() {
                Ok(cursor) => Ok(Self::After(Box::new(cursor))),
                Err(error) => Err(format!("neither oldest nor newest, and a {error}")),
            },
        }
    }
}

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
    let options = Options::read(&asked.nats, asked.nats_creds.as_ref());
    let options = options.map_err(|error| Problem::usage(error.to_string()))?;
    let chain = ChainId::new(asked.chain.as_str())
        .map_err(|error| Problem::usage(format!("--chain: {error}")))?;
    let printer = Printer::start(std::io::stdout())
        .map_err(|error| Problem::failure(format!("cannot start printing: {error}")))?;
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
        Some(Error::Refused { code: 10_059, .. }) => Problem::usage(fault.to_string())
            .hint("nobody publishes this chain there: see `nats stream ls` for those that are"),
        _ => nats::refused(fault),
    }
}
