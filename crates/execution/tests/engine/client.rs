//! An execution client that does as a test says: `eth_` calls and the Engine API over HTTP.
//!
//! It keeps a chain and executes nothing: every block whose parent it has is valid. What it says instead of the
//! truth is up to its script.

use super::chain::{Fork, Whole};
use alloy_primitives::{B256, U64};
use alloy_rpc_types_engine::{
    CancunPayloadFields, ExecutionPayload, ExecutionPayloadSidecar, PraguePayloadFields,
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, mpsc::channel},
    time::Duration,
};
use tidewatch_core::BlockRef;
use tidewatch_execution::engine::Secret;
use tokio::sync::watch;

/// How long a test waits for what has to come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the client does with one call.
pub(crate) enum Does {
    /// What is right.
    Truth,
    /// Says something else.
    Says(Value),
    /// An error of JSON-RPC.
    Refuses(i32, &'static str),
    /// What is right, once the test lets it go on.
    Holds,
    /// Never answers.
    Hangs,
}

type Script = Box<dyn FnMut(&str, &[Value]) -> Does + Send>;

pub(crate) struct World {
    pub(crate) id: u64,
    blocks: HashMap<B256, Whole>,
    pub(crate) canonical: Vec<B256>,
    pub(crate) safe: Option<B256>,
    pub(crate) finalized: Option<B256>,
    /// It says VALID to a head below its own, and stays, as the specification allows.
    pub(crate) skips: bool,
    pub(crate) secret: Option<Secret>,
    /// Its clock is set to that, in seconds since 1970; the right time otherwise.
    pub(crate) clock: Option<u64>,
    script: Option<Script>,
    /// Calls of the Engine API, as they came.
    pub(crate) calls: Vec<(String, Vec<Value>)>,
    /// Those that are being answered.
    running: usize,
    pub(crate) running_max: usize,
    released: u64,
    salt: u64,
}

/// A client, until the test ends. Clones are handles of one.
#[derive(Clone)]
pub(crate) struct Client {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
    pub(crate) address: SocketAddr,
}

impl Client {
    /// A client at genesis.
    pub(crate) fn serve() -> Self {
        let genesis = Whole::genesis();
        let world = World {
            id: 1,
            canonical: vec![genesis.hash()],
            blocks: HashMap::from([(genesis.hash(), genesis)]),
            safe: None,
            finalized: None,
            skips: false,
            secret: None,
            clock: None,
            script: None,
            calls: Vec::new(),
            running: 0,
            running_max: 0,
            released: 0,
            salt: 0,
        };
        let world = Arc::new(Mutex::new(world));
        let changed = watch::Sender::new(0);
        let (bound, address) = channel();
        let served = (world.clone(), changed.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                bound.send(address).unwrap();
                let client = Self { world: served.0, changed: served.1, address };
                let routes = Router::new().route("/", post(answer)).with_state(client);
                axum::serve(listener, routes).await.unwrap();
            });
        });
        Self { world, changed, address: address.recv().unwrap() }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// What it does from now on.
    pub(crate) fn does(&self, script: impl FnMut(&str, &[Value]) -> Does + Send + 'static) {
        self.change(|world| world.script = Some(Box::new(script)));
    }

    /// It does what is right again.
    pub(crate) fn behaves(&self) {
        self.change(|world| world.script = None);
    }

    /// Lets one call that is held go on.
    pub(crate) fn release(&self) {
        self.change(|world| world.released += 1);
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&World) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !is(&self.lock()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("never: {what}; calls: {:?}", self.methods());
        }
    }

    /// The calls of the Engine API so far, by method.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.lock().calls.iter().map(|(method, _)| method.clone()).collect()
    }

    /// The heads that it was pointed at.
    pub(crate) fn heads(&self) -> Vec<B256> {
        self.lock().heads()
    }

    pub(crate) fn mine(&self, blocks: usize) -> Vec<Whole> {
        self.mine_fork(blocks, Fork::Paris, 0)
    }

    /// Makes blocks on its head.
    pub(crate) fn mine_fork(&self, blocks: usize, fork: Fork, transactions: u64) -> Vec<Whole> {
        self.change(|world| {
            let make = |_| {
                let salt = world.salt.to_be_bytes();
                let block = world.head().child(fork, transactions, &salt[4..]);
                world.add(block.clone());
                block
            };
            (0..blocks).map(make).collect()
        })
    }

    /// Takes a block in, on top of its head.
    pub(crate) fn add(&self, block: Whole) {
        self.change(|world| world.add(block));
    }

    /// Replaces the newest `depth` blocks by `blocks` others.
    pub(crate) fn reorg(&self, depth: usize, blocks: usize) -> Vec<Whole> {
        self.change(|world| {
            let keep = world.canonical.len() - depth;
            world.canonical.truncate(keep);
            world.salt += 1;
            let height = |hash: &B256| world.blocks[hash].header.number as usize;
            assert!(world.finalized.as_ref().is_none_or(|hash| height(hash) < keep));
            world.safe = world.safe.filter(|hash| height(hash) < keep).or(world.finalized);
        });
        self.mine(blocks)
    }

    /// Loses everything above `height`, as a client that was killed.
    pub(crate) fn forget_above(&self, height: usize) {
        self.change(|world| {
            for hash in world.canonical.split_off(height + 1) {
                world.blocks.remove(&hash);
            }
            let kept = |hash: &B256| world.blocks.contains_key(hash);
            world.safe = world.safe.filter(kept);
            world.finalized = world.finalized.filter(kept);
        });
    }

    /// Calls the blocks at these heights safe and final.
    pub(crate) fn settle(&self, safe: usize, finalized: usize) {
        self.change(|world| {
            world.safe = Some(world.canonical[safe]);
            world.finalized = Some(world.canonical[finalized]);
        });
    }

    /// Where it stands: head, safe, finalized.
    pub(crate) fn tips(&self) -> [Option<BlockRef>; 3] {
        self.lock().tips()
    }
}

