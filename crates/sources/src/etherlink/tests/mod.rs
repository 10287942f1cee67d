//! The source over the scripted node, whose headers hash as Etherlink's do.
//!
//! No block of Etherlink with all of its fields was to be had: the rule is by what its kernel does. The blocks of
//! `blocks.json` were hashed by a program of another language that has nothing in common with this one:
//! `scripts/etherlink-blocks`.

mod spoken;

use super::{EthBlock, EtherlinkSource};
use crate::{
    ethereum::{
        rule,
        tests::{
            Asks, Follower,
            node::{Node, World},
            simulate,
        },
        wire::By,
    },
    rpc::{Config, Rpc, tests::script::result},
};
use alloy_consensus::Header;
use alloy_primitives::{B256, keccak256};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_runtime::{Supervisor as _, deterministic};
use serde_json::Value;
use std::sync::Arc;
use tidewatch_conformance::{Verdict, source, source_checks};
use tidewatch_core::{Block as _, FaultKind, Source as _, Tier, TipSet};

type Scripted = EtherlinkSource<deterministic::Context, Node>;

impl<E: commonware_runtime::Clock + commonware_runtime::Spawner, R: Rpc> Asks
    for EtherlinkSource<E, R>
{
    fn requests(&self) -> u64 {
        self.work()[0].requests
    }
}

fn hash(header: &Header) -> B256 {
    keccak256(rule::etherlink(header).expect("a time that has a text"))
}

#[test]
fn blocks_that_another_program_hashed_are_read_link_and_survive_the_disk() {
    let blocks: Vec<Value> = serde_json::from_str(include_str!("blocks.json")).unwrap();
    let read = |block: &Value| By::Tag("latest").read_by(rule::ETHERLINK, "node", &result(block));
    let mut parent = None;
    for block in &blocks {
        let read_block = read(block).unwrap_or_else(|fault| panic!("{block}: {fault}")).unwrap();
        let digest = read_block.reference().digest;
        assert_eq!(format!("0x{digest}"), block["hash"].as_str().unwrap());
        assert!(parent.is_none_or(|parent| parent == read_block.parent()), "{block}");
        parent = Some(digest);
        let bytes = read_block.encode();
        assert_eq!(EthBlock::decode(bytes).unwrap(), read_block);
        // What the hash covers cannot be changed, and what it does not is of no account.
        for (field, value) in block.as_object().unwrap() {
            let value = value.as_str().unwrap_or_default();
            let Some(last) = value.chars().last().filter(|_| value.len() > 2) else { continue };
            let other =
                format!("{}{}", &value[..value.len() - 1], if last == '7' { '8' } else { '7' });
            let mut changed = block.clone();
            changed[field] = other.into();
            let covered = !matches!(
                field.as_str(),
                "nonce"
                    | "sha3Uncles"
                    | "difficulty"
                    | "totalDifficulty"
                    | "size"
                    | "baseFeePerGas"
                    | "mixHash"
            );
            assert_eq!(read(&changed).is_err(), covered, "{field} of {block}");
        }
    }
    assert_eq!(blocks.len(), 13);
}

/// The levels of L1 of a node: from 100 on, each makes five blocks final.
const FIRST: i32 = 100;

fn scripted(context: &deterministic::Context, blocks: u64, level: Option<i32>) -> (Node, Scripted) {
    let node = Node::of(context.child("node"), "node", World::hashed(hash, 42_793, blocks));
    node.change(|world| {
        world.safe = None;
        world.level = Some(FIRST);
    });
    let context = context.child("source");
    let source = {
        let (nodes, pushing) = (vec![node.clone()], vec![node.clone()]);
        EtherlinkSource::new(context, nodes, pushing, level, Arc::new(()), &Config::default())
    };
    (node, source.unwrap())
}

#[test]
fn it_holds_in_every_check_of_a_source() {
    for (seed, level) in [None, Some(FIRST)].into_iter().enumerate() {
        let report = simulate(seed as u64, |context| async move {
            let (mut node, scripted) = scripted(&context, 20, level);
            node.change(|world| world.finalized = Some(4));
            source(context, Arc::new(scripted), &mut node).await
        });
        report.assert();
        let other = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
        let other: Vec<_> = other.map(|check| check.name).collect();
        assert_eq!(other, [source_checks::PROOF], "{report}");
    }
}

