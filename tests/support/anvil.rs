//! A real Ethereum node that does as a test says.
//!
//! # Overview
//!
//! [`Anvil`] is a process of the node anvil with a chain in memory, on a port of its own. It makes no
//! block by itself: the chain stands still between two calls. A test that ends takes the process with
//! it, however it ends: a shell in between ends the node when its standard input closes.
//!
//! # What this node does
//!
//! Seen of version 1.7.1, and what tests count on:
//!
//! | what | how |
//! |---|---|
//! | `latest` | the newest block; `pending` is one above it, `earliest` is genesis |
//! | `safe` | [`Options::epoch`] blocks below `latest`, at any height, and genesis if there are fewer |
//! | `finalized` | as far below `safe` as that is below `latest` |
//! | an epoch of 0 | every block is safe and finalized at once |
//! | `anvil_mine` | makes blocks one by one: an observer may see any height in between |
//! | `anvil_reorg` | replaces as many blocks with as many others: first a shorter chain is there, then a longer one, and `safe` and `finalized`, which are counted from the top, go back with it and come again. It goes as deep as it is told, below `finalized` too |
//! | `anvil_rollback` | takes blocks away, and `safe` and `finalized` go back as far |
//! | a depth above the height, or of 0 | an error, and nothing happens |
//! | `eth_getBlockByNumber` above the tip | `null`, as for a hash that is not known |
//! | `newHeads` | one notification for each new block, those of a reorg included, in order; none for blocks that are taken away |
//! | batches | of any length up to 2 MiB of request; above it one error, `-32600`, with no id, over HTTP status 200 |
//! | its own time | stands at genesis but for the seconds that pass: many blocks have the same |
//! | two blocks on one parent | are one and the same block, if second, base fee and beneficiary are the same: a long chain with no transactions would be replaced by itself. [`Anvil`] sets another beneficiary each time |
//! | the end of the process | SIGTERM and SIGINT write the chain down; with the states of old blocks, the next process can reorg what the last one made |

use crate::DEADLINE;
use alloy_primitives::{Address, B256, U64};
use commonware_utils::sync::Mutex;
use jsonrpsee_core::{
    client::{ClientT as _, Error},
    params::ArrayParams,
    rpc_params,
};
use jsonrpsee_http_client::HttpClient;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use tidewatch_core::{BlockRef, Digest, Height};
use tokio::sync::oneshot;

/// Runs the node until standard input closes, then ends it as an operator would. Were the node started
/// without it, a test that is killed would leave it behind.
const SHELL: &str = r#""$@" 2>&1 & exec >/dev/null; cat; kill "$!"; wait "$!""#;

/// Before the address that it listens on.
const LISTENING: &str = "Listening on ";

/// Lines of the node's log that a failure shows.
const LINES: usize = 40;

/// What kind of chain it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How far `safe` is below `latest`, and `finalized` below `safe`.
    pub epoch: u64,
    /// When genesis was, in seconds since the Unix epoch. Another time is another genesis.
    pub genesis: u64,
    /// The chain's number.
    pub chain: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { epoch: 32, genesis: 1_700_000_000, chain: 31_337 }
    }
}

/// The three tags that a node has for its tips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    /// The newest block.
    pub latest: BlockRef,
    /// The newest safe one.
    pub safe: BlockRef,
    /// The newest finalized one.
    pub finalized: BlockRef,
}

/// The last lines that the node wrote.
type Log = Arc<Mutex<VecDeque<String>>>;

/// A node: see the [module](self). It ends when this is dropped.
#[derive(Debug)]
pub struct Anvil {
    executable: PathBuf,
    /// Its chain, while it does not run, and what else it writes.
    directory: TempDir,
    address: SocketAddr,
    client: HttpClient,
    process: Option<Child>,
    log: Log,
    /// How often blocks were made. Blocks of each time have another beneficiary.
    made: AtomicU64,
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

impl Anvil {
    /// Starts a node of `executable` at genesis, and waits until it listens.
    pub async fn start(executable: &Path, options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = Log::default();
        // Port 0: the system knows a free one.
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, address) = spawn(executable, directory.path(), address, options, &log).await;
        let client = HttpClient::builder().request_timeout(DEADLINE);
        let client = client.build(format!("http://{address}")).expect("an address");
        let process = Some(process);
        let (executable, made) = (executable.to_owned(), AtomicU64::new(0));
        Self { executable, directory, address, client, process, log, made }
    }