impl World {
    pub(crate) fn head(&self) -> &Whole {
        &self.blocks[self.canonical.last().unwrap()]
    }

    pub(crate) fn whole(&self, height: usize) -> &Whole {
        &self.blocks[&self.canonical[height]]
    }

    pub(crate) fn heads(&self) -> Vec<B256> {
        let updates = self.calls.iter().filter(|(method, _)| method.contains("forkchoice"));
        let head = |params: &Vec<Value>| {
            serde_json::from_value(params[0]["headBlockHash"].clone()).unwrap()
        };
        updates.map(|(_, params)| head(params)).collect()
    }

    pub(crate) fn tips(&self) -> [Option<BlockRef>; 3] {
        let of = |hash: B256| self.blocks[&hash].reference();
        [Some(self.head().reference()), self.safe.map(of), self.finalized.map(of)]
    }

    fn add(&mut self, block: Whole) {
        assert_eq!(block.header.parent_hash, *self.canonical.last().unwrap());
        self.canonical.push(block.hash());
        self.blocks.insert(block.hash(), block);
    }

    fn truth(&mut self, method: &str, params: &[Value]) -> Result<Value, (i32, String)> {
        let at = |height: usize| self.canonical.get(height).map(|hash| &self.blocks[hash]);
        let named = |block: Option<&Whole>| match block {
            Some(block) => Ok(block.json(false)),
            None => Err((-39001, "Unknown block".to_owned())),
        };
        let of = |hash: Option<B256>| hash.map(|hash| &self.blocks[&hash]);
        match method {
            "eth_chainId" => Ok(json!(U64::from(self.id))),
            "eth_getBlockByNumber" => match params[0].as_str().unwrap() {
                "latest" => named(Some(self.head())),
                "safe" => named(of(self.safe)),
                "finalized" => named(of(self.finalized)),
                number => {
                    let height = usize::from_str_radix(&number[2..], 16).unwrap();
                    Ok(at(height).map_or(Value::Null, |block| block.json(false)))
                }
            },
            "eth_getBlockByHash" => {
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                Ok(self.blocks.get(&hash).map_or(Value::Null, |block| block.json(true)))
            }
            _ if method.starts_with("engine_newPayload") => Ok(self.new_payload(params)),
            _ if method.starts_with("engine_forkchoiceUpdated") => self.updated(&params[0]),
            _ => Err((-32601, format!("the method {method} does not exist"))),
        }
    }

    /// Makes a block of the payload, as a client does, and keeps it if its parent is there.
    fn new_payload(&mut self, params: &[Value]) -> Value {
        let said: B256 = serde_json::from_value(params[0]["blockHash"].clone()).unwrap();
        let payload: ExecutionPayload = serde_json::from_value(params[0].clone()).unwrap();
        let sidecar = match params {
            [_] => ExecutionPayloadSidecar::none(),
            [_, hashes, root, rest @ ..] => {
                let cancun = CancunPayloadFields {
                    parent_beacon_block_root: serde_json::from_value(root.clone()).unwrap(),
                    versioned_hashes: serde_json::from_value(hashes.clone()).unwrap(),
                };
                match rest {
                    [requests] => {
                        let requests: Vec<alloy_primitives::Bytes> =
                            serde_json::from_value(requests.clone()).unwrap();
                        let requests = alloy_eips::eip7685::Requests::new(requests);
                        ExecutionPayloadSidecar::v4(cancun, PraguePayloadFields::new(requests))
                    }
                    _ => ExecutionPayloadSidecar::v3(cancun),
                }
            }
            _ => panic!("{} parameters", params.len()),
        };
        let header = payload.into_block_with_sidecar_raw(&sidecar).unwrap().header;
        if header.hash_slow() != said {
            return status("INVALID", None, Some("blockhash mismatch"));
        }
        if !self.blocks.contains_key(&header.parent_hash) {
            return status("SYNCING", None, None);
        }
        self.blocks.entry(said).or_insert_with(|| Whole { header, body: json!({}) });
        status("VALID", Some(said), None)
    }

