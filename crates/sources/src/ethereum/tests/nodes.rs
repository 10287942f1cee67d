//! What real nodes answer, over real sockets: each test is after a public report of a node.

use super::{Asks as _, Follower, node::World};
use crate::{
    ethereum::{self, EthereumSource},
    rpc::{
        Answer, Config, Node,
        tests::{
            run,
            script::{Script, error, result, said},
        },
    },
};
use commonware_runtime::tokio::Context;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tidewatch_core::{FaultKind, Height, Source as _, Tier, TipSet};
use tidewatch_stream::Start;

pub(super) type Real = EthereumSource<Context, Node<Context>>;

pub(super) const SCHEMES: [&str; 2] = ["http", "ws"];

pub(super) fn open(context: Context, scheme: &str, address: SocketAddr) -> Real {
    let endpoint = ethereum::endpoint(&format!("eth+{scheme}://{address}")).unwrap();
    let config = Config {
        requests_per_second: commonware_utils::NZU32!(10_000),
        requests_burst: commonware_utils::NZU32!(10_000),
        ..Config::default()
    };
    ethereum::open(context, &[endpoint], Arc::new(()), &config).unwrap()
}

/// A node of `world`, whose answers `edit` may replace.
fn script(
    mut world: World,
    edit: impl Fn(&str, &[Value]) -> Option<Answer> + Send + Sync + 'static,
) -> Script {
    let height = world.height();
    (world.safe, world.finalized) = (Some(height - height / 20), Some(height - height / 10));
    Script::new(move |method, params| {
        edit(method, params).unwrap_or_else(|| said(world.answer(method, params)))
    })
}

