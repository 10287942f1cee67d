//! An execution client that follows too: given every block of the source, pointed at its tips.

use super::{Problem, args::Follow};
use crate::Outcome;
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{path::Path, sync::Arc, time::Duration};
use tidewatch_core::{ChainInfo, Fault, FaultKind, Height, Monitor, Running, Severity, Tier};
use tidewatch_execution::{
    Durably, Execution as _, Executor, View,
    engine::{Config, Engine, EngineError, Secret},
    executor,
};
use tidewatch_node::{Config as NodeConfig, Follower, Member, supervisor};
use tidewatch_sources::{
    ethereum::EthereumSource,
    registry::Opened,
    rpc::{Endpoint, Node},
};
use tidewatch_stream::driver;

type Source = EthereumSource<Context, Node<Context>>;

/// Where evidence is kept, below the data directory.
const EVIDENCE: &str = "evidence";

/// The client that the options name.
pub(super) struct Wanted {
    endpoint: Endpoint,
    secret: Secret,
}

impl Wanted {
    /// Reads the options; `None` where they name no client.
    pub(super) fn parse(options: &Follow) -> Outcome<Option<Self>> {
        let (address, file) = match (&options.execution, &options.jwt_secret) {
            (None, None) => return Ok(None),
            (Some(address), Some(file)) => (address, file),
            (Some(_), None) => {
                return Err(Problem::usage(
                    "--execution needs the secret that the client was started with",
                )
                .hint("name its file with --jwt-secret"));
            }
            (None, Some(_)) => {
                return Err(Problem::usage("--jwt-secret means nothing without --execution").hint(
                    "give the address of the client's Engine API with --execution, or leave it out",
                ));
            }
        };
        if !options.source.iter().all(|source| source.starts_with("eth+"))
            || options.source.is_empty()
        {
            return Err(Problem::usage("--execution needs blocks of an Ethereum chain").hint(
                "follow an execution node that has them, with --source eth+http://HOST:PORT",
            ));
        }
        let endpoint = Endpoint::engine(address).map_err(|error| {
            Problem::usage(format!("--execution: {error}"))
                .hint("it is the port of the Engine API, 8551 by default, and not that of JSON-RPC")
        })?;
        let secret = Secret::read(file).map_err(|error| {
            Problem::usage(format!("--jwt-secret: {error}"))
                .hint("it is the file that the execution client was started with")
        })?;
        Ok(Some(Self { endpoint, secret }))
    }

    /// Makes sure that the client is there, lets us in, and is of the chain of `opened`.
    pub(super) async fn connect(
        self,
        context: &Context,
        opened: &Opened,
        chain_info: &ChainInfo,
        data: &Path,
    ) -> Outcome<Ready> {
        let source = opened.typed::<Source>();
        let source =
            source.ok_or_else(|| Problem::failure("the source has no bodies of blocks"))?;
        let context = context.child("execution");
        let (clock, config) = (context.child("engine"), Config::default());
        let engine = Engine::new(clock, &self.endpoint, self.secret, source.clone(), config)?;
        let theirs = engine.chain_info().await.map_err(|fault| refused(&fault))?;
        if theirs != *chain_info {
            let told =
                |info: &ChainInfo| format!("{} with genesis {}", info.id, info.genesis.digest);
            let (theirs, ours) = (told(&theirs), told(chain_info));
            return Err(Problem::usage(format!(
                "{} is of chain {theirs}, the source of {ours}",
                engine.name()
            ))
            .hint("start the client with the genesis of that chain"));
        }
        let (engine, evidence) = (Arc::new(engine), data.join(EVIDENCE));
        Ok(Ready { context, source, engine, chain_info: theirs, evidence })
    }
}

/// Why the client cannot be driven, and what to do.
fn refused(fault: &Fault) -> Problem {
    let about = format!("cannot reach the execution client: {fault}");
    match fault.reason::<EngineError>() {
        Some(EngineError::Denied { .. }) => Problem::usage(about)
            .hint("give the file that the client was started with to --jwt-secret"),
        Some(EngineError::Clock { .. }) => Problem::failure(about).hint("set both clocks"),
        _ => Problem::failure(about)
            .hint("start it, or check --execution: it is the address of its Engine API"),
    }
}

/// A client that was reached.
pub(super) struct Ready {
    context: Context,
    source: Arc<Source>,
    engine: Arc<Engine<Source>>,
    chain_info: ChainInfo,
    evidence: std::path::PathBuf,
}

