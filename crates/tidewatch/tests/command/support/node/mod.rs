//! A node that answers JSON-RPC with what real nodes answered.

use axum::{
    Router,
    body::Bytes,
    extract::{
        Request, State,
        ws::{Message, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    thread,
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

struct Chain {
    id: u64,
    blocks: Vec<Value>,
    /// The latest block.
    top: AtomicU64,
    aztec: BTreeMap<String, Value>,
    /// Blocks of Tempo with their certificates, from height 1 on.
    certified: Vec<Value>,
    /// The path and the authorization of the last request.
    seen: std::sync::Mutex<(String, String)>,
}

/// A node for all families of addresses, until it is dropped with the test.
#[derive(Clone)]
pub(crate) struct Node {
    chain: Arc<Chain>,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Serves the chain up to `top`, under the number `id`.
    pub(crate) fn serve(id: u64, top: u64) -> Self {
        let recorded: Vec<Value> = serde_json::from_str(AZTEC).unwrap();
        let key = |call: &Value| {
            format!("{}{}", call["method"].as_str().unwrap_or_default(), call["params"])
        };
        let recorded = recorded.into_iter().map(|call| (key(&call), call["response"].clone()));
        Self::of(id, top, ETHEREUM, recorded.collect())
    }

    /// A node of Etherlink. Each level of its L1 made one block final.
    pub(crate) fn serve_etherlink(id: u64, top: u64) -> Self {
        Self::of(id, top, ETHERLINK, BTreeMap::new())
    }

    /// The same without Aztec, whose methods it does not know.
    pub(crate) fn serve_without_aztec(id: u64, top: u64) -> Self {
        Self::of(id, top, ETHEREUM, BTreeMap::new())
    }

    /// A node of Tempo, and the genesis of its network.
    pub(crate) fn serve_tempo(top: u64) -> (Self, String) {
        let network: Value = serde_json::from_str(TEMPO).unwrap();
        let list = |name: &str| network[name].as_array().unwrap().clone();
        let node = Self::start(Chain {
            id: network["id"].as_u64().unwrap(),
            blocks: list("blocks"),
            top: AtomicU64::new(top),
            aztec: BTreeMap::new(),
            certified: list("certified"),
            seen: std::sync::Mutex::default(),
        });
        (node, network["genesis"].to_string())
    }

    fn of(id: u64, top: u64, blocks: &str, aztec: BTreeMap<String, Value>) -> Self {
        Self::start(Chain {
            id,
            blocks: serde_json::from_str(blocks).unwrap(),
            top: AtomicU64::new(top),
            aztec,
            certified: Vec::new(),
            seen: std::sync::Mutex::default(),
        })
    }

    fn start(chain: Chain) -> Self {
        let chain = Arc::new(chain);
        let (bound, address) = channel();
        let served = chain.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let routes = Router::new().route("/ws", get(talk)).fallback(answer);
                let routes = routes.with_state(served);
                axum::serve(listener, routes).await.unwrap();
            });
        });
        Self { chain, address: address.recv().unwrap() }
    }

    pub(crate) fn grow_to(&self, top: u64) {
        self.chain.top.store(top, Ordering::Relaxed);
    }

    /// The path and the authorization of the last request.
    pub(crate) fn seen(&self) -> (String, String) {
        self.chain.seen.lock().unwrap().clone()
    }
}

async fn answer(State(chain): State<Arc<Chain>>, request: Request) -> Response {
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map_or("", |value| value.to_str().unwrap()).to_owned();
    *chain.seen.lock().unwrap() = (request.uri().to_string(), authorization);
    let body: Bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let response = Response::builder().header("content-type", "application/json");
    response.body(chain.answers(&body).into()).unwrap()
}

/// The same over a WebSocket. Of subscriptions it has that of Etherlink to levels of L1 alone, and pushes one at once.
async fn talk(State(chain): State<Arc<Chain>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            let Message::Text(asked) = message else { continue };
            let asked: Value = serde_json::from_str(&asked).unwrap_or_default();
            if asked["params"][0] == "tez_l1L2Levels" {
                let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": "0x9"});
                let level =
                    json!({"l1Level": 1, "startBlockNumber": "0x0", "endBlockNumber": "0x1"});
                let params = json!({"subscription": "0x9", "result": level});
                let pushed =
                    json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
                for message in [answer, pushed] {
                    let _ = socket.send(message.to_string().into()).await;
                }
                continue;
            }
            let _ = socket.send(chain.answers(asked.to_string().as_bytes()).into()).await;
        }
    })
}

