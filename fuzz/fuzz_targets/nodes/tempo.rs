//! Tempo: its decoders, and a source whose node answers with two blocks of mainnet until the fuzzer mutates them.
//!
//! Beside the properties of every source: what is finalized is one of the two blocks, because nobody can sign another.

use super::{Listener, REQUESTS_MAX, Raw, check, edit::Edit, exact};
use arbitrary::Arbitrary;
use commonware_codec::{Decode as _, Encode as _};
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic::Context};
use commonware_utils::sync::Mutex;
use serde_json::{Value, json, value::to_raw_value};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tidewatch_certified::Epochs as _;
use tidewatch_core::{Block as _, BlockRef, Height, Source as _, Tier};
use tidewatch_fuzz::runner;
use tidewatch_sources::{
    rpc::{Answer, Call, Rpc, RpcError, Unanswered},
    tempo::{Config, Endpoint, Name, Network, Outcome, TempoBlock, TempoHeader, over, schemes},
};

/// Blocks of mainnet with their certificates.
const RECORDED: &str =
    include_str!("../../../crates/sources/src/tempo/tests/fixtures/mainnet.json");

#[derive(Arbitrary, Debug)]
pub enum Tempo<'a> {
    /// A block, mutated on the disk.
    Block(Raw<'a>),
    /// The extra data of a boundary.
    Outcome(Raw<'a>),
    /// A genesis file: edits of that of mainnet, or any text.
    Genesis(Result<Vec<Edit>, &'a str>),
    Address(&'a str),
    /// A source, whose node answers so.
    Source {
        replies: Vec<Reply>,
        calls: Vec<Ask>,
    },
}

/// A mutation of the answers to one request.
#[derive(Arbitrary, Clone, Debug)]
pub struct Reply {
    edits: Vec<(u8, Edit)>,
    error: Option<(u8, u8)>,
    silent: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Ask {
    Snapshot,
    Blocks(u8),
    Digests(u8, u8),
}

struct Recorded {
    network: Network,
    boundary: Value,
    regular: Value,
    references: [BlockRef; 2],
    extra: Vec<u8>,
    encoded: Vec<u8>,
}

static RECORDED_BLOCKS: LazyLock<Recorded> = LazyLock::new(|| {
    let all: Value = serde_json::from_str(RECORDED).expect("it is JSON");
    let (boundary, regular) = (all["boundary"].clone(), all["regular"].clone());
    let block = |json: &Value| {
        let header = TempoHeader::from_json(&json["block"].to_string()).expect("a header");
        TempoBlock::seal(header).expect("short")
    };
    let blocks = [block(&boundary), block(&regular)];
    Recorded {
        network: Name::Mainnet.network().expect("known"),
        references: blocks.each_ref().map(|block| block.reference()),
        extra: blocks[0].inner.extra_data.to_vec(),
        encoded: blocks[0].encode().to_vec(),
        boundary,
        regular,
    }
});

fn certified(recorded: &Value) -> Value {
    json!({
        "epoch": 1_515, "view": 1, "digest": recorded["block"]["hash"],
        "certificate": recorded["finalization"],
        "block": {"header": recorded["block"], "body": {"transactions": []}},
    })
}

fn truth(call: &Call) -> Value {
    let recorded = &*RECORDED_BLOCKS;
    match (call.method, call.params.first()) {
        ("eth_chainId", _) => json!("0x1079"),
        ("eth_getBlockByNumber", Some(at)) if at == "0x0" => {
            json!({"hash": format!("0x{}", recorded.network.genesis().reference().digest)})
        }
        ("eth_getBlockByNumber" | "eth_getBlockByHash", Some(at)) => {
            let is = |it: &&Value| it["block"]["number"] == *at || it["block"]["hash"] == *at;
            let found = [&recorded.boundary, &recorded.regular].into_iter().find(is);
            found.map_or(Value::Null, |found| found["block"].clone())
        }
        ("consensus_getFinalization", Some(query)) => {
            let boundary = query["height"] == json!(32_723_999);
            certified(if boundary { &recorded.boundary } else { &recorded.regular })
        }
        _ => Value::Null,
    }
}

struct Node {
    clock: Context,
    replies: Mutex<std::vec::IntoIter<Reply>>,
    requests: Arc<Mutex<usize>>,
}

impl Rpc for Node {
    fn name(&self) -> &str {
        "fuzz"
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        *self.requests.lock() += 1;
        self.clock.sleep(Duration::from_millis(1)).await;
        let mut answers: Vec<_> = calls.iter().map(truth).collect();
        let reply = self.replies.lock().next();
        let length = answers.len().max(1);
        let mut error = None;
        if let Some(reply) = reply {
            if reply.silent {
                std::future::pending::<()>().await;
            }
            for (at, edit) in &reply.edits {
                if let Some(answer) = answers.get_mut(usize::from(*at) % length) {
                    edit.apply(answer);
                }
            }
            error = reply.error;
        }
        let mut answers: Vec<Answer> =
            answers.iter().map(|answer| Ok(to_raw_value(answer).expect("JSON"))).collect();
        if let Some((at, code)) = error
            && let Some(answer) = answers.get_mut(usize::from(at) % length)
        {
            let code = [204, 503, -32_601, 429][usize::from(code) % 4];
            *answer = Err(RpcError { code, message: "not now".into() });
        }
        Ok(answers)
    }
}

impl Tempo<'_> {
    pub fn run(self) {
        match self {
            Self::Block(raw) => exact::<TempoBlock>(&raw.of(&RECORDED_BLOCKS.encoded)),
            Self::Outcome(raw) => drop(Outcome::read(&raw.of(&RECORDED_BLOCKS.extra))),
            Self::Genesis(text) => {
                let text = text.map_or_else(str::to_owned, |edits| {
                    let known =
                        include_str!("../../../crates/sources/src/tempo/networks/mainnet.json");
                    let mut genesis = serde_json::from_str(known).expect("it is JSON");
                    edits.iter().for_each(|edit| edit.apply(&mut genesis));
                    genesis.to_string()
                });
                match Network::from_genesis(&text) {
                    Ok(network) => {
                        let genesis = network.genesis();
                        let again = TempoBlock::decode_cfg(genesis.encode(), &());
                        assert_eq!(again.expect("one encoding").reference(), genesis.reference());
                        assert!(network.epoch_length().get() > 1);
                        let _ = (network.id(), schemes(&network));
                    }
                    Err(fault) => check(&fault),
                }
            }
            Self::Address(text) => {
                if let Err(refused) = text.parse::<Endpoint>() {
                    assert!(refused.to_string().len() < super::TEXT_MAX);
                }
            }
            Self::Source { replies, calls } => source(replies, calls),
        }
    }
}

fn source(replies: Vec<Reply>, calls: Vec<Ask>) {
    runner().start(|context| async move {
        let recorded = &*RECORDED_BLOCKS;
        let requests = Arc::new(Mutex::new(0));
        let node = Node {
            clock: context.child("node"),
            replies: Mutex::new(replies.into_iter()),
            requests: requests.clone(),
        };
        // The key was kept since genesis.
        let table = schemes(&recorded.network);
        recorded.references.iter().for_each(|block| table.vouched(*block));
        let mut config = Config::default();
        config.certified.blocks_max = 64.try_into().expect("not zero");
        config.certified.gap_max = config.certified.blocks_max;
        let nodes = vec![(node, false)];
        let child = context.child("source");
        let opened = over(child, nodes, &recorded.network, table, Arc::new(Listener), &config);
        let (source, _) = opened.expect("one node");
        for ask in calls {
            let before = *requests.lock();
            let tip = recorded.references[1];
            let below = |by: u8| Height::new(tip.height.get() - u64::from(by));
            match ask {
                Ask::Snapshot => match source.snapshot().await {
                    Ok(snapshot) => {
                        let finalized = snapshot.tips.block(Tier::Finalized);
                        let known = finalized.is_some_and(|it| recorded.references.contains(&it));
                        assert!(known, "{finalized:?} was signed by nobody");
                    }
                    Err(fault) => check(&fault),
                },
                Ask::Blocks(by) => match source.blocks(tip, below(by)).await {
                    Ok(blocks) => {
                        for pair in blocks.windows(2) {
                            assert_eq!(pair[1].parent(), pair[0].reference().digest);
                        }
                    }
                    Err(fault) => check(&fault),
                },
                Ask::Digests(one, other) => {
                    let heights = [below(one), below(other)];
                    match source.digests(tip, &heights).await {
                        Ok(digests) => assert_eq!(digests.len(), 2),
                        Err(fault) => check(&fault),
                    }
                }
            }
            let made = *requests.lock() - before;
            assert!(made <= REQUESTS_MAX, "{made} requests for one call");
        }
    });
}
