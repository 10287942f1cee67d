//! A real Miden network: a validator, a sequencer, and a prover that is as slow as a test wants.
//!
//! # Overview
//!
//! [`Network`] is two processes with a chain of their own, on ports of their own, whose blocks somebody else proves: a
//! [`SlowProver`] in this process, or a [`Worker`], which is `tidewatch prover-worker`. `scripts/miden-network`
//! builds the programs, which takes a quarter of an hour, and runs the tests over them. A test that ends takes the
//! processes with it, however it ends.
//!
//! # What these programs do
//!
//! Seen of miden-validator and miden-node 0.15.2, and what tests count on:
//!
//! | what | how |
//! |---|---|
//! | a block | each [`INTERVAL`], signed by the validator, empty or not |
//! | proving | [`AT_A_TIME`] blocks at a time, in any order; the proven tip moves in the order of the chain |
//! | a proof | of zero bytes: this version's are stand-ins |
//! | a proof that fails | is asked for again at once, three times in all; then the whole sequencer ends |
//! | a sequencer that starts again | makes blocks at once, and has those proven that were not |

#![allow(clippy::disallowed_methods, reason = "the programs are processes, which keep real time")]

use crate::{
    DEADLINE, Recorder, Running,
    node::{PARTITION, Tuning},
    program::{Log, PATIENCE, Program, free, program, shown},
};
use commonware_runtime::{Supervisor as _, tokio::Context};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tidewatch_sources::{
    miden::{self, MidenSource},
    rpc::GrpcWeb,
};
use tokio::{net::TcpListener, sync::watch};

/// Between two blocks.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Blocks that are proven at a time.
pub const AT_A_TIME: u32 = 2;

/// The two programs of a network, and ours.
#[derive(Clone, Debug)]
pub struct Programs {
    validator: PathBuf,
    node: PathBuf,
    tidewatch: PathBuf,
}

impl Programs {
    /// Those that `scripts/miden-network` built, beside `directory`: the test binary's `CARGO_TARGET_TMPDIR`.
    ///
    /// # Panics
    ///
    /// If they are not there: who runs these tests wants them to run.
    pub fn find(directory: &str) -> Self {
        let find = |path: &str| {
            let path = Path::new(directory).with_file_name(path);
            assert!(path.is_file(), "{} is missing: run scripts/miden-network", path.display());
            path
        };
        Self {
            validator: find("miden/bin/miden-validator"),
            node: find("miden/bin/miden-node"),
            tidewatch: find("debug/tidewatch"),
        }
    }
}

/// What a [`SlowProver`] does with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proving {
    /// Proves it after a while.
    After(Duration),
    /// Says at once that it cannot.
    Fails,
}

/// A remote prover of blocks, `remote_prover.Api/Prove` by gRPC, whose proofs are those of the version: empty.
#[derive(Debug)]
pub struct SlowProver {
    address: SocketAddr,
    proving: watch::Sender<Proving>,
}

impl SlowProver {
    /// Listens on loopback until the runtime ends.
    pub async fn start(proving: Proving) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = listener.local_addr().expect("it has an address");
        let (proving, at) = watch::channel(proving);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let at = at.clone();
                let service = service_fn(move |request| prove(request, at.clone()));
                let served = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                // A connection that breaks is its client's affair.
                tokio::spawn(served);
            }
        });
        Self { address, proving }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on; those that wait, too.
    pub fn set(&self, proving: Proving) {
        self.proving.send_replace(proving);
    }
}

/// A gRPC answer: an empty message, or status 13, "internal".
async fn prove(
    request: Request<Incoming>,
    mut proving: watch::Receiver<Proving>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/remote_prover.Api/Prove");
    // The blocks themselves are not looked at: who proves them is another test's affair.
    let _ = request.into_body().collect().await;
    let proves = loop {
        let wait = match *proving.borrow_and_update() {
            Proving::Fails => break false,
            Proving::After(wait) => wait,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => break true,
            changed = proving.changed() => if changed.is_err() { break false },
        }
    };
    let (message, status): (&[u8], _) = if proves { (&[0; 5], "0") } else { (&[], "13") };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let body = Full::new(Bytes::from_static(message))
        .with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// `tidewatch prover-worker --miden`. It ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    tidewatch: PathBuf,
    directory: TempDir,
    address: SocketAddr,
    program: Option<Program>,
    log: Log,
}

