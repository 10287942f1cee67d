//! A real Ethereum chain: an execution client, a consensus client, and validators that attest.
//!
//! # Overview
//!
//! [`Chain`] is three processes of Node.js with a chain of their own, on ports of their own: EthereumJS, Lodestar with
//! the first five of eight validators, and a validator client of Lodestar's with the other three. A test that ends
//! takes the processes with it, however it ends.
//!
//! # What these clients do
//!
//! Seen of EthereumJS 0.10.5 and Lodestar 1.5.1, and what tests count on:
//!
//! | what | how |
//! |---|---|
//! | a slot | [`SLOT`]: a block in each, where its proposer runs |
//! | an epoch | [`EPOCH`] slots, by the preset `minimal` |
//! | `safe` | the block of the justified checkpoint, the first one of an epoch |
//! | `finalized` | one epoch below it. Both move by an epoch at a time; the first time is four epochs after genesis |
//! | until then | there is no `safe` and no `finalized` block |
//! | `eth_subscribe` | there is none: the execution client is polled, or its consensus client rings |
//! | a chain without a block for an epoch | ends: its consensus client waits for peers then, and there are none |

#![allow(clippy::disallowed_methods, reason = "the clients are processes, which keep real time")]

use crate::{DEADLINE, npm::Clients};
use alloy_primitives::{B256, U64};
use commonware_utils::sync::Mutex;
use jsonrpsee::{
    core::{client::ClientT as _, params::ArrayParams},
    http_client::HttpClient,
    rpc_params,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tidewatch_core::{BlockRef, Digest, Height};

/// Between two blocks.
pub const SLOT: Duration = Duration::from_secs(2);

/// Slots of an epoch.
pub const EPOCH: u64 = 8;

/// How long a test waits for the first finality, or for the next one.
pub const FINALITY: Duration = Duration::from_secs(240);

/// Runs a program until standard input closes, and says which process it is. Were it started without a shell, a test
/// that is killed would leave it behind.
const SHELL: &str = r#""$@" 2>&1 & echo "pid $!"; exec >/dev/null; cat; kill -9 "$!"; wait "$!""#;

/// Lines of a log that a failure shows.
const LINES: usize = 60;

/// How long a client may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last lines that a process wrote.
type Log = Arc<Mutex<VecDeque<String>>>;

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
struct Process {
    shell: Child,
    pid: u32,
}

impl Process {
    fn start(mut command: Command, log: &Log) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("there is a shell");
        let mut lines = BufReader::new(shell.stdout.take().expect("it is piped")).lines();
        let first = lines.next().expect("the shell says something").expect("it is text");
        let pid = first.strip_prefix("pid ").and_then(|pid| pid.parse().ok()).expect(&first);
        let kept = log.clone();
        // So that it never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = kept.lock();
                if log.len() == LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        Self { shell, pid }
    }

    fn is_running(&self) -> bool {
        Command::new("kill")
            .args(["-0", &self.pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// The processor time that it took so far, where the system says it.
    fn processor_time(&self) -> Option<Duration> {
        /// Of the units in which Linux counts it.
        const A_SECOND: u32 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // Behind the name, which may hold anything: the state, and ten fields later the two times.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let units: u32 =
            fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
        Some(Duration::from_secs(units.into()) / A_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn shown(log: &Log) -> String {
    log.lock().iter().map(|line| format!("  {line}\n")).collect()
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("it has an address")
}

/// The ports of a chain.
#[derive(Clone, Copy, Debug)]
struct Ports {
    rpc: SocketAddr,
    engine: SocketAddr,
    execution: SocketAddr,
    rest: SocketAddr,
    consensus: SocketAddr,
}

/// Where a chain's tips are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tips {
    /// The newest block.
    pub latest: BlockRef,
    /// The newest safe one.
    pub safe: Option<BlockRef>,
    /// The newest final one.
    pub finalized: Option<BlockRef>,
}

impl Tips {
    /// The height up to which all is final.
    pub fn finalized(&self) -> u64 {
        self.finalized.map_or(0, |block| block.height.get())
    }
}

/// A chain: see the [module](self). It ends when this is dropped.
#[derive(Debug)]
pub struct Chain {
    clients: Clients,
    directory: TempDir,
    ports: Ports,
    rpc: HttpClient,
    execution: Option<Process>,
    consensus: Option<Process>,
    validators: Option<Process>,
    logs: [Log; 3],
    /// In seconds since the Unix epoch.
    genesis: u64,
    name: String,
}

#[derive(Deserialize)]
struct Header {
    number: U64,
    hash: B256,
}

impl From<Header> for BlockRef {
    fn from(header: Header) -> Self {
        Self::new(Height::new(header.number.to()), Digest(header.hash.0))
    }
}

impl Chain {
    /// Starts a chain, and waits until it has blocks.
    pub async fn start(clients: &Clients) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let genesis = include_str!("../consensus/genesis.json");
        fs::write(directory.path().join("genesis.json"), genesis).expect("is written");
        let [rpc, engine, execution, rest, consensus] = std::array::from_fn(|_| free());
        let ports = Ports { rpc, engine, execution, rest, consensus };
        let client = |address| {
            let client = HttpClient::builder().request_timeout(DEADLINE);
            client.build(format!("http://{address}")).expect("an address")
        };
        let mut chain = Self {
            clients: clients.clone(),
            directory,
            ports,
            rpc: client(rpc),
            execution: None,
            consensus: None,
            validators: None,
            logs: Default::default(),
            genesis: 0,
            name: String::new(),
        };
        chain.start_execution().await;
        chain.name = format!("0x{}", chain.block("0x0").await.expect("it has a genesis").digest);
        // Late enough for the consensus client to be up by then.
        chain.genesis = now() + 8;
        chain.start_consensus();
        chain.start_validators();
        chain.until_height(1).await;
        chain
    }

    /// Where the execution client answers.
    pub const fn address(&self) -> SocketAddr {
        self.ports.rpc
    }

    /// Where the consensus client answers.
    pub const fn beacon(&self) -> SocketAddr {
        self.ports.rest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn node(&self, executable: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", SHELL, "sh", "node"])
            .arg(executable)
            .current_dir(self.directory.path());
        command
    }

    /// Starts the execution client, and waits until it answers.
    async fn start_execution(&mut self) {
        let mut command = self.node(&self.clients.execution);
        command.arg("--gethGenesis").arg(self.path("genesis.json"));
        command.arg("--dataDir").arg(self.path("execution"));
        let port = |address: SocketAddr| address.port().to_string();
        command.args(["--rpc", "--rpcAddr", "127.0.0.1", "--rpcPort", &port(self.ports.rpc)]);
        command.args(["--rpcEngine", "--rpcEngineAddr", "127.0.0.1"]);
        command.args(["--rpcEnginePort", &port(self.ports.engine), "--rpcEngineAuth=false"]);
        command.args(["--isSingleNode", "--discV4=false", "--discDns=false", "--maxPeers", "0"]);
        command.args(["--extIP", "127.0.0.1", "--port", &port(self.ports.execution)]);
        self.execution = Some(Process::start(command, &self.logs[0]));
        let up = async {
            let latest = || rpc_params!["latest", false];
            while self.rpc.request::<Header, _>("eth_getBlockByNumber", latest()).await.is_err() {
                let running = self.execution.as_ref().is_some_and(Process::is_running);
                assert!(running, "it ended:\n{}", shown(&self.logs[0]));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let up = tokio::time::timeout(PATIENCE, up).await;
        up.unwrap_or_else(|_| panic!("no execution client:\n{}", shown(&self.logs[0])));
    }

    /// What the consensus client and its validators have to agree on.
    fn lodestar(&self, command: &str) -> Command {
        let mut lodestar = self.node(&self.clients.consensus);
        lodestar.arg(command);
        for (name, value) in [
            ("SECONDS_PER_SLOT", SLOT.as_secs()),
            ("SECONDS_PER_ETH1_BLOCK", SLOT.as_secs()),
            ("ETH1_FOLLOW_DISTANCE", 1),
            ("ALTAIR_FORK_EPOCH", 0),
            ("BELLATRIX_FORK_EPOCH", 0),
        ] {
            lodestar.args([format!("--params.{name}"), value.to_string()]);
        }
        lodestar.args(["--terminal-total-difficulty-override", "0", "--logLevel", "info"]);
        let polyfill =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("consensus/beacon/with-resolvers.cjs");
        lodestar.env("NODE_OPTIONS", format!("--require {}", polyfill.display()));
        lodestar.env("LODESTAR_PRESET", "minimal");
        // In place of native modules, which would have to be built.
        lodestar.env("NODE_BACKEND", "js");
        lodestar
    }

    /// Starts the consensus client, at genesis.
    fn start_consensus(&mut self) {
        let Ports { rpc, engine, rest, consensus, .. } = self.ports;
        let mut command = self.lodestar("dev");
        command.arg("--dataDir").arg(self.path("consensus"));
        command.args(["--genesisValidators", "8", "--startValidators", "0..4"]);
        command.args(["--genesisTime", &self.genesis.to_string(), "--genesisEth1Hash", &self.name]);
        command.args(["--eth1", "true", "--eth1.providerUrls", &format!("http://{rpc}")]);
        command.args(["--execution.urls", &format!("http://{engine}")]);
        command.args(["--rest.address", "127.0.0.1", "--rest.port", &rest.port().to_string()]);
        command.args(["--server", &format!("http://{rest}"), "--listenAddress", "127.0.0.1"]);
        command.args(["--port", &consensus.port().to_string()]);
        command.args(["--discv5", "false", "--enr.ip", "127.0.0.1"]);
        self.consensus = Some(Process::start(command, &self.logs[1]));
    }

    /// Starts the three validators that are a process of their own.
    fn start_validators(&mut self) {
        let mut command = self.lodestar("validator");
        command.arg("--dataDir").arg(self.path("validators"));
        command.args(["--network", "dev", "--interopIndexes", "5..7"]);
        command.args(["--server", &format!("http://{}", self.ports.rest)]);
        self.validators = Some(Process::start(command, &self.logs[2]));
    }

    /// The block at `at`, a tag or a height in hex; none where there is none.
    pub async fn block(&self, at: &str) -> Option<BlockRef> {
        let header: Option<Header> =
            call(&self.rpc, "eth_getBlockByNumber", rpc_params![at, false]).await;
        header.map(BlockRef::from)
    }

    /// The block at `height`.
    pub async fn at(&self, height: u64) -> BlockRef {
        self.block(&format!("{height:#x}")).await.expect("it has the block")
    }

    /// Where its tips are.
    pub async fn tips(&self) -> Tips {
        Tips {
            latest: self.block("latest").await.expect("it has a block"),
            safe: self.block("safe").await,
            finalized: self.block("finalized").await,
        }
    }

    /// Waits until the chain has `height`.
    pub async fn until_height(&self, height: u64) {
        let there = async {
            while self.block("latest").await.is_none_or(|latest| latest.height.get() < height) {
                for process in [&self.execution, &self.consensus, &self.validators] {
                    let running = process.as_ref().is_none_or(Process::is_running);
                    assert!(running, "a process ended by itself:\n{}", self.shown());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let there = tokio::time::timeout(FINALITY, there).await;
        there.unwrap_or_else(|_| panic!("there is no block {height}:\n{}", self.shown()));
    }

    /// The last lines of all three.
    pub fn shown(&self) -> String {
        let names = ["execution client", "consensus client", "validators"];
        names.iter().zip(&self.logs).map(|(name, log)| format!("{name}:\n{}", shown(log))).collect()
    }

    /// The processor time of the execution client, of the consensus client and of the validators so far.
    pub fn processor_times(&self) -> Option<[Duration; 3]> {
        let time = |process: &Option<Process>| process.as_ref()?.processor_time();
        Some([time(&self.execution)?, time(&self.consensus)?, time(&self.validators)?])
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is later than 1970").as_secs()
}

async fn call<T: DeserializeOwned>(client: &HttpClient, method: &str, params: ArrayParams) -> T {
    let answer = client.request(method, params).await;
    answer.unwrap_or_else(|error| panic!("{method}: {error}"))
}