    /// Where it listens, such as `127.0.0.1:8545`: the same for as long as this lives.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the process. It keeps its chain.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        drop(process.stdin.take());
        // Whether it ended well is seen by what the next one has.
        let _ = process.wait();
    }

    /// Starts it again where it was, with the chain that it had, ending the process that runs. Where
    /// `safe` and `finalized` are may be said anew; genesis and number stay those of the chain.
    pub async fn restart(&mut self, options: Options) {
        self.stop();
        let directory = self.directory.path();
        let (process, address) =
            spawn(&self.executable, directory, self.address, options, &self.log).await;
        assert_eq!(address, self.address);
        self.process = Some(process);
    }

    /// Puts another chain in its place, at its genesis.
    pub async fn replace(&mut self, options: Options) {
        self.stop();
        std::fs::remove_file(state(self.directory.path())).expect("it kept its chain");
        self.restart(options).await;
    }

    /// Makes `blocks` blocks.
    pub async fn mine(&self, blocks: u64) {
        self.vary().await;
        self.call::<()>("anvil_mine", rpc_params![U64::from(blocks)]).await;
    }

    /// Replaces the newest `depth` blocks, by as many others.
    pub async fn reorg(&self, depth: u64) {
        self.vary().await;
        let transactions: [(); 0] = [];
        self.call::<()>("anvil_reorg", rpc_params![depth, transactions]).await;
    }

    /// The blocks to come are none that ever were.
    async fn vary(&self) {
        let mut beneficiary = [0; 20];
        let made = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        beneficiary[12..].copy_from_slice(&made.to_be_bytes());
        self.call::<()>("anvil_setCoinbase", rpc_params![Address::from(beneficiary)]).await;
    }

    /// Takes the newest `depth` blocks away.
    pub async fn roll_back(&self, depth: u64) {
        self.call::<()>("anvil_rollback", rpc_params![depth]).await;
    }

    /// The block at `height`; none above the tip.
    pub async fn block(&self, height: u64) -> Option<BlockRef> {
        self.block_at(&format!("{height:#x}")).await
    }

    /// The blocks from genesis to the newest.
    pub async fn chain(&self) -> Vec<BlockRef> {
        let mut blocks = Vec::new();
        while let Some(block) = self.block(blocks.len() as u64).await {
            blocks.push(block);
        }
        blocks
    }

    /// Where its tips are.
    pub async fn tags(&self) -> Tags {
        let at = async |tag| self.block_at(tag).await.expect("every tag is known");
        Tags {
            latest: at("latest").await,
            safe: at("safe").await,
            finalized: at("finalized").await,
        }
    }

    async fn block_at(&self, at: &str) -> Option<BlockRef> {
        let header: Option<Header> =
            self.call("eth_getBlockByNumber", rpc_params![at, false]).await;
        header.map(BlockRef::from)
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, params: ArrayParams) -> T {
        let answer: Result<T, Error> = self.client.request(method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}\n{}", shown(&self.log)))
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.stop();
    }
}

fn state(directory: &Path) -> PathBuf {
    directory.join("chain.json")
}

/// Starts a process, and waits until it says where it listens.
async fn spawn(
    executable: &Path,
    directory: &Path,
    address: SocketAddr,
    options: Options,
    log: &Log,
) -> (Child, SocketAddr) {
    let Options { epoch, genesis, chain } = options;
    let mut command = Command::new("sh");
    command.args(["-c", SHELL, "sh"]).arg(executable);
    command.args(["--host".into(), address.ip().to_string()]);
    command.args(["--port".into(), address.port().to_string()]);
    command.args(["--slots-in-an-epoch".into(), epoch.to_string()]);
    command.args(["--timestamp".into(), genesis.to_string()]);
    command.args(["--chain-id".into(), chain.to_string()]);
    command.args(["--no-mining", "--preserve-historical-states", "--accounts", "0"]);
    command.arg("--state").arg(state(directory)).arg("--cache-path").arg(directory);
    // What it keeps of old states below the home directory outlives a node that was killed.
    command.env("HOME", directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().expect("there is a shell");
    let output = process.stdout.take().expect("it is piped");
    let (listens, listening) = oneshot::channel();
    let lines = log.clone();
    std::thread::spawn(move || drain(output, &lines, listens));
    match tokio::time::timeout(DEADLINE, listening).await {
        Ok(Ok(address)) => (process, address),
        unheard => {
            drop(process.stdin.take());
            let _ = process.wait();
            panic!("anvil does not listen ({unheard:?}):\n{}", shown(log));
        }
    }
}

/// Reads what the node writes until it ends, so that it never waits for a reader.
fn drain(output: impl Read, log: &Log, listens: oneshot::Sender<SocketAddr>) {
    let mut listens = Some(listens);
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let address = line.strip_prefix(LISTENING).and_then(|address| address.parse().ok());
        if let (Some(address), Some(listens)) = (address, listens.take_if(|_| address.is_some())) {
            // Whoever waited may have given up.
            let _ = listens.send(address);
        }
        let mut log = log.lock();
        if log.len() == LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}

fn shown(log: &Log) -> String {
    log.lock().iter().map(|line| format!("  {line}\n")).collect()
}