/// What happens to the client's driver, as far as it concerns whoever runs the command: the tips that are shown
/// are those of the store.
struct Faults(Arc<dyn Monitor>);

impl Monitor for Faults {
    fn fault(&self, fault: &Fault) {
        self.0.fault(fault);
    }
}

/// A driver of its own on the source, with the client as its view.
pub(super) struct Execution {
    follower: Follower<Context>,
    name: String,
    monitor: Arc<dyn Monitor>,
}

impl Ready {
    pub(super) fn start(self, monitor: Arc<dyn Monitor>) -> Execution {
        let Self { context, source, engine, chain_info, evidence } = self;
        let name = engine.name().to_owned();
        let config = executor::Config { evidence: Some(evidence.clone()), ..Default::default() };
        let (executor, mailbox) = Executor::new(context.child("executor"), engine.clone(), config);
        let config = NodeConfig {
            source: Arc::new(Durably::new(source, mailbox.floor())),
            view: View::new(engine, mailbox, chain_info, Some(evidence)),
            log: (),
            monitor: Faults(monitor.clone()),
            driver: driver::Config::default(),
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.supervise(Member::critical(Running::start(executor)));
        Execution { follower, name, monitor }
    }
}

impl Execution {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Resolves when `until` is final in the client.
    pub(super) async fn reached(&self, until: Option<u64>) {
        let Some(until) = until else { return };
        let heads = self.follower.heads();
        if heads.reached(Tier::Finalized, Height::new(until)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the client is not driven any more, after it was reported why. Nothing else ends with it.
    pub(super) async fn ended(&self) -> Problem {
        let cause = self.follower.ended().await.cause;
        let fault = cause.and_then(|cause| cause.result.err());
        let fault =
            fault.unwrap_or_else(|| FaultKind::Stopped.fault(&*self.name, "it was stopped"));
        self.monitor.fault(&fault);
        let problem = Problem::failure(format!("{} is given no more blocks: {fault}", self.name));
        match fault.severity() {
            Severity::Config if fault.kind == FaultKind::Rejected => problem.hint(
                "the client and the source follow different rules: compare their versions and their genesis, \
                 and start again",
            ),
            _ => problem.hint("start again once that is mended"),
        }
    }

    /// Stops driving the client, within `limit`.
    pub(super) async fn stop(self, limit: Duration) {
        // What it was given is its own; what was not acknowledged is given again.
        let _ = self.follower.stop(limit).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn parse(
        source: &str,
        execution: Option<&str>,
        secret: Option<&Path>,
    ) -> Outcome<Option<Wanted>> {
        Wanted::parse(&Follow {
            source: vec![source.into()],
            execution: execution.map(Into::into),
            jwt_secret: secret.map(Path::to_owned),
            ..Follow::default()
        })
    }

    #[test]
    fn a_client_is_named_by_its_engine_api_and_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("jwt.hex");
        std::fs::write(&secret, "0b".repeat(32)).unwrap();
        let (eth, engine) = ("eth+http://host:1", Some("http://hunter2@host:8551"));
        assert!(parse(eth, None, None).unwrap().is_none());
        assert!(parse(eth, engine, Some(&secret)).unwrap().is_some());

        let (none, wrong) = (PathBuf::from("/none/of/these"), directory.path().join("wrong"));
        std::fs::write(&wrong, "hunter2").unwrap();
        let table = [
            (eth, engine, None, "--jwt-secret"),
            (eth, None, Some(&secret), "--execution"),
            (eth, Some("host:8551"), Some(&secret), "http://HOST:PORT"),
            (eth, Some("ws://hunter2@host:8551"), Some(&secret), "Engine API"),
            (eth, engine, Some(&none), "/none/of/these"),
            (eth, engine, Some(&wrong), "64 hexadecimal digits"),
            ("devnet:", engine, Some(&secret), "eth+http://HOST:PORT"),
            ("op+http://host:1?el=http://host:2", engine, Some(&secret), "eth+http://HOST:PORT"),
        ];
        for (source, execution, secret, words) in table {
            let problem = parse(source, execution, secret.map(PathBuf::as_path)).err().unwrap();
            let text = format!("{problem} {:?}", problem.hint);
            assert!(text.contains(words), "{source} {execution:?}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert_eq!(problem.code(), 2, "{text}");
        }
    }
}
