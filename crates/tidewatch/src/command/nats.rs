//! Publishing the events of what is followed to NATS JetStream (`--nats`).

use super::{Problem, args::Follow};
use crate::{Outcome, output::report};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{path::PathBuf, sync::Arc};
use tidewatch_core::{AnyBlock, ChainId, Fault, Monitor, Running};
use tidewatch_nats::{
    Error, Service,
    client::{JetStream, Options},
    service::Config,
};
use tidewatch_store::Reader;

/// What the options ask to publish to.
pub(super) struct Publishing {
    options: Options,
    replicas: Option<u32>,
}

/// A cluster that was asked, and answered or not.
pub(super) struct Opened {
    config: Config,
    cluster: Option<JetStream>,
}

impl Publishing {
    /// Nothing where `--nats` was not said.
    pub(super) fn parse(options: &Follow) -> Outcome<Option<Self>> {
        if options.nats.is_empty() {
            return match options.nats_replicas.is_some() || options.nats_creds.is_some() {
                true => Err(Problem::usage("there is no NATS to publish to")
                    .hint("name a server with --nats, such as nats://127.0.0.1:4222")),
                false => Ok(None),
            };
        }
        let replicas = options.nats_replicas.map(u32::from);
        let options = read(&options.nats, options.nats_creds.as_ref())?;
        Ok(Some(Self { options, replicas }))
    }

    /// Asks the cluster. One that does not answer is asked again while the chain is followed; one that is not as it has
    /// to be is a matter of what was typed.
    pub(super) async fn open(self, context: &Context, chain: ChainId) -> Outcome<Opened> {
        let Self { options, replicas } = self;
        let config = Config { options, chain, replicas };
        match config.open(context).await {
            Ok(cluster) => Ok(Opened { config, cluster: Some(cluster) }),
            Err(fault) if fault.severity().is_fatal() => Err(refused(fault)),
            Err(fault) => {
                report(&refused(fault));
                Ok(Opened { config, cluster: None })
            }
        }
    }
}

impl Opened {
    /// The servers, and what the chain is called: who reads it there has to name it.
    pub(super) fn shown(&self) -> String {
        format!("{}, chain {}", self.config.options.shown(), self.config.chain)
    }

    /// Publishes `log`.
    pub(super) fn start(
        self,
        context: &Context,
        log: Reader<Context, AnyBlock>,
        monitor: Arc<dyn Monitor>,
    ) -> Running {
        let Self { config, cluster } = self;
        Running::start(Service::new(context.child("nats"), config, cluster, log, monitor))
    }
}

/// Reads addresses and the file with credentials.
pub(super) fn read(servers: &[String], credentials: Option<&PathBuf>) -> Outcome<Options> {
    Options::read(servers, credentials).map_err(|error| {
        let hint = hint(&error);
        Problem::usage(error.to_string()).hint(hint)
    })
}

/// What helps.
fn hint(error: &Error) -> String {
    match error {
        Error::Address(_) => {
            "write an address such as nats://127.0.0.1:4222 or tls://nats.example".into()
        }
        Error::Credentials { .. } => "name the file that `nsc generate creds` wrote".into(),
        Error::TooOld { floor, .. } => format!("run nats-server {floor} or newer"),
        Error::Level { .. } => "run the same, newer version on all servers of the cluster".into(),
        Error::NoJetStream(_) => {
            "start the server with JetStream (nats-server -js), or enable it for the account".into()
        }
        Error::Settings { stream, .. } => {
            format!("edit it (nats stream edit {stream}), or say what it has with --nats-replicas")
        }
        Error::Consumer { stream, consumer, .. } => {
            format!("remove it (nats consumer rm {stream} {consumer}): it is made anew")
        }
        Error::Connect(_) => "start it, or check its address, --nats-creds, and for tls:// which certificates are trusted \
            (this machine's, or those in SSL_CERT_FILE); what is done meanwhile goes on once it answers"
            .into(),
        Error::NoAnswer { .. } => {
            "start it, or check the address; what is done meanwhile goes on once it answers".into()
        }
        _ => "see what its server logs say".into(),
    }
}

/// Why a cluster is not used, and what to do.
pub(super) fn refused(fault: Fault) -> Problem {
    let hint = fault.reason::<Error>().map(hint);
    let problem = Problem::from(fault);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::{Cli, Command};
    use clap::Parser as _;

    fn parse(words: &str) -> Outcome<Option<Publishing>> {
        let line = ["tidewatch", "follow"].into_iter().chain(words.split_whitespace());
        let Some(Command::Follow(options)) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not follow: {words}")
        };
        Publishing::parse(&options)
    }

    #[test]
    fn what_is_said_of_nats_without_a_server_or_cannot_be_one_is_a_slip() {
        assert!(parse("").unwrap().is_none());
        let said = parse("--nats nats://a --nats tls://b:4333 --nats-replicas 3").unwrap().unwrap();
        assert_eq!(said.options.shown(), "nats://a:4222, tls://b:4333");
        assert_eq!(said.replicas, Some(3));
        for (words, told) in [
            ("--nats-replicas 3", "no NATS"),
            ("--nats-creds a", "no NATS"),
            ("--nats http://me:secret@a", "no address"),
            ("--nats nats://a --nats-creds /not/there", "/not/there"),
        ] {
            let problem = parse(words).err().expect("a slip");
            assert!(problem.to_string().contains(told), "{words}: {problem}");
            assert!(problem.hint.is_some() && !problem.to_string().contains("secret"));
        }
    }
}
