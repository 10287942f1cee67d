//! The JSON-RPC sources, over nodes with arbitrary responses.
//!
//! A node has a small chain with forks, and responds honestly until the fuzzer mutates a response: values
//! edited, removed or moved, text truncated, responses swapped, missing or of another height, errors of
//! any code, silence, a chain that moves between two calls. Header hashes may be recomputed after a
//! mutation. The properties:
//!
//! - no response causes a panic; every call ends, after a bounded number of requests;
//! - rejected input yields a typed fault with a bounded message, never a `Bug`;
//! - tips are blocks that the node reported;
//! - blocks start at the requested height, link to each other, are not above the tip, and round-trip
//!   through their encoding; there is one digest for every requested height;
//! - the finalized tip of a follower never regresses, and never changes its digest;
//! - a follower converges when its node becomes honest, unless it has finalized a forged block;
//! - the encoding of a block is canonical, and no bytes of a disk cause a panic.
#![no_main]

mod asker;
mod chain;
mod edit;
mod node;
mod tempo;

use arbitrary::Arbitrary;
use asker::{Asked, Asker};
use chain::{Chains, Family, Move};
use commonware_codec::{Decode, Encode};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic::Context};
use libfuzzer_sys::fuzz_target;
use node::{Node, Reply};
use std::{fmt::Debug, num::NonZeroUsize, sync::Arc};
use tempo::Tempo;
use tidewatch_core::{Block, Fault, Height, Monitor, Severity, Source};
use tidewatch_fuzz::{Damage, runner};
use tidewatch_sources::{
    aztec::{AztecBlock, AztecSource},
    ethereum::{EthBlock, EthereumSource},
    optimism::{Checkpointed, Heads, OptimismSource, Proposed},
    rpc::Config,
};
use tidewatch_stream::{Mode, Start};

/// Maximum number of requests for one call to a source.
const REQUESTS_MAX: usize = 400;

/// Maximum length of a fault's message.
const TEXT_MAX: usize = 1_000;

