//! A real Ethereum chain: an execution client, a consensus client, and validators that attest.
//!
//! # Overview
//!
//! [`Chain`] is three processes of Node.js with a chain of their own, on ports of their own: EthereumJS, Lodestar with
//! the first five of eight validators, and a validator client of Lodestar's with the other three. Without those three
//! a block is missing now and then, and less than two thirds attest: the chain goes on, and nothing more becomes
//! final. A test that ends takes the processes with it, however it ends.
//!
//! # What these clients do
//!
//! Seen of EthereumJS 0.10.5 and Lodestar 1.5.1, and what tests count on:
//!
//! | what | how |
//! |---|---|
//! | a slot | [`SLOT`], or [`LONG_SLOT`]: a block in each, where its proposer runs |
//! | an epoch | [`EPOCH`] slots, by the preset `minimal` |
//! | `safe` | the block of the justified checkpoint, the first one of an epoch |
//! | `finalized` | one epoch below it. Both move by an epoch at a time; the first time is four epochs after genesis |
//! | until then | there is no `safe` and no `finalized` block |
//! | `eth_subscribe` | there is none: the execution client is polled, or its consensus client rings |
//! | an execution client that is away | the consensus client waits for it, and makes no block |
//! | a consensus client that is killed | begins at genesis, and has nobody to get the chain from. It is held still instead |
//! | an execution client that lost blocks | is not given them again: nobody else has them |

#![allow(clippy::disallowed_methods, reason = "the clients are processes, which keep real time")]

use crate::{
    DEADLINE,
    npm::Clients,
    program::{Log, PATIENCE, Program, free, program, shown},
};
use alloy_primitives::{B256, U64};
use jsonrpsee_core::{client::ClientT as _, params::ArrayParams, rpc_params};
use jsonrpsee_http_client::HttpClient;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tidewatch_core::{BlockRef, Digest, Height};

/// Between two blocks, in most tests.
pub const SLOT: Duration = Duration::from_secs(2);

/// The same where clients go away. A consensus client whose head is more than an epoch behind the clock waits for
/// peers, and there are none: what a test does to it, and to its execution client, must not take longer.
pub const LONG_SLOT: Duration = Duration::from_secs(5);

/// Slots of an epoch.
pub const EPOCH: u64 = 8;

