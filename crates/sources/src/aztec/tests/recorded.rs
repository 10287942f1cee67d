//! What a real node answered, byte for byte.

use super::{node::header_json, *};
use crate::{
    aztec::{
        block::Sealed,
        calls::{learned_limit, read_blocks, read_header},
        field::poseidon2,
    },
    rpc::{Answer, Call, Rpc, RpcError, Unanswered},
};
use axum::{body::Bytes, http::StatusCode};
use commonware_runtime::Supervisor as _;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::sync::LazyLock;
use tidewatch_core::{Block as _, BlockRef, Digest, FaultKind, Height, Source as _, Tier};

const RECORDED: &str = include_str!("fixtures/recorded.json");
const DIGESTS: &str = include_str!("fixtures/digests.json");

/// How the node calls the block at height 0.
pub(super) const GENESIS: &str =
    "0x2ff681dd7730c7b9e5650c70afa57ee81377792dfc95d98c11817b8c761ff965";

#[derive(Deserialize)]
struct Exchange {
    method: String,
    params: Vec<Value>,
    status: u16,
    response: Box<RawValue>,
}

#[derive(Deserialize)]
struct Response {
    result: Option<Box<RawValue>>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i32,
    message: String,
}

static EXCHANGES: LazyLock<Vec<Exchange>> =
    LazyLock::new(|| serde_json::from_str(RECORDED).unwrap());

fn exchange(method: &str, params: &[Value]) -> &'static Exchange {
    let found = EXCHANGES.iter().find(|e| e.method == method && e.params == params);
    found.unwrap_or_else(|| panic!("{method} {params:?} was not recorded"))
}

fn answer(method: &str, params: &[Value]) -> Answer {
    let response: Response = serde_json::from_str(exchange(method, params).response.get()).unwrap();
    match (response.result, response.error) {
        (_, Some(Refusal { code, message })) => Err(RpcError { code, message }),
        (result, None) => {
            Ok(result.unwrap_or_else(|| RawValue::from_string("null".into()).unwrap()))
        }
    }
}

/// A recorded header, 0 to 4.
pub(super) fn header(height: u64) -> Header {
    let answer = answer("node_getBlockHeader", &[json!(height)]);
    read_header("node", height, &answer).unwrap().unwrap()
}

/// The recorded digest of the header at `height`.
fn digest(height: u64) -> Digest {
    #[derive(Deserialize)]
    struct Known {
        height: Option<u64>,
        digest: Option<Field>,
    }
    let known: Vec<Known> = serde_json::from_str(DIGESTS).unwrap();
    let known = known.into_iter().find(|known| known.height == Some(height)).unwrap();
    Digest(*known.digest.unwrap().bytes())
}

/// A node that says what was recorded, and knows nothing else.
#[derive(Debug)]
struct Recorded;

impl Rpc for Recorded {
    fn name(&self) -> &str {
        "recorded"
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        Ok(calls.iter().map(|call| answer(call.method, &call.params)).collect())
    }
}

#[test]
fn every_recorded_header_hashes_to_what_the_chains_own_library_says() {
    for known in serde_json::from_str::<Vec<Value>>(DIGESTS).unwrap() {
        if let Some(hash) = known.get("poseidon2_of_1_2_3") {
            let hash: Field = serde_json::from_value(hash.clone()).unwrap();
            assert_eq!(poseidon2(&[1_u64, 2, 3].map(Field::from)), hash);
            continue;
        }
        let height = known["height"].as_u64().unwrap();
        let fields: Vec<Field> = serde_json::from_value(known["fields"].clone()).unwrap();
        let header = header(height);
        assert_eq!(header.fields().as_slice(), fields, "{height}");
        assert_eq!(header.reference(), BlockRef::new(Height::new(height), digest(height)));
    }
}

#[test]
fn a_recorded_range_is_the_recorded_headers_and_the_archives_between_them() {
    let blocks = answer("node_getBlocks", &[json!(1), json!(2)]);
    let chain = ChainId::new("aztec:31337:344372055").unwrap();
    let blocks = read_blocks("node", &chain, (1, 2), &blocks).unwrap().0;
    let digests: Vec<_> = blocks.iter().map(Sealed::reference).collect();
    assert_eq!(digests, [1, 2].map(|height| BlockRef::new(Height::new(height), digest(height))));
    assert_eq!(blocks[1].archive, header(3).last_archive);
}

#[test]
fn the_scripted_node_writes_headers_as_the_real_one_does() {
    for height in 1..=4 {
        let Ok(theirs) = answer("node_getBlockHeader", &[json!(height)]) else { panic!() };
        let theirs: Value = serde_json::from_str(theirs.get()).unwrap();
        assert_eq!(header_json(&header(height)), theirs, "{height}");
    }
}

#[test]
fn block_1_stands_on_the_archive_that_the_hash_of_genesis_alone_leaves() {
    let genesis = Field::new(digest(0).0).unwrap();
    assert_eq!(Tree::after_genesis(genesis), header(1).last_archive);
    let constant: Field = serde_json::from_value(json!(GENESIS)).unwrap();
    assert_ne!(Tree::after_genesis(constant), header(1).last_archive);
}