/// The height that a call asks for, if it asks for one.
fn height(params: &[Value]) -> Option<u64> {
    u64::from_str_radix(params.first()?.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Gnosis Chain's block at height 0, as its nodes answer: sealed by AuRa.
fn gnosis() -> Value {
    json!({
        "author": format!("0x{:040x}", 0), "difficulty": "0x20000", "extraData": "0x",
        "gasLimit": "0x989680", "gasUsed": "0x0",
        "hash": "0x4f1dd23188aab3a76b463e4af801b52b1248ef073c648cbdc4c9333d3da79756",
        "logsBloom": format!("0x{:0512x}", 0), "miner": format!("0x{:040x}", 0), "number": "0x0",
        "nonce": null, "parentHash": format!("0x{:064x}", 0),
        "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
        "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
        "signature": format!("0x{:0130x}", 0), "size": "0x215",
        "stateRoot": "0x40cf4430ecaa733787d1a65154a3b9efb560c95d9e324a23b97f0609b539133b",
        "step": 0, "timestamp": "0x0", "totalDifficulty": "0x20000", "transactions": [],
        "transactionsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
        "uncles": [],
    })
}

#[test]
fn a_chain_is_named_by_its_block_at_height_0_whatever_the_header_of_that_is() {
    let filled = |mut genesis: Value| {
        genesis["mixHash"] = json!(format!("0x{:064x}", 0));
        genesis["nonce"] = json!("0x0000000000000000");
        genesis
    };
    let strange = |mut genesis: Value| {
        genesis["hash"] = json!(format!("0x{:064x}", 7));
        genesis["sealerCommittee"] = json!("0x7");
        genesis
    };
    for genesis in [gnosis(), filled(gnosis()), strange(gnosis())] {
        for (scheme, start) in SCHEMES.iter().flat_map(|scheme| {
            [Start::Genesis, Start::Height(Height::new(9)), Start::Tip].map(|start| (scheme, start))
        }) {
            let genesis = genesis.clone();
            run(|context| async move {
                let name = genesis["hash"].as_str().unwrap()[2..].to_owned();
                let node = script(World::on(Some(genesis), 100, 20), |_, _| None);
                let source = open(context, scheme, node.serve().await);
                let chain_info = source.chain_info().await.unwrap();
                assert_eq!(chain_info.id.as_str(), "eth:100");
                assert_eq!(chain_info.genesis.digest.to_string(), name);
                let mut follower = Follower::start_at(start, source).await;
                follower.pass().await;
                let watermarks = follower.watermarks().await;
                assert_eq!(watermarks.delivered.unwrap().height.get(), 20, "{start:?}");
            });
        }
    }
}

/// Ways in which nodes say that they have no such tag, or anything else that it cannot be had for.
fn no_such_tag(tag: &str) -> Vec<Answer> {
    vec![
        result(&Value::Null),
        error(-32000, format!("'{tag}' tag not supported on pre-merge network")),
        error(-39001, "Unknown block"),
        error(-32601, format!("the method is not available for the tag {tag}")),
        error(-32603, format!("Block tag '{tag}' is not supported on this network")),
        error(-32600, "object not found"),
        error(-32000, format!("invalid block tag {tag}")),
        error(-32602, "invalid argument 0: hex string without 0x prefix"),
        error(-32005, "limit exceeded"),
        result(&json!({"hash": "0x7"})),
    ]
}

#[test]
fn a_tag_that_a_node_does_not_have_costs_that_tier_alone() {
    for (ways, scheme) in
        SCHEMES.iter().flat_map(|s| (0..no_such_tag("").len()).map(move |w| (w, s)))
    {
        for missing in [&["safe", "finalized"][..], &["finalized"], &["safe"]] {
            run(|context| async move {
                let node = script(World::new(7, 20), move |_, params| {
                    let tag = params.first()?.as_str().filter(|tag| missing.contains(tag))?;
                    Some(no_such_tag(tag).remove(ways))
                });
                let source = open(context, scheme, node.serve().await);
                let tips = source.snapshot().await.unwrap().tips;
                let known = |tag, tier| {
                    assert_eq!(tips.block(tier).is_none(), missing.contains(&tag), "{tag} {ways}");
                };
                assert_eq!(tips.block(Tier::Proposed).unwrap().height.get(), 20, "{ways}");
                known("safe", Tier::Checkpointed);
                known("finalized", Tier::Finalized);
            });
        }
    }
}

#[test]
fn a_request_that_is_refused_for_its_tags_costs_no_more_than_another_one() {
    for (scheme, id) in SCHEMES.iter().flat_map(|scheme| [true, false].map(|id| (scheme, id))) {
        if *scheme == "ws" && !id {
            continue; // An answer to nobody has no place in a connection with many requests.
        }
        run(|context| async move {
            let node = script(World::new(7, 20), |_, _| None).with_whole(move |asked| {
                let calls = asked.as_array()?;
                calls.iter().find(|call| call["params"][0] == "finalized")?;
                let message = "invalid block tag in batch";
                let error = json!({"code": -32602, "message": message});
                let one =
                    |call: &Value| json!({"jsonrpc": "2.0", "id": call["id"], "error": error});
                Some(match id {
                    true => calls.iter().map(one).collect(),
                    false => json!({"jsonrpc": "2.0", "id": null, "error": error}),
                })
            });
            let source = open(context, scheme, node.serve().await);
            source.chain_info().await.unwrap();
            let tips: TipSet = source.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Proposed).unwrap().height.get(), 20);
            let asked = node.requests();
            source.snapshot().await.unwrap();
            // One for each tag where the node takes them one by one, one for `latest` where it does not.
            assert_eq!(node.requests(), asked + if id { 1 } else { 3 }, "{scheme}");
        });
    }
}

/// A node of 400 blocks that dropped those below 300, in one of the ways that nodes say so.
fn without_history(how: usize, genesis: bool) -> Script {
    script(World::new(7, 400), move |method, params| {
        let missing = |height: u64| height < 300 && (height > 0 || !genesis);
        height(params).filter(|at| method == "eth_getBlockByNumber" && missing(*at))?;
        Some(match how {
            0 => result(&Value::Null),
            1 => error(4444, "pruned history unavailable"),
            _ => error(-32602, "Block with such an ID is pruned; the first retained block is 300"),
        })
    })
}