    fn updated(&mut self, state: &Value) -> Result<Value, (i32, String)> {
        let hash = |name: &str| -> B256 { serde_json::from_value(state[name].clone()).unwrap() };
        let head = hash("headBlockHash");
        let updated = |status: Value| Ok(json!({ "payloadStatus": status, "payloadId": null }));
        if !self.blocks.contains_key(&head) {
            return updated(status("SYNCING", None, None));
        }
        let mut chain = vec![head];
        while let Some(block) =
            self.blocks.get(chain.last().unwrap()).filter(|b| b.header.number > 0)
        {
            chain.push(block.header.parent_hash);
        }
        chain.reverse();
        let refused = || (-38002, "Invalid forkchoice state".to_owned());
        let [safe, finalized] = ["safeBlockHash", "finalizedBlockHash"].map(hash);
        let [safe, finalized] = [safe, finalized].map(|it| (it != B256::ZERO).then_some(it));
        if finalized.is_some() && safe.is_none() {
            return Err((-32602, "safe block can not be zero if finalized block is not".into()));
        }
        for named in [safe, finalized].into_iter().flatten() {
            if !chain.contains(&named) {
                return Err(refused());
            }
        }
        let below = self.canonical.contains(&head) && *self.canonical.last().unwrap() != head;
        if !(below && self.skips) {
            self.canonical = chain;
            self.safe = safe.or(self.safe).filter(|it| self.canonical.contains(it));
            self.finalized = finalized.or(self.finalized);
        }
        updated(status("VALID", Some(head), None))
    }
}

/// The status of a payload.
pub(crate) fn status(status: &str, valid: Option<B256>, error: Option<&str>) -> Value {
    json!({ "status": status, "latestValidHash": valid, "validationError": error })
}

/// The same, in answer to a forkchoice.
pub(crate) fn updated(status: &Value) -> Value {
    json!({ "payloadStatus": status, "payloadId": null })
}

async fn answer(State(client): State<Client>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = denied(&client, &headers) {
        return refused;
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let (batch, calls) = match request {
        Value::Array(calls) => (true, calls),
        call => (false, vec![call]),
    };
    let mut answers = Vec::new();
    for call in calls {
        let method = call["method"].as_str().unwrap().to_owned();
        let params = call["params"].as_array().cloned().unwrap_or_default();
        let answer = match one(&client, &method, &params).await {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }),
            Err((code, message)) => {
                let error = json!({ "code": code, "message": message });
                json!({ "jsonrpc": "2.0", "id": call["id"], "error": error })
            }
        };
        answers.push(answer);
    }
    let body = if batch { json!(answers) } else { answers.remove(0) };
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn one(client: &Client, method: &str, params: &[Value]) -> Result<Value, (i32, String)> {
    let engine = method.starts_with("engine_");
    let does = client.change(|world| {
        if engine {
            world.calls.push((method.to_owned(), params.to_vec()));
            world.running += 1;
            world.running_max = world.running_max.max(world.running);
        }
        let mut script = world.script.take();
        let does = script.as_mut().map_or(Does::Truth, |script| script(method, params));
        world.script = world.script.take().or(script);
        does
    });
    let answer = match does {
        Does::Truth => client.change(|world| world.truth(method, params)),
        Does::Says(value) => Ok(value),
        Does::Refuses(code, message) => Err((code, message.to_owned())),
        Does::Holds => {
            client.until("released", |world| world.released > 0).await;
            client.change(|world| {
                world.released -= 1;
                world.truth(method, params)
            })
        }
        Does::Hangs => {
            client.change(|world| world.running -= usize::from(engine));
            std::future::pending().await
        }
    };
    client.change(|world| world.running -= usize::from(engine));
    answer
}

/// Whether the request has a token that is good now. The client makes the token of that second again.
fn denied(client: &Client, headers: &HeaderMap) -> Option<Response> {
    let world = client.lock();
    let secret = world.secret.clone()?;
    let now = world.clock.unwrap_or_else(|| seconds(&right_time()));
    let token = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
    let token = token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or_default();
    let at = |seconds| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let good = |seconds: u64| secret.token(at(seconds)) == token;
    if (now - 60..=now + 60).any(good) {
        return None;
    }
    let signed = (now - 4_000..=now + 4_000).any(good);
    let words = if signed { "stale token, iat is off" } else { "signature is invalid" };
    let date = http_date(now);
    Some((StatusCode::UNAUTHORIZED, [(header::DATE, date)], words).into_response())
}

#[expect(clippy::disallowed_methods, reason = "the client is a process of its own, with a clock")]
pub(crate) fn right_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

pub(crate) fn seconds(time: &std::time::SystemTime) -> u64 {
    time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}