impl Chain {
    fn answers(&self, asked: &[u8]) -> String {
        let asked: Value = serde_json::from_slice(asked).unwrap_or_default();
        let answers = match asked.as_array() {
            Some(calls) => calls.iter().map(|call| self.answer(call)).collect(),
            None => self.answer(&asked),
        };
        answers.to_string()
    }

    fn answer(&self, call: &Value) -> Value {
        let top = self.top.load(Ordering::Relaxed);
        let block = |height: u64| match height <= top {
            true => self.blocks[height as usize].clone(),
            false => Value::Null,
        };
        let result = match (call["method"].as_str().unwrap_or_default(), call["params"][0].as_str())
        {
            ("eth_chainId", _) => json!(format!("{:#x}", self.id)),
            ("eth_getBlockByNumber", Some("latest")) => block(top),
            ("eth_getBlockByNumber", Some("safe")) => block(top.saturating_sub(UNTIL_SAFE)),
            ("eth_getBlockByNumber", Some("finalized")) => {
                block(top.saturating_sub(2 * UNTIL_SAFE))
            }
            ("eth_getBlockByNumber", Some(height)) => {
                block(u64::from_str_radix(&height[2..], 16).unwrap())
            }
            ("eth_getBlockByHash", Some(hash)) => {
                let block = self.blocks[..=top as usize].iter().find(|it| it["hash"] == hash);
                block.cloned().unwrap_or_default()
            }
            ("consensus_getFinalization", query) => {
                let height = call["params"][0]["height"].as_u64();
                let height = height.or(query.map(|_| top)).unwrap();
                match height.checked_sub(1).filter(|_| height <= top) {
                    Some(at) => self.certified[at as usize].clone(),
                    None => {
                        let error = json!({"code": 503, "message": "can be retried later"});
                        return json!({"jsonrpc": "2.0", "id": call["id"], "error": error});
                    }
                }
            }
            ("tez_getFinalizedBlocksOfL1Level", _) => match call["params"][0].as_u64() {
                Some(level) if (1..=top.saturating_sub(2 * UNTIL_SAFE)).contains(&level) => json!({
                    "startBlockNumber": format!("{:#x}", level - 1),
                    "endBlockkNumber": format!("{level:#x}"),
                }),
                level => {
                    let message = format!("Unknown L1 block {level:?}");
                    let error = json!({"code": -32001, "message": message});
                    return json!({"jsonrpc": "2.0", "id": call["id"], "error": error});
                }
            },
            ("optimism_rollupConfig", _) => json!({
                "genesis": {"l2": {"hash": block(0)["hash"], "number": 0}}, "l2_chain_id": self.id,
            }),
            ("optimism_syncStatus", _) => json!({
                "unsafe_l2": self.l2(top), "safe_l2": self.l2(top.saturating_sub(UNTIL_SAFE)),
                "finalized_l2": self.l2(top.saturating_sub(2 * UNTIL_SAFE)),
            }),
            _ => return self.aztec(call),
        };
        json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
    }

    fn l2(&self, height: u64) -> Value {
        let block = &self.blocks[height as usize];
        json!({
            "hash": block["hash"], "number": height, "parentHash": block["parentHash"],
            "timestamp": 1_700_000_000 + height,
            "l1origin": {"hash": block["stateRoot"], "number": height / 3}, "sequenceNumber": 0,
        })
    }

    /// The recorded answers, with all tiers at block 2: of the blocks above it only headers were kept.
    fn aztec(&self, call: &Value) -> Value {
        let recorded = |key: &str| self.aztec.get(key).cloned();
        let answer = match call["method"].as_str().unwrap_or_default() {
            "node_getL2Tips" => {
                let mut tips = recorded("node_getL2Tips[]");
                let hash = "0x0ed40797a86db4dfb8c6deba4e9ab58aba468b0ffc3a8dc19c6cfb17d635f181";
                let two = json!({"number": 2, "hash": hash});
                let result = &mut tips.as_mut().unwrap()["result"];
                result["proposed"] = two.clone();
                ["checkpointed", "proven", "finalized"]
                    .iter()
                    .for_each(|tier| result[tier]["block"] = two.clone());
                tips
            }
            "node_getBlocks" => recorded("node_getBlocks[1,2]"),
            method => recorded(&format!("{method}{}", call["params"])),
        };
        let unknown = || {
            let message = format!("Method not found: {}", call["method"]);
            json!({"jsonrpc": "2.0", "error": {"code": -32601, "message": message}})
        };
        let mut answer = answer.unwrap_or_else(unknown);
        answer["id"] = call["id"].clone();
        answer
    }
}
