//! Miden: blocks as bytes, and a source over a node whose messages are anything.
//!
//! The node has the chain of the recorded fixtures and answers honestly until the fuzzer mutates a message,
//! refuses a call, or pushes. The properties:
//!
//! - no message causes a panic, and every call ends;
//! - rejected input yields a typed fault with a bounded message, never a `Bug`;
//! - every block and every tip is one that the validator signed: one of the recorded chain;
//! - the encoding of a block is canonical;
//! - what a sequencer asks to have proven is read, or refused.
#![no_main]

use arbitrary::Arbitrary;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_runtime::{Runner as _, Supervisor as _};
use futures::StreamExt as _;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::to_raw_value};
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};
use tidewatch_core::{Block as _, Fault, FaultKind, Height, Severity, Source as _, Tier};
use tidewatch_fuzz::{Damage, runner};
use tidewatch_sources::{
    miden::{Finalized, MidenBlock, MidenSource, NotProposed, Proposed},
    rpc::{Answer, Call, Config, Messages, Rpc, RpcError, Streams, Unanswered},
};

/// Maximum length of a fault's message.
const TEXT_MAX: usize = 1_000;

/// What the node makes of an answer.
#[derive(Arbitrary, Clone, Debug)]
enum Reply {
    Honest,
    Xor(u16, u8),
    Put(u16, Vec<u8>),
    Cut(u16),
    Bytes(Vec<u8>),
    Refused(i32),
    Silent,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Asked {
    ChainInfo,
    Snapshot,
    Digests(u8, u8),
    Blocks(u8),
    Bell,
}

#[derive(Arbitrary, Debug)]
enum What<'a> {
    Block(u8, Vec<Damage<'a>>),
    Bytes(&'a [u8]),
    Source { committed: bool, replies: Vec<Reply>, asked: Vec<Asked> },
}

/// The recorded blocks from genesis on, as a node keeps them.
static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    const RECORDED: [&str; 3] = [
        include_str!("../../crates/sources/src/miden/tests/fixtures/block_0.json"),
        include_str!("../../crates/sources/src/miden/tests/fixtures/block_1.json"),
        include_str!("../../crates/sources/src/miden/tests/fixtures/stream.json"),
    ];
    let mut chain = Vec::new();
    for text in RECORDED {
        let value: Value = serde_json::from_str(text).expect("recorded");
        let blocks = if value.is_array() { value } else { Value::Array(vec![value]) };
        for block in blocks.as_array().expect("an array") {
            let text = block["block"].as_str().expect("a block");
            chain.push(STANDARD.decode(text).expect("base64"));
        }
    }
    chain
});

/// A field of protobuf with bytes in it.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag << 3 | 2];
    let mut length = content.len();
    while length > 127 {
        bytes.push(length as u8 | 128);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// The message of a stored block's header.
fn header(stored: &[u8]) -> Vec<u8> {
    let fixed = |tag: u8, at: usize| [&[tag << 3 | 5], &stored[at..at + 4]].concat();
    let word = |tag: u8, at: usize| {
        let numbers = (0..4).flat_map(|i| {
            let at = at + 8 * i;
            [&[(i as u8 + 1) << 3 | 1], &stored[at..at + 8]].concat()
        });
        field(tag, &numbers.collect::<Vec<_>>())
    };
    let fees = [field(1, &field(1, &stored[265..280])), fixed(2, 280)].concat();
    [
        vec![1 << 3, stored[0]],
        word(2, 4),
        fixed(3, 36),
        word(4, 40),
        word(5, 72),
        word(6, 104),
        word(7, 136),
        word(8, 168),
        field(9, &field(1, &stored[232..265])),
        word(10, 200),
        field(11, &fees),
        fixed(12, 284),
    ]
    .concat()
}

struct Node {
    replies: Vec<Reply>,
    at: AtomicUsize,
}

impl Node {
    /// What the honest node answers, message by message.
    fn truth(&self, call: &Call) -> Vec<Vec<u8>> {
        let asked = call.params[0].as_str().expect("a message");
        let asked = STANDARD_NO_PAD.decode(asked).expect("base64");
        // The one number of every request is its first field, and left out where it is zero.
        let number = match *asked.as_slice() {
            [tag, a, b, c, d, ..] if tag & 7 == 5 => u32::from_le_bytes([a, b, c, d]) as usize,
            [tag, low, ..] if tag & 7 == 0 => usize::from(low & 127),
            _ => 0,
        };
        let chain = &*CHAIN;
        match call.method {
            "SyncChainMmr" => {
                let top = if asked.ends_with(&[2]) { 1 } else { chain.len() - 1 };
                let stored = &chain[top];
                let signature = field(1, &stored[stored.len() - 65..]);
                vec![[field(3, &header(stored)), field(4, &signature)].concat()]
            }
            "GetBlockHeaderByNumber" => {
                vec![chain.get(number).map_or(Vec::new(), |stored| field(1, &header(stored)))]
            }
            "GetBlockByNumber" => {
                vec![chain.get(number).map_or(Vec::new(), |stored| field(1, stored))]
            }
            _ => chain.iter().skip(number).map(|stored| field(1, stored)).collect(),
        }
    }

    /// What it answers, by the next of its replies.
    fn reply(&self, call: &Call) -> Option<Result<Vec<Vec<u8>>, RpcError>> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        let mut messages = self.truth(call);
        match self.replies.get(at).unwrap_or(&Reply::Honest) {
            Reply::Honest => {}
            Reply::Xor(at, with) => damage(&mut messages, &Damage::Xor(*at, *with)),
            Reply::Put(at, bytes) => damage(&mut messages, &Damage::Put(*at, bytes)),
            Reply::Cut(at) => damage(&mut messages, &Damage::Cut(*at)),
            Reply::Bytes(bytes) => messages = vec![bytes.clone(); messages.len().max(1)],
            Reply::Refused(code) => {
                return Some(Err(RpcError { code: *code, message: "no".into() }));
            }
            Reply::Silent => return None,
        }
        Some(Ok(messages))
    }
}

