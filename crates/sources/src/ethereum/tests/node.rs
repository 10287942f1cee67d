//! An execution node that lives in the test.

use crate::rpc::tests::node::{self, Backend};
use alloy_consensus::Header;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::Header as RpcHeader;
use commonware_runtime::{Supervisor as _, deterministic::Context};
use serde_json::{Value, json};
use std::collections::HashMap;
use tidewatch_core::{BlockRef, Digest, Height, Tier};
use tidewatch_testkit::node::{Answer, Chain, ethereum, unknown};

/// The chain behind a node.
#[derive(Clone)]
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
    forks: u64,
    /// Between two blocks, in the chain's own unit.
    pub(crate) step: u64,
}

/// A scripted node.
pub(crate) type Node = node::Node<World>;

/// A block of a chain whose headers hash as Ethereum's do.
pub(crate) fn reference(header: &Header) -> BlockRef {
    BlockRef::new(Height::new(header.number), Digest(header.hash_slow().0))
}

impl Node {
    /// A chain of genesis and `blocks` more.
    pub(crate) fn new(context: Context, name: &str, id: u64, blocks: u64) -> Self {
        Self::of(context, name, World::new(id, blocks))
    }

    /// Another node of the same chain as it is now, which then goes its own way.
    pub(crate) fn twin(&self, name: &str) -> Self {
        let world = World::clone(&self.world.lock());
        Self::of(self.context().child("twin"), name, world)
    }

    pub(crate) fn tip(&self) -> BlockRef {
        let world = self.world.lock();
        world.reference(world.canonical.last().unwrap())
    }

    pub(crate) fn at(&self, height: u64) -> BlockRef {
        let world = self.world.lock();
        world.reference(&world.canonical[height as usize])
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
            forks: 0,
            step: 12,
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

    fn json(&self, header: &Header) -> Value {
        let mut block = serde_json::to_value(RpcHeader::new(header.clone())).unwrap();
        block["hash"] = json!((self.hash)(header));
        block["transactions"] = json!([]);
        block["uncles"] = json!([]);
        block
    }

    pub(crate) fn answer(&self, method: &str, params: &[Value]) -> Answer {
        let level = || ethereum::levels(self, (self.level?.into(), 5), method, params);
        let answer = ethereum::answer(self, method, params).or_else(level);
        answer.unwrap_or_else(|| unknown(method))
    }
}

impl Chain for World {
    fn id(&self) -> u64 {
        self.id
    }

    fn tip(&self, tier: Tier) -> Option<u64> {
        match tier {
            Tier::Proposed => Some(self.height()),
            Tier::Checkpointed | Tier::Proven => self.safe,
            Tier::Finalized => self.finalized,
        }
    }

    fn block(&self, height: u64) -> Option<Value> {
        let genesis = self.genesis.clone().filter(|_| height == 0);
        genesis.or_else(|| Some(self.json(self.canonical.get(height as usize)?)))
    }

    fn hashed(&self, hash: &Value) -> Option<Value> {
        let hash: B256 = serde_json::from_value(hash.clone()).unwrap();
        self.blocks.get(&hash).map(|header| self.json(header))
    }
}

impl Backend for World {
    fn answer(&mut self, method: &str, params: &[Value]) -> Answer {
        Self::answer(self, method, params)
    }

    fn extend(&mut self, blocks: u64) {
        Self::extend(self, blocks);
    }

    fn reorg(&mut self, depth: u64, blocks: u64) -> bool {
        Self::reorg(self, depth, blocks);
        true
    }

    fn finalize(&mut self, blocks: u64) -> bool {
        self.finalized = self.finalized.map(|height| height + blocks);
        self.safe = self.safe.max(self.finalized);
        true
    }
}