#[derive(Arbitrary, Debug)]
enum What<'a> {
    /// A block, mutated on the disk.
    Block { aztec: bool, bytes: Raw<'a> },
    /// A source, with these requests.
    Source(Script),
    /// Tempo, whose tips are certified.
    Tempo(Tempo<'a>),
}

#[derive(Arbitrary, Debug)]
pub enum Raw<'a> {
    Damaged(u8, Vec<Damage<'a>>),
    Bytes(&'a [u8]),
}

impl Raw<'_> {
    /// The bytes: any, or `good` ones with damage.
    fn of(&self, good: &[u8]) -> Vec<u8> {
        match self {
            Raw::Bytes(bytes) => bytes.to_vec(),
            Raw::Damaged(_, damage) => {
                let mut bytes = good.to_vec();
                damage.iter().for_each(|damage| damage.apply(&mut bytes));
                bytes
            }
        }
    }
}

#[derive(Arbitrary, Clone, Debug)]
struct Script {
    family: Family,
    /// Whether there are two endpoints, or one.
    two: bool,
    /// Whether a rollup uses alternative heads.
    others: bool,
    batch: u8,
    recent: u8,
    /// Maximum number of blocks in a response of an Aztec node.
    limit: u8,
    mode: Follow,
    first: Move,
    replies: Vec<Reply>,
    asked: Vec<Asked>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Follow {
    Genesis,
    Tips,
    Tip { skip: bool },
    Height { start: u8, skip: bool },
}

/// Checks every reported fault.
struct Listener;

impl Monitor for Listener {
    fn fault(&self, fault: &Fault) {
        check(fault);
    }
}

fn check(fault: &Fault) {
    let text = fault.to_string();
    assert!(text.len() < TEXT_MAX, "{} bytes: {text}", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(!matches!(fault.severity(), Severity::Bug | Severity::Corrupt), "{text}");
}

/// Decodes all of `bytes` as a block, and checks that the encoding is canonical.
fn exact<T: Decode<Cfg = ()> + Encode + PartialEq + Debug + Block>(bytes: &[u8]) {
    let Ok(block) = T::decode_cfg(bytes, &()) else { return };
    assert_eq!(block.encode(), bytes, "{block:?} has another encoding");
    assert_eq!(block.encode_size(), bytes.len());
    let again = T::decode_cfg(bytes, &()).expect("as before");
    assert_eq!((again.reference(), again.parent()), (block.reference(), block.parent()));
}

impl Follow {
    fn mode(self) -> Mode {
        match self {
            Self::Genesis => Mode::GENESIS,
            Self::Tips => Mode::TipsOnly,
            Self::Tip { skip } => Mode::Blocks { start: Start::Tip, skip_finalized: skip },
            Self::Height { start, skip } => {
                let start = Start::Height(Height::new(start.into()));
                Mode::Blocks { start, skip_finalized: skip }
            }
        }
    }
}

impl Script {
    fn config(&self) -> Config {
        let some = |count: u8, max: u8| {
            NonZeroUsize::new(usize::from(count % max) + 1).expect("one at the least")
        };
        let often = 10_000.try_into().expect("not zero");
        Config {
            batch_max: some(self.batch, 24),
            recent_max: some(self.recent, 64),
            requests_per_second: often,
            requests_burst: often,
            torn_max: 1,
            lower_max: 2,
            ..Config::default()
        }
    }

    fn run(self) {
        runner().start(|context| async move {
            let (chains, config) = (Chains::of(self.family), self.config());
            let limit = u64::from(self.limit % 50) + 1;
            let stand = chains.stand(self.first);
            let clock = context.child("node");
            let node = Node::new(clock, chains, limit, stand, self.replies.clone());
            let nodes = vec![node.clone(); 1 + usize::from(self.two)];
            let child = context.child("source");
            let listener = Arc::new(Listener);
            match self.family {
                Family::Ethereum => {
                    let source = EthereumSource::new(child, nodes, listener, &config);
                    self.ask(context, node, source.expect("set up")).await;
                }
                Family::Optimism => {
                    let mut heads = Heads::default();
                    if self.others {
                        (heads.proposed, heads.checkpointed) =
                            (Proposed::CrossUnsafe, Checkpointed::LocalSafe);
                    }
                    let (first, listener) = (nodes.clone(), listener);
                    let source = OptimismSource::new(child, first, nodes, heads, listener, &config);
                    self.ask(context, node, source.expect("set up")).await;
                }
                Family::Aztec => {
                    let source = AztecSource::new(child, nodes, listener, &config);
                    self.ask(context, node, source.expect("set up")).await;
                }
            }
        });
    }

    async fn ask<S: Source>(self, context: Context, node: Node, source: S)
    where
        S::Block: Decode<Cfg = ()> + Encode + PartialEq + Debug,
    {
        let honest = node.chains().chain_info(&node.stand());
        let first = source.chain_info().await.inspect_err(check);
        let truly = first.as_ref() == Ok(&honest);
        let chain_info = first.unwrap_or(honest);
        let mut asker = Asker::new(source, node.clone(), chain_info, self.mode.mode());
        for asked in &self.asked {
            let before = node.requests();
            let calls = asker.answer(&context, asked).await;
            let requests = node.requests() - before;
            assert!(requests <= REQUESTS_MAX * calls, "{requests} requests for {calls} calls");
        }
        if truly {
            asker.settle().await;
        }
    }
}

fuzz_target!(|what: What<'_>| {
    match what {
        What::Block { aztec, bytes } => {
            let bytes = match bytes {
                Raw::Bytes(bytes) => bytes.to_vec(),
                Raw::Damaged(at, damage) => {
                    let family = if aztec { Family::Aztec } else { Family::Ethereum };
                    let mut bytes = Chains::of(family).encoded(at);
                    damage.iter().for_each(|damage| damage.apply(&mut bytes));
                    bytes
                }
            };
            if aztec { exact::<AztecBlock>(&bytes) } else { exact::<EthBlock>(&bytes) }
        }
        What::Source(script) => script.run(),
        What::Tempo(tempo) => tempo.run(),
    }
});
