//! An execution node that lives in the test.

use crate::rpc::{Answer, Call, Rpc, RpcError, Toll, Unanswered};
use alloy_consensus::Header;
use alloy_primitives::{B256, U64, U256};
use alloy_rpc_types_eth::Header as RpcHeader;
use commonware_runtime::{Clock as _, Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use serde_json::{Value, json, value::to_raw_value};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tidewatch_conformance::Stage;
use tidewatch_core::{Bell, BlockRef, Digest, Doorbell, FaultKind, Height};

/// What a request is answered, from the calls in it and what would be true.
pub(crate) type Tamper =
    Box<dyn FnMut(&[Call], Vec<Answer>) -> Result<Vec<Answer>, Unanswered> + Send + Sync>;

/// The chain behind a node, and how the node behaves.
pub(crate) struct World {
    pub(crate) id: u64,
    /// How its headers hash.
    hash: fn(&Header) -> B256,
    pub(crate) canonical: Vec<Header>,
    /// What it says of height 0, where that is not the header there.
    genesis: Option<Value>,
    blocks: HashMap<B256, Header>,
    pub(crate) safe: Option<u64>,
    pub(crate) finalized: Option<u64>,
    /// The first level of L1 that it knows, where it is a node of Etherlink: each level makes five blocks final.
    pub(crate) level: Option<i32>,
    /// The highest number that it pushed.
    pub(crate) pushed: Option<u64>,
    forks: u64,
    /// Between two blocks, in the chain's own unit.
    pub(crate) step: u64,
    /// Calls that it takes in one batch.
    pub(crate) batch_max: usize,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) latency: Duration,
    /// Of every request, the number of its calls.
    pub(crate) requests: Vec<usize>,
}

/// A scripted node. Clones are handles of one.
#[derive(Clone)]
pub(crate) struct Node {
    context: Arc<Context>,
    name: String,
    world: Arc<Mutex<World>>,
    bell: Arc<Bell>,
}

/// A block of a chain whose headers hash as Ethereum's do.
pub(crate) fn reference(header: &Header) -> BlockRef {
    BlockRef::new(Height::new(header.number), Digest(header.hash_slow().0))
}

impl Node {
    /// A chain of genesis and `blocks` more.
    pub(crate) fn new(context: Context, name: &str, id: u64, blocks: u64) -> Self {
        Self::of(context, name, World::new(id, blocks))
    }

    /// A node of this chain.
    pub(crate) fn of(context: Context, name: &str, world: World) -> Self {
        Self {
            context: Arc::new(context),
            name: name.into(),
            world: Arc::new(Mutex::new(world)),
            bell: Arc::default(),
        }
    }

    /// Another node of the same chain as it is now, which then goes its own way.
    pub(crate) fn twin(&self, name: &str) -> Self {
        let twin = Self::new(self.context.child("twin"), name, 0, 0);
        self.change(|ours| {
            twin.change(|theirs| {
                theirs.id = ours.id;
                theirs.canonical = ours.canonical.clone();
                theirs.blocks = ours.blocks.clone();
                (theirs.safe, theirs.finalized) = (ours.safe, ours.finalized);
            });
        });
        twin
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.world.lock());
        self.bell.ring();
        result
    }

    pub(crate) fn tamper(
        &self,
        tamper: impl FnMut(&[Call], Vec<Answer>) -> Result<Vec<Answer>, Unanswered>
        + Send
        + Sync
        + 'static,
    ) {
        self.change(|world| world.tamper = Some(Box::new(tamper)));
    }

    /// What it answers if nobody tampers.
    pub(crate) fn truth(&self, calls: &[Call]) -> Vec<Answer> {
        let world = self.world.lock();
        calls.iter().map(|call| world.answer(call.method, &call.params)).collect()
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn requests(&self) -> usize {
        self.world.lock().requests.len()
    }

    pub(crate) fn tip(&self) -> BlockRef {
        self.change(|world| world.reference(world.canonical.last().unwrap()))
    }

    pub(crate) fn at(&self, height: u64) -> BlockRef {
        self.change(|world| world.reference(&world.canonical[height as usize]))
    }
}

impl World {
    /// Genesis and `blocks` more.
    pub(crate) fn new(id: u64, blocks: u64) -> Self {
        Self::on(None, id, blocks)
    }

    /// A chain whose block at height 0 is `genesis` as a node says it, and `blocks` more.
    pub(crate) fn on(genesis: Option<Value>, id: u64, blocks: u64) -> Self {
        Self::with(Header::hash_slow, genesis, id, blocks)
    }

    /// A chain whose headers hash by this rule.
    pub(crate) fn hashed(hash: fn(&Header) -> B256, id: u64, blocks: u64) -> Self {
        Self::with(hash, None, id, blocks)
    }