fn damage(messages: &mut [Vec<u8>], damage: &Damage<'_>) {
    messages.iter_mut().for_each(|message| damage.apply(message));
}

impl Rpc for Node {
    fn name(&self) -> &str {
        "node"
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let mut answers = Vec::new();
        for call in calls {
            let Some(reply) = self.reply(call) else { return std::future::pending().await };
            answers.push(reply.map(|messages| {
                let texts: Vec<_> = messages.iter().map(|m| STANDARD_NO_PAD.encode(m)).collect();
                let raw = match call.params.get(1).and_then(Value::as_u64) {
                    Some(count) => {
                        to_raw_value(&texts[..texts.len().min(usize::try_from(count).unwrap_or(0))])
                    }
                    None => to_raw_value(&texts[0]),
                };
                raw.expect("text")
            }));
        }
        Ok(answers)
    }
}

impl Streams for Node {
    async fn stream(&self, call: &Call) -> Result<Messages, Fault> {
        match self.reply(call) {
            None => std::future::pending().await,
            Some(Err(error)) => Err(FaultKind::Unavailable.fault("node", error)),
            Some(Ok(messages)) => {
                let messages = messages.into_iter().map(|message| Ok(Bytes::from(message)));
                Ok(futures::stream::iter(messages).boxed())
            }
        }
    }
}

fn check(fault: &Fault) {
    let text = fault.to_string();
    assert!(text.len() < TEXT_MAX, "{} bytes: {text}", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(!matches!(fault.severity(), Severity::Bug | Severity::Corrupt), "{text}");
}

fn exact(bytes: &[u8]) {
    let Ok(block) = MidenBlock::decode(bytes) else { return };
    assert_eq!(block.encode(), bytes, "{block:?} has another encoding");
}

/// The encoding of a stored block: without what is in it.
fn encoded(stored: &[u8]) -> Vec<u8> {
    [&stored[..288], &stored[stored.len() - 65..]].concat()
}

fn follow(committed: bool, replies: Vec<Reply>, asked: &[Asked]) {
    runner().start(|context| async move {
        let finalized = if committed { Finalized::Committed } else { Finalized::Unknown };
        let node = Node { replies, at: AtomicUsize::new(0) };
        let config = Config { torn_max: 1, lower_max: 2, ..Config::default() };
        let (child, monitor) = (context.child("source"), Arc::new(()));
        let source = MidenSource::new(child, vec![node], finalized, monitor, &config);
        let source = source.expect("set up");
        let signed: Vec<_> = CHAIN
            .iter()
            .map(|stored| MidenBlock::decode(&encoded(stored)[..]).expect("recorded"))
            .collect();
        // A genesis that was changed is another chain, with a validator of its own or the same.
        let ours = source.chain_info().await.inspect_err(check);
        let honest = ours.is_ok_and(|ours| ours.genesis == signed[0].reference());
        let mut tip = None;
        let mut bell = source.doorbell();
        for asked in asked {
            match *asked {
                Asked::ChainInfo => drop(source.chain_info().await.inspect_err(check)),
                Asked::Snapshot => {
                    let Ok(snapshot) = source.snapshot().await.inspect_err(check) else { continue };
                    tip = snapshot.tips.block(Tier::Proposed);
                    for tier in Tier::ALL {
                        let block = snapshot.tips.block(tier);
                        let known = |block| signed.iter().any(|signed| signed.reference() == block);
                        assert!(!honest || block.is_none_or(known), "{block:?} was never signed");
                    }
                }
                Asked::Digests(one, other) => {
                    let Some(tip) = tip else { continue };
                    let heights = [one, other].map(|height| Height::new(height.into()));
                    if let Ok(digests) = source.digests(tip, &heights).await.inspect_err(check) {
                        assert_eq!(digests.len(), 2);
                    }
                }
                Asked::Blocks(from) => {
                    let Some(tip) = tip else { continue };
                    let blocks = source.blocks(tip, Height::new(from.into())).await;
                    let Ok(blocks) = blocks.inspect_err(check) else { continue };
                    for (block, height) in blocks.iter().zip(u64::from(from)..) {
                        assert_eq!(block.reference().height.get(), height);
                        assert!(!honest || signed.contains(block), "{block:?} was never signed");
                    }
                }
                Asked::Bell => {
                    let patience = std::time::Duration::from_secs(90);
                    tidewatch_core::within(&context, patience, bell.rung()).await;
                }
            }
        }
    });
}

/// A request to have a block proven, as far as it is read, is of the block after the one at its end.
fn proposed(bytes: &[u8]) {
    match Proposed::read(bytes) {
        Ok(proposed) => assert_eq!(proposed.height(), proposed.parent().height.next()),
        Err(NotProposed::Last(height)) => assert_eq!(height.get(), u64::from(u32::MAX)),
        Err(_) => {}
    }
}

fuzz_target!(|what: What<'_>| {
    match what {
        What::Block(at, damage) => {
            let mut bytes = encoded(&CHAIN[usize::from(at) % CHAIN.len()]);
            damage.iter().for_each(|damage| damage.apply(&mut bytes));
            exact(&bytes);
        }
        What::Bytes(bytes) => {
            exact(bytes);
            proposed(bytes);
        }
        What::Source { committed, replies, asked } => {
            follow(committed, replies, &asked);
        }
    }
});
