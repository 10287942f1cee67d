//! A node that answers JSON-RPC with what real nodes answered.

use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tidewatch_core::Tier;
use tidewatch_testkit::node::{
    Answer, Chain, Script, aztec, ethereum, notification, optimism, refused, unknown,
};

/// Blocks 0 to 12 of an anvil, which names its chain 31337.
const ETHEREUM: &str = include_str!("ethereum.json");

/// Blocks 0 to 12 of a chain that hashes as Etherlink does.
const ETHERLINK: &str = include_str!("../../../../../sources/src/etherlink/tests/blocks.json");

/// Answers of an Aztec node, with blocks 1 and 2 of 4.
const AZTEC: &str = include_str!("../../../../../sources/src/aztec/tests/fixtures/recorded.json");

/// A network of Tempo: its genesis, blocks 0 to 14, and the certificates of all but the first.
const TEMPO: &str = include_str!("../../../../../sources/src/tempo/tests/fixtures/network.json");

/// The lowest height that a block is finalized under.
pub(crate) const UNTIL_SAFE: u64 = 4;

struct Recorded {
    id: u64,
    blocks: Vec<Value>,
    /// The latest block.
    top: AtomicU64,
    aztec: Option<Aztec>,
    /// Blocks of Tempo with their certificates, from height 1 on.
    certified: Vec<Value>,
}

/// A node for all families of addresses, until it is dropped with the test.
#[derive(Clone)]
pub(crate) struct Node {
    chain: Arc<Recorded>,
    script: Script,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Serves the chain up to `top`, under the number `id`.
    pub(crate) fn serve(id: u64, top: u64) -> Self {
        Self::of(id, top, ETHEREUM, Some(Aztec::recorded()))
    }

    /// A node of Etherlink. Each level of its L1 made one block final.
    pub(crate) fn serve_etherlink(id: u64, top: u64) -> Self {
        Self::of(id, top, ETHERLINK, None)
    }

    /// The same without Aztec, whose methods it does not know.
    pub(crate) fn serve_without_aztec(id: u64, top: u64) -> Self {
        Self::of(id, top, ETHEREUM, None)
    }

    /// A node of Tempo, and the genesis of its network.
    pub(crate) fn serve_tempo(top: u64) -> (Self, String) {
        let network: Value = serde_json::from_str(TEMPO).unwrap();
        let list = |name: &str| network[name].as_array().unwrap().clone();
        let node = Self::start(Recorded {
            id: network["id"].as_u64().unwrap(),
            blocks: list("blocks"),
            top: AtomicU64::new(top),
            aztec: None,
            certified: list("certified"),
        });
        (node, network["genesis"].to_string())
    }

    fn of(id: u64, top: u64, blocks: &str, aztec: Option<Aztec>) -> Self {
        let (blocks, top) = (serde_json::from_str(blocks).unwrap(), AtomicU64::new(top));
        Self::start(Recorded { id, blocks, top, aztec, certified: Vec::new() })
    }

    /// Of subscriptions it has that of Etherlink to levels of L1 alone, and pushes one at once.
    fn start(chain: Recorded) -> Self {
        let chain = Arc::new(chain);
        let served = chain.clone();
        let script = Script::new(move |method, params| served.answer(method, params));
        let script = script.with_subscriptions(|_, params| {
            params.first().filter(|what| *what == "tez_l1L2Levels")?;
            let level = json!({"l1Level": 1, "startBlockNumber": "0x0", "endBlockNumber": "0x1"});
            Some(vec![notification("eth_subscription", &level)])
        });
        let script = script.with_sockets_at("/ws");
        Self { chain, address: script.serve_apart(), script }
    }

    pub(crate) fn grow_to(&self, top: u64) {
        self.chain.top.store(top, Ordering::Relaxed);
    }

    /// The path and the authorization of the last request.
    pub(crate) fn seen(&self) -> (String, String) {
        self.script.last()
    }
}

impl Chain for Recorded {
    fn id(&self) -> u64 {
        self.id
    }

    fn tip(&self, tier: Tier) -> Option<u64> {
        let below = match tier {
            Tier::Proposed => 0,
            Tier::Checkpointed | Tier::Proven => UNTIL_SAFE,
            Tier::Finalized => 2 * UNTIL_SAFE,
        };
        Some(self.top.load(Ordering::Relaxed).saturating_sub(below))
    }

    fn block(&self, height: u64) -> Option<Value> {
        let known = Some(height) <= self.tip(Tier::Proposed);
        known.then(|| self.blocks[usize::try_from(height).unwrap()].clone())
    }
}

impl Recorded {
    fn answer(&self, method: &str, params: &[Value]) -> Answer {
        ethereum::answer(self, method, params)
            .or_else(|| ethereum::levels(self, (1, 1), method, params))
            .or_else(|| optimism::answer(self, method))
            .or_else(|| self.finalization(method, params))
            .or_else(|| {
                let chain = self.aztec.as_ref()?;
                let mut answer = aztec::answer(chain, chain.version, 50, method, params)?;
                if let ("node_getL2Tips", Ok(tips)) = (method, &mut answer) {
                    for tier in ["checkpointed", "proven", "finalized"] {
                        tips[tier]["checkpoint"] = chain.tips[tier]["checkpoint"].clone();
                    }
                }
                Some(answer)
            })
            .unwrap_or_else(|| unknown(method))
    }

    /// What a node of Tempo answers in addition.
    fn finalization(&self, method: &str, params: &[Value]) -> Option<Answer> {
        let ("consensus_getFinalization", [query]) = (method, params) else { return None };
        let top = self.top.load(Ordering::Relaxed);
        let height = query["height"].as_u64().unwrap_or(top);
        let at = height.checked_sub(1).filter(|_| height <= top);
        let certified = at.and_then(|at| self.certified.get(usize::try_from(at).unwrap()));
        Some(certified.cloned().map_or_else(|| refused(503, "can be retried later"), Ok))
    }
}

/// What was recorded of Aztec, with all tiers at block 2: of the blocks above it only headers were kept.
struct Aztec {
    version: u64,
    id: u64,
    /// Whose checkpoints are given.
    tips: Value,
    blocks: Vec<Value>,
}

impl Aztec {
    fn recorded() -> Self {
        let recorded: Vec<Value> = serde_json::from_str(AZTEC).unwrap();
        let result = |method: &str, params: Value| {
            let is = |call: &&Value| call["method"] == method && call["params"] == params;
            recorded.iter().find(is).unwrap()["response"]["result"].clone()
        };
        let mut blocks = vec![json!({"header": result("node_getBlockHeader", json!([0]))})];
        blocks.extend(result("node_getBlocks", json!([1, 2])).as_array().unwrap().clone());
        let number = |method: &str| result(method, json!([])).as_u64().unwrap();
        Self {
            version: number("node_getVersion"),
            id: number("node_getChainId"),
            tips: result("node_getL2Tips", json!([])),
            blocks,
        }
    }
}

impl Chain for Aztec {
    fn id(&self) -> u64 {
        self.id
    }

    fn tip(&self, _: Tier) -> Option<u64> {
        Some(2)
    }

    fn block(&self, height: u64) -> Option<Value> {
        self.blocks.get(usize::try_from(height).unwrap()).cloned()
    }

    fn hash(&self, height: u64) -> Option<Value> {
        let two = "0x0ed40797a86db4dfb8c6deba4e9ab58aba468b0ffc3a8dc19c6cfb17d635f181";
        (height == 2).then(|| two.into())
    }
}