    fn with(hash: fn(&Header) -> B256, genesis: Option<Value>, id: u64, blocks: u64) -> Self {
        let first = Header { gas_limit: id, timestamp: 1_700_000_000, ..Header::default() };
        let mut world = Self {
            id,
            hash,
            genesis,
            blocks: HashMap::from([(hash(&first), first.clone())]),
            canonical: vec![first],
            safe: Some(0),
            finalized: Some(0),
            level: None,
            pushed: None,
            forks: 0,
            step: 12,
            batch_max: usize::MAX,
            tamper: None,
            latency: Duration::from_millis(1),
            requests: Vec::new(),
        };
        world.extend(blocks);
        world
    }

    pub(crate) fn extend(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let below = self.canonical.last().unwrap();
            let genesis = self.genesis.as_ref().filter(|_| below.number == 0);
            let genesis =
                genesis.map(|block| serde_json::from_value(block["hash"].clone()).unwrap());
            let header = Header {
                number: below.number + 1,
                parent_hash: genesis.unwrap_or_else(|| (self.hash)(below)),
                timestamp: below.timestamp + self.step,
                // Forks differ in something.
                nonce: self.forks.to_be_bytes().into(),
                state_root: B256::from(U256::from(self.forks)),
                gas_limit: self.id,
                ..Header::default()
            };
            self.blocks.insert((self.hash)(&header), header.clone());
            self.canonical.push(header);
        }
    }

    /// Takes `depth` blocks away and puts `blocks` others in their place.
    pub(crate) fn reorg(&mut self, depth: u64, blocks: u64) {
        self.canonical.truncate(self.canonical.len() - depth as usize);
        self.forks += 1;
        self.extend(blocks);
        let top = self.height();
        self.safe = self.safe.map(|safe| safe.min(top - blocks));
        assert!(self.finalized <= Some(top - blocks), "finalized blocks stay");
    }

    fn reference(&self, header: &Header) -> BlockRef {
        BlockRef::new(Height::new(header.number), Digest((self.hash)(header).0))
    }

    pub(crate) fn height(&self) -> u64 {
        self.canonical.len() as u64 - 1
    }

    pub(crate) fn answer(&self, method: &str, params: &[Value]) -> Answer {
        let block = |header: Option<&Header>| {
            let Some(header) = header else { return Value::Null };
            let mut block = serde_json::to_value(RpcHeader::new(header.clone())).unwrap();
            block["hash"] = json!((self.hash)(header));
            block["transactions"] = json!([]);
            block["uncles"] = json!([]);
            block
        };
        let at = |height: Option<u64>| self.canonical.get(height? as usize);
        let value = match (method, params.first()) {
            ("eth_chainId", None) => json!(U64::from(self.id)),
            ("eth_getBlockByNumber", Some(tag)) => match tag.as_str().unwrap() {
                "latest" => block(self.canonical.last()),
                "safe" => block(at(self.safe)),
                "finalized" => block(at(self.finalized)),
                "0x0" if self.genesis.is_some() => self.genesis.clone().unwrap(),
                number => {
                    let height = u64::from_str_radix(&number[2..], 16).unwrap();
                    block(at(Some(height)))
                }
            },
            ("eth_getBlockByHash", Some(hash)) => {
                let hash: B256 = serde_json::from_value(hash.clone()).unwrap();
                block(self.blocks.get(&hash))
            }
            ("tez_getFinalizedBlocksOfL1Level", Some(level)) if self.level.is_some() => {
                let first = self.level.unwrap();
                let nth = level.as_i64().unwrap() - i64::from(first);
                let end = (nth + 1) * 5;
                if nth < 0 || end as u64 > self.finalized.unwrap_or_default() {
                    let message = format!("Unknown L1 block {level}");
                    return Err(RpcError { code: -32001, message });
                }
                json!({ "startBlockNumber": U64::from(end - 5), "endBlockkNumber": U64::from(end) })
            }
            (method, _) => {
                let message = format!("the method {method} does not exist");
                return Err(RpcError { code: -32601, message });
            }
        };
        Ok(to_raw_value(&value).unwrap())
    }
}

impl Rpc for Node {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let latency = self.world.lock().latency;
        self.context.sleep(latency).await;
        let (batch_max, tamper) = {
            let mut world = self.world.lock();
            world.requests.push(calls.len());
            (world.batch_max, world.tamper.take())
        };
        if calls.len() > batch_max {
            let fault = FaultKind::Unavailable.fault(&self.name, "batch too large");
            return Err(Unanswered::TooMany(fault));
        }
        let truth = self.truth(calls);
        let Some(mut tamper) = tamper else { return Ok(truth) };
        let answers = tamper(calls, truth);
        self.world.lock().tamper.get_or_insert(tamper);
        answers
    }

    fn doorbell(&self, _: Toll) -> Doorbell {
        self.bell.listen()
    }

    fn pushed(&self) -> Option<u64> {
        self.world.lock().pushed
    }
}

impl Stage for Node {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        self.change(|world| world.extend(blocks));
        true
    }

    async fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        self.change(|world| world.reorg(depth, blocks));
        true
    }

    async fn finalize(&mut self, blocks: u64) -> bool {
        self.change(|world| {
            world.finalized = world.finalized.map(|height| height + blocks);
            world.safe = world.safe.max(world.finalized);
        });
        true
    }
}