#[test]
fn what_is_final_has_its_level_of_l1_and_costs_no_request_of_its_own() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 400, Some(FIRST));
        node.change(|world| world.finalized = Some(300));
        let info = source.chain_info().await.unwrap();
        assert_eq!(info.id.as_str(), "etherlink:42793");
        let level = |tips: &TipSet| {
            let tip = tips.get(Tier::Finalized).expect("something is final");
            tip.checkpoint
                .map(|checkpoint| (checkpoint.number, checkpoint.digest == tip.block.digest))
        };
        // 300 blocks are of 60 levels, and the last one is found at once.
        assert_eq!(level(&source.snapshot().await.unwrap().tips), Some((159, true)));
        assert!(source.requests() <= 6, "{} requests", source.requests());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        // Between two levels nothing becomes final; of what a node calls final all the same, no level is known.
        let at = |level| Some((level, true));
        for (blocks, last) in [(5, at(160)), (2, None), (13, at(163)), (0, at(163))] {
            node.change(|world| world.extend(1));
            node.change(|world| world.finalized = world.finalized.map(|height| height + blocks));
            let cost = follower.pass().await;
            assert!(cost <= [1, 3][usize::from(blocks > 5 || last.is_none())], "{blocks}: {cost}");
            assert_eq!(follower.pass().await, 1);
            follower.assert_at(&node).await;
            assert_eq!(level(&follower.watermarks().await.tips), last, "{blocks}");
        }
        node.change(|world| world.reorg(7, 9));
        follower.pass().await;
        follower.assert_at(&node).await;
    });
}

#[test]
fn a_level_that_is_pushed_is_where_to_begin() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 40, None);
        node.change(|world| world.finalized = Some(20));
        let finalized = |tips: TipSet| tips.get(Tier::Finalized).and_then(|tip| tip.checkpoint);
        assert_eq!(finalized(source.snapshot().await.unwrap().tips), None);
        // An older one than that of the final block, as it may be when several come at once.
        let mut doorbell = source.doorbell();
        node.change(|world| world.pushed = Some(101));
        doorbell.rung().await;
        let checkpoint = finalized(source.snapshot().await.unwrap().tips);
        assert_eq!(checkpoint.map(|checkpoint| checkpoint.number), Some(103));
    });
}

#[test]
fn without_a_level_and_without_the_method_what_is_final_has_none() {
    for (level, method) in [(None, true), (Some(FIRST), false), (Some(FIRST - 1), true)] {
        simulate(0, |context| async move {
            let (node, source) = scripted(&context, 40, level);
            node.change(|world| {
                world.finalized = Some(20);
                world.level = world.level.filter(|_| method);
            });
            let mut follower = Follower::start(source).await;
            for _ in 0..3 {
                follower.pass().await;
                follower.assert_at(&node).await;
            }
            let tips = follower.watermarks().await.tips;
            assert_eq!(tips.get(Tier::Finalized).unwrap().checkpoint, None);
            let calls = node.change(|world| world.requests.last().map(Vec::len));
            let asks = level.is_some() && method;
            assert_eq!(calls, Some(2 + usize::from(asks)), "{level:?}, {method}");
        });
    }
}

#[test]
fn a_block_of_ethereum_is_refused_and_so_is_one_of_etherlink_there() {
    simulate(0, |context| async move {
        let ethereum = Node::new(context.child("node"), "ethereum", 42_793, 9);
        let config = Config::default();
        let nodes = vec![ethereum];
        let source =
            EtherlinkSource::new(context.child("a"), nodes, vec![], None, Arc::new(()), &config);
        assert_eq!(source.unwrap().snapshot().await.unwrap_err().kind, FaultKind::WrongDigest);
        let (etherlink, _) = scripted(&context, 9, None);
        let context = context.child("b");
        let source =
            crate::ethereum::EthereumSource::new(context, vec![etherlink], Arc::new(()), &config);
        assert_eq!(source.unwrap().snapshot().await.unwrap_err().kind, FaultKind::WrongDigest);
    });
}