#[test]
fn what_the_node_does_not_have_or_refuses_is_understood() {
    let chain = ChainId::new("aztec:31337:344372055").unwrap();
    let above = answer("node_getBlockHeader", &[json!(9999)]);
    assert_eq!(read_header("node", 9999, &above), Ok(None));
    let past = answer("node_getBlocks", &[json!(5), json!(5)]);
    assert_eq!(read_blocks("node", &chain, (5, 5), &past), Ok((Vec::new(), None)));
    let refused = answer("node_getBlocks", &[json!(1), json!(1000)]);
    assert_eq!(learned_limit(refused.as_ref().unwrap_err()), Some(50));
    let fault = read_blocks("node", &chain, (1, 1000), &refused).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    let unknown = answer("node_nope", &[]).unwrap_err();
    assert_eq!((unknown.code, learned_limit(&unknown)), (-32601, None));
}

/// Checks a source of the recorded chain against what is known of it.
async fn is_the_recorded_chain<E: Clock + Metrics, R: Rpc>(source: &AztecSource<E, R>) {
    let chain_info = source.chain_info().await.unwrap();
    assert_eq!(chain_info.id.as_str(), "aztec:31337:344372055");
    assert_eq!(chain_info.genesis, BlockRef::new(Height::zero(), digest(0)));

    let snapshot = source.snapshot().await.unwrap();
    let at = |height| BlockRef::new(Height::new(height), digest(height));
    for tier in [Tier::Proposed, Tier::Checkpointed, Tier::Proven] {
        assert_eq!(snapshot.tips.block(tier), Some(at(4)), "{tier}");
    }
    assert_eq!(snapshot.tips.block(Tier::Finalized), Some(chain_info.genesis));
    assert_eq!(snapshot.time_ms, None, "its header was not seen yet");
    let checkpoints = Tier::ALL.map(|tier| snapshot.tips.get(tier).unwrap().checkpoint);
    assert_eq!(checkpoints.map(|c| c.map(|c| c.number)), [None, Some(4), Some(4), Some(0)]);

    let heights = [3, 0, 4, 1, 2, 5].map(Height::new);
    let digests = source.digests(at(4), &heights).await.unwrap();
    let known = [3, 0, 4, 1, 2].map(|height| Some(digest(height)));
    assert_eq!(digests, [&known[..], &[None]].concat());
    let time = header(4).timestamp * 1_000;
    assert_eq!(source.snapshot().await.unwrap().time_ms, Some(time));
}

#[test]
fn a_source_of_recorded_answers_is_of_the_recorded_chain() {
    run(|context| async move {
        let source = source(&context, Recorded);
        is_the_recorded_chain(&source).await;
    });
}

#[test]
fn recorded_blocks_are_linked_down_to_genesis() {
    run(|context| async move {
        let source = source(&context, Recorded);
        let genesis = source.chain_info().await.unwrap().genesis;
        // Under a tip at height 2, so that what is asked for is what was recorded.
        let tip = BlockRef::new(Height::new(2), digest(2));
        let blocks = source.blocks(tip, Height::new(1)).await.unwrap();
        let references: Vec<_> = blocks.iter().map(|block| block.reference()).collect();
        assert_eq!(references, [BlockRef::new(Height::new(1), digest(1)), tip]);
        assert_eq!(blocks[0].parent(), genesis.digest);
        assert_eq!(blocks[1].parent(), digest(1));
        assert_eq!(blocks[1].archive(), header(3).last_archive);
    });
}

/// Answers requests over HTTP with the recorded status and the recorded bytes, but for the id, which a
/// client chooses. A batch has the recorded answers one after the other.
async fn serve(body: Bytes) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let respond = |request: &Value| {
        let params = request["params"].as_array().cloned().unwrap_or_default();
        let exchange = exchange(request["method"].as_str().unwrap(), &params);
        let text = exchange.response.get();
        let text = text.replacen("\"id\": 1", &format!("\"id\": {}", request["id"]), 1);
        (exchange.status, text)
    };
    let (status, text) = match serde_json::from_slice(&body).unwrap() {
        Value::Array(batch) => {
            let texts: Vec<_> = batch.iter().map(|request| respond(request).1).collect();
            (200, format!("[{}]", texts.join(",")))
        }
        request => respond(&request),
    };
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], text)
}

#[test]
fn recorded_answers_are_understood_over_http_with_their_errors() {
    commonware_runtime::tokio::Runner::default().start(|context| async move {
        let listener = ::tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(serve);
        context.child("server").spawn(|_| async move { axum::serve(listener, router).await });
        let endpoint = endpoint(&format!("aztec+http://{address}")).unwrap();
        let config = Config::default();
        let endpoints = std::slice::from_ref(&endpoint);
        let opened = open(context.child("source"), endpoints, Arc::new(()), &config);
        is_the_recorded_chain(&opened.unwrap()).await;

        // Refusals come with status 400, and what is missing without a result.
        let node = crate::rpc::HttpRpc::new(&endpoint, &config).unwrap();
        for (method, params) in [
            ("node_getBlocks", vec![json!(1), json!(1000)]),
            ("node_getBlocks", vec![json!(1), json!(2)]),
            ("node_getBlocks", vec![json!(5), json!(5)]),
            ("node_getBlockHeader", vec![json!(9999)]),
            ("node_nope", vec![]),
        ] {
            let got = node.send(&[Call::new(method, params.clone())]).await.unwrap().remove(0);
            match (got, answer(method, &params)) {
                (Ok(got), Ok(recorded)) => {
                    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap();
                    assert_eq!(value(&got), value(&recorded), "{method} {params:?}");
                }
                (got, recorded) => assert_eq!(got.unwrap_err(), recorded.unwrap_err()),
            }
        }
    });
}