/// How long a test waits for the first finality, or for the next one.
pub const FINALITY: Duration = Duration::from_secs(420);

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
    slot: Duration,
    directory: TempDir,
    ports: Ports,
    rpc: HttpClient,
    engine: HttpClient,
    execution: Option<Program>,
    consensus: Option<Program>,
    validators: Option<Program>,
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
    /// Starts a chain with a block each `slot`, of a genesis that `salt` makes another one, and waits until it has
    /// blocks.
    pub async fn start(clients: &Clients, slot: Duration, salt: u8) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let genesis = serde_json::from_str(include_str!("../consensus/genesis.json"));
        let mut genesis: Value = genesis.expect("is JSON");
        genesis["extraData"] = json!(format!("0x{salt:02x}"));
        fs::write(directory.path().join("genesis.json"), genesis.to_string()).expect("is written");
        let [rpc, engine, execution, rest, consensus] = std::array::from_fn(|_| free());
        let ports = Ports { rpc, engine, execution, rest, consensus };
        let client = |address| {
            let client = HttpClient::builder().request_timeout(DEADLINE);
            client.build(format!("http://{address}")).expect("an address")
        };
        let mut chain = Self {
            clients: clients.clone(),
            slot,
            directory,
            ports,
            rpc: client(rpc),
            engine: client(engine),
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
        let mut command = program("node", self.directory.path());
        command.arg(executable);
        command
    }

    /// Starts the execution client with what it has on disk, and waits until it answers.
    pub async fn start_execution(&mut self) {
        let mut command = self.node(&self.clients.execution);
        command.arg("--gethGenesis").arg(self.path("genesis.json"));
        command.arg("--dataDir").arg(self.path("execution"));
        let port = |address: SocketAddr| address.port().to_string();
        command.args(["--rpc", "--rpcAddr", "127.0.0.1", "--rpcPort", &port(self.ports.rpc)]);
        command.args(["--rpcEngine", "--rpcEngineAddr", "127.0.0.1"]);
        command.args(["--rpcEnginePort", &port(self.ports.engine), "--rpcEngineAuth=false"]);
        command.args(["--isSingleNode", "--discV4=false", "--discDns=false", "--maxPeers", "0"]);
        command.args(["--extIP", "127.0.0.1", "--port", &port(self.ports.execution)]);
        self.execution = Some(Program::start(command, &self.logs[0]));
        let up = async {
            let latest = || rpc_params!["latest", false];
            while self.rpc.request::<Header, _>("eth_getBlockByNumber", latest()).await.is_err() {
                let running = self.execution.as_ref().is_some_and(Program::is_running);
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
            ("SECONDS_PER_SLOT", self.slot.as_secs()),
            ("SECONDS_PER_ETH1_BLOCK", self.slot.as_secs()),
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
        self.consensus = Some(Program::start(command, &self.logs[1]));
    }

    /// Starts the three validators that are a process of their own.
    pub fn start_validators(&mut self) {
        let mut command = self.lodestar("validator");
        command.arg("--dataDir").arg(self.path("validators"));
        command.args(["--network", "dev", "--interopIndexes", "5..7"]);
        command.args(["--server", &format!("http://{}", self.ports.rest)]);
        self.validators = Some(Program::start(command, &self.logs[2]));
    }

    /// Kills the execution client, which has no time to write anything down.
    pub async fn kill_execution(&mut self) {
        self.execution.take().expect("it runs").end("-KILL").await;
    }

    /// Ends the execution client as an operator would.
    pub async fn stop_execution(&mut self) {
        self.execution.take().expect("it runs").end("-TERM").await;
    }

    /// Ends the three validators.
    pub async fn stop_validators(&mut self) {
        self.validators.take().expect("it runs").end("-TERM").await;
    }

    /// Holds the consensus client still, or lets it go on.
    pub fn hold(&self, still: bool) {
        let consensus = self.consensus.as_ref().expect("it runs");
        consensus.signal(if still { "-STOP" } else { "-CONT" });
    }

    /// Copies what the execution client, which must not run, has on disk to `name`, or back from there.
    pub fn copy_execution(&self, from: &str, to: &str) {
        assert!(self.execution.is_none(), "it writes");
        let _ = fs::remove_dir_all(self.path(to));
        let copied = Command::new("cp").arg("-a").args([self.path(from), self.path(to)]).status();
        assert!(copied.is_ok_and(|status| status.success()), "{from} to {to}");
    }

    /// Where the client keeps its chain, for [`copy_execution`](Self::copy_execution).
    pub const EXECUTION: &str = "execution";

    /// Takes the newest `depth` blocks of the execution client away and puts one other in their place, as a consensus
    /// client would have it do, with what is final staying so. The one that runs has to be held still.
    pub async fn roll_back(&self, depth: u64) -> BlockRef {
        let Tips { latest, finalized, .. } = self.tips().await;
        let finalized = finalized.expect("something is final");
        let keep = latest.height.get() - depth;
        assert!(
            keep >= finalized.height.get(),
            "{depth} blocks below {latest}, and {finalized} is final"
        );
        let hash = |block: BlockRef| format!("0x{}", block.digest);
        let state = |head: &str| {
            let finalized = hash(finalized);
            json!({"headBlockHash": head, "safeBlockHash": finalized, "finalizedBlockHash": finalized})
        };
        let parent = hash(self.at(keep).await);
        // Later than any block before it.
        let time = now() + 1;
        let attributes = json!({
            "timestamp": format!("{time:#x}"),
            "prevRandao": format!("0x{}", "77".repeat(32)),
            "suggestedFeeRecipient": format!("0x{}", "99".repeat(20)),
        });
        let ask = async |method, params| -> Value { call(&self.engine, method, params).await };
        let update = "engine_forkchoiceUpdatedV1";
        let begun = ask(update, rpc_params![state(&parent), attributes]).await;
        let payload = ask("engine_getPayloadV1", rpc_params![&begun["payloadId"]]).await;
        let given = ask("engine_newPayloadV1", rpc_params![&payload]).await;
        assert_eq!(given["status"], "VALID", "{given}");
        let head = payload["blockHash"].as_str().expect("a hash");
        ask(update, rpc_params![state(head), Value::Null]).await;
        let there = async {
            loop {
                let latest = self.tips().await.latest;
                if hash(latest) == head {
                    return latest;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, there).await.expect("it goes there")
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
                    let running = process.as_ref().is_none_or(Program::is_running);
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
        let time = |process: &Option<Program>| process.as_ref()?.processor_time();
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