#[test]
fn a_history_that_begins_later_is_found_in_a_few_questions_and_said_with_what_to_type() {
    let nodes = (0..3).flat_map(|how| [true, false].map(|genesis| (how, genesis)));
    for ((how, genesis), scheme) in nodes.flat_map(|node| SCHEMES.map(|scheme| (node, scheme))) {
        run(|context| async move {
            let node = without_history(how, genesis);
            let source = open(context, scheme, node.serve().await);
            let mut follower = Follower::start(source).await;
            let fault = follower.refused().await;
            assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
            assert!(fault.detail.contains("--start 300"), "{fault}");
            let asked = node.requests();
            assert!(asked <= 6, "{asked} requests to find out");
            let calls = node.calls("eth_getBlockByNumber");
            assert!(calls < 260, "{calls} calls to find out");
            for _ in 0..40 {
                assert_eq!(follower.refused().await, fault);
            }
            assert_eq!(node.requests(), asked + 40, "a look at the tips each");
        });
    }
}

#[test]
fn what_is_above_the_beginning_of_a_history_is_followed_without_what_is_below() {
    for (genesis, scheme) in [true, false].iter().flat_map(|g| SCHEMES.map(|s| (*g, s))) {
        for start in [Start::Tip, Start::Height(Height::new(300)), Start::Height(Height::new(399))]
        {
            run(|context| async move {
                let node = without_history(0, genesis);
                let source = open(context, scheme, node.serve().await);
                let mut follower = Follower::start_at(start, source).await;
                follower.pass().await;
                let delivered = follower.watermarks().await.delivered.unwrap();
                assert_eq!(delivered.height.get(), 400, "{start:?}");
                let asked = follower.source.requests();
                follower.pass().await;
                assert_eq!(follower.source.requests(), asked + 1, "a quiet pass");
            });
        }
    }
}

#[test]
fn a_node_without_block_0_is_of_the_same_chain_as_one_that_has_it() {
    for (id, named) in [(56, true), (7, false)] {
        run(|context| async move {
            let without = script(World::new(id, 20), |_, params| {
                (height(params)? == 0).then(|| result(&Value::Null))
            });
            let source = open(context, "http", without.serve().await);
            let chain_info = source.chain_info().await.unwrap();
            assert_eq!(chain_info.id.as_str(), format!("eth:{id}"));
            let genesis = chain_info.genesis.digest.to_string();
            assert_eq!(genesis.starts_with("0d21840abff46b96"), named, "{genesis}");
            assert_eq!(source.chain_info().await.unwrap(), chain_info);
            let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
            let digests = source.digests(tip, &[Height::zero(), Height::new(7)]).await.unwrap();
            assert_eq!(digests[0], Some(chain_info.genesis.digest));
            assert!(digests[1].is_some());
        });
    }
}

#[test]
fn one_bad_block_costs_what_stands_on_it_and_is_named() {
    for scheme in SCHEMES {
        run(|context| async move {
            let other = World::new(7, 20).answer("eth_getBlockByNumber", &[json!("0x5")]);
            let mut other = other.unwrap();
            other["number"] = json!("0xe");
            other["sealerCommittee"] = json!("0x7");
            let node = script(World::new(7, 20), move |_, params| {
                (height(params)? == 14).then(|| result(&other))
            });
            let source = open(context, scheme, node.serve().await);
            let mut follower = Follower::start(source).await;
            let fault = follower.refused().await;
            assert_eq!(fault.kind, FaultKind::WrongDigest, "{fault}");
            assert!(fault.detail.contains("block 14"), "{fault}");
            assert!(fault.detail.contains("sealerCommittee"), "{fault}");
            let delivered = follower.watermarks().await.delivered.unwrap();
            assert_eq!(delivered.height.get(), 13);
        });
    }
}

#[test]
fn a_time_in_milliseconds_is_one() {
    for scheme in SCHEMES {
        run(|context| async move {
            let mut world = World::new(7, 1);
            world.step = 12_000;
            world.canonical[1].timestamp = 1_764_106_000_123;
            world.extend(1);
            let node = script(world, |_, _| None);
            let source = open(context, scheme, node.serve().await);
            let snapshot = source.snapshot().await.unwrap();
            assert_eq!(snapshot.time_ms, Some(1_764_106_012_123));
        });
    }
}