impl Worker {
    /// Starts one, and waits until it listens.
    pub async fn start(programs: &Programs) -> Self {
        let mut worker = Self {
            tidewatch: programs.tidewatch.clone(),
            directory: tempfile::tempdir().expect("a directory"),
            address: free(),
            program: None,
            log: Log::default(),
        };
        worker.run().await;
        worker
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    async fn run(&mut self) {
        let mut command = program(&self.tidewatch, self.directory.path());
        command.args(["prover-worker", "--miden", "--listen", &self.address.to_string()]);
        let program = Program::start(command, &self.log);
        listens(self.address, &program, &self.log).await;
        self.program = Some(program);
    }

    /// Kills it, and starts it again at once.
    pub async fn kill(&mut self) {
        self.program.take().expect("it runs").end("-KILL").await;
        self.run().await;
    }
}

/// Waits until `program` listens.
async fn listens(address: SocketAddr, program: &Program, log: &Log) {
    let up = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(program.is_running(), "it ended:\n{}", shown(log));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let up = tokio::time::timeout(PATIENCE, up).await;
    up.unwrap_or_else(|_| panic!("nobody listens at {address}:\n{}", shown(log)));
}

/// A network: see the [module](self). It ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    programs: Programs,
    directory: TempDir,
    rpc: SocketAddr,
    signer: SocketAddr,
    /// Who proves.
    prover: SocketAddr,
    validator: Option<Program>,
    sequencer: Option<Program>,
    logs: [Log; 2],
}

impl Network {
    /// Makes a genesis, starts both programs, and waits until the sequencer answers. Blocks are proven by who listens at
    /// `prover`.
    pub async fn start(programs: &Programs, prover: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut network = Self {
            programs: programs.clone(),
            directory,
            rpc: free(),
            signer: free(),
            prover,
            validator: None,
            sequencer: None,
            logs: Default::default(),
        };
        for name in ["validator", "genesis", "accounts", "node"] {
            fs::create_dir(network.path(name)).expect("is made");
        }
        let mut genesis = std::process::Command::new(&network.programs.validator);
        genesis.arg("bootstrap").arg("--data-directory").arg(network.path("validator"));
        genesis.arg("--genesis-block-directory").arg(network.path("genesis"));
        genesis.arg("--accounts-directory").arg(network.path("accounts"));
        let mut node = std::process::Command::new(&network.programs.node);
        node.arg("bootstrap").arg("--data-directory").arg(network.path("node"));
        node.arg("--file").arg(network.path("genesis/genesis.dat"));
        for command in [&mut genesis, &mut node] {
            let made = command.output().expect("it runs");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        network.start_validator();
        network.start_sequencer().await;
        network
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the sequencer answers.
    pub const fn address(&self) -> SocketAddr {
        self.rpc
    }

    fn start_validator(&mut self) {
        let mut command = program(&self.programs.validator, self.directory.path());
        command.arg("start").args(["--listen", &self.signer.to_string()]);
        command.arg("--data-directory").arg(self.path("validator"));
        self.validator = Some(Program::start(command, &self.logs[0]));
    }

    /// Starts the sequencer with what it has on disk, and waits until it listens.
    pub async fn start_sequencer(&mut self) {
        let mut command = program(&self.programs.node, self.directory.path());
        command.arg("sequencer").arg(format!("--rpc.listen={}", self.rpc));
        command.arg("--data-directory").arg(self.path("node"));
        command.arg(format!("--validator.url=http://{}", self.signer));
        // Nobody has to listen there: there are no network transactions.
        command.arg(format!("--ntx-builder.url=http://{}", free()));
        command.arg(format!("--block.interval={}s", INTERVAL.as_secs()));
        command.arg(format!("--block-prover.url=http://{}", self.prover));
        command.arg(format!("--block.max-concurrent-proofs={AT_A_TIME}"));
        let sequencer = Program::start(command, &self.logs[1]);
        listens(self.rpc, &sequencer, &self.logs[1]).await;
        self.sequencer = Some(sequencer);
    }

    fn is_running(&self) -> bool {
        self.sequencer.as_ref().is_some_and(Program::is_running)
    }

    /// Waits until the sequencer has ended by itself.
    pub async fn sequencer_ended(&mut self) {
        let ended = async {
            while self.is_running() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(DEADLINE, ended).await;
        ended.unwrap_or_else(|_| panic!("it runs:\n{}", self.shown()));
        self.sequencer = None;
    }

    /// Kills the sequencer, which has no time to write anything down.
    pub async fn kill_sequencer(&mut self) {
        self.sequencer.take().expect("it runs").end("-KILL").await;
    }

    /// The last lines of both.
    pub fn shown(&self) -> String {
        let names = ["validator", "sequencer"];
        names.iter().zip(&self.logs).map(|(name, log)| format!("{name}:\n{}", shown(log))).collect()
    }
}

/// A running follower of a Miden node.
pub type MidenNode = Running<MidenSource<Context, GrpcWeb<Context>>>;

impl MidenNode {
    /// Opens source and store in the storage of `context`, and follows the node at `address`.
    pub async fn start(context: &Context, address: &str, tuning: &Tuning) -> Self {
        let recorder = Arc::new(Recorder::default());
        let address = address.parse().expect("an address");
        let opened =
            miden::open(context.child("source"), &[address], recorder.clone(), &tuning.rpc);
        let source = opened.expect("the source opens");
        Self::follow(context, source, (), recorder, (tuning.driver.clone(), PARTITION)).await
    }
}
