//! Nodes whose methods have other names, over real sockets.

use super::{Node, endpoint, open};
use crate::{
    aztec::AztecSource,
    rpc::{
        Call, Config, HttpRpc,
        tests::{
            run,
            script::{Script, error, result},
        },
    },
};
use commonware_runtime::tokio::Context;
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tidewatch_core::{FaultKind, Height, Source as _, Tier};

/// How a node calls what version 4 calls chain id, version, tips, headers and blocks.
const DIALECTS: [[&str; 5]; 3] = [
    [
        "node_getChainId",
        "node_getVersion",
        "node_getL2Tips",
        "node_getBlockHeader",
        "node_getBlocks",
    ],
    ["node_getChainId", "node_getVersion", "node_getChainTips", "node_getBlock", "node_getBlocks"],
    [
        "aztec_getChainId",
        "aztec_getVersion",
        "aztec_getChainTips",
        "aztec_getBlock",
        "aztec_getBlocks",
    ],
];

/// A node of a chain of 120 blocks that speaks one dialect at a time, the first one first.
fn script(spoken: Arc<AtomicUsize>) -> Script {
    let node = Node::new(120);
    node.settle([90, 60, 30]);
    Script::new(move |method, params| {
        let dialect = DIALECTS[spoken.load(Ordering::Relaxed)];
        let Some(place) = dialect.iter().position(|name| *name == method) else {
            return error(-32601, format!("Method not found: {method}"));
        };
        let call = Call::new(DIALECTS[0][place], params.to_vec());
        let answer = node.truth(&[call]).remove(0);
        if method.ends_with("_getBlock") {
            let header: serde_json::Value = serde_json::from_str(answer.unwrap().get()).unwrap();
            return result(&match header.is_null() {
                true => header,
                false => json!({"header": header, "number": params[0], "archive": {"root": "0x1"}}),
            });
        }
        answer
    })
}

fn source(context: Context, address: SocketAddr) -> AztecSource<Context, HttpRpc> {
    let endpoint = endpoint(&format!("aztec+http://{address}")).unwrap();
    open(context, &[endpoint], Arc::new(()), &Config::default()).unwrap()
}

#[test]
fn a_node_is_asked_by_the_names_that_it_knows_and_they_are_remembered() {
    for dialect in 0..DIALECTS.len() {
        run(|context| async move {
            let node = script(Arc::new(AtomicUsize::new(dialect)));
            let source = source(context, node.serve().await);
            assert_eq!(source.chain_info().await.unwrap().id.as_str(), "aztec:31337:344372055");
            let tips = source.snapshot().await.unwrap().tips;
            let tip = tips.block(Tier::Proposed).unwrap();
            assert_eq!(tip.height.get(), 120);
            assert_eq!(tips.block(Tier::Finalized).unwrap().height.get(), 30);
            assert_eq!(source.blocks(tip, Height::new(1)).await.unwrap().len(), 50);
            assert!(source.digests(tip, &[Height::new(70)]).await.unwrap()[0].is_some());
            let asked = node.requests();
            source.snapshot().await.unwrap();
            assert_eq!(node.requests(), asked + 1, "no other name is tried again");
        });
    }
}

#[test]
fn a_node_that_changes_its_version_is_followed_on() {
    run(|context| async move {
        let spoken = Arc::new(AtomicUsize::new(0));
        let node = script(spoken.clone());
        let source = source(context, node.serve().await);
        for dialect in [0, 1, 2, 0, 2, 1, 0] {
            spoken.store(dialect, Ordering::Relaxed);
            let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
            assert_eq!(source.blocks(tip, Height::new(100)).await.unwrap().len(), 21);
        }
    });
}

#[test]
fn a_node_that_knows_none_of_the_names_is_refused_with_the_versions_that_are_followed() {
    run(|context| async move {
        let node = Script::new(|method, _| match method {
            "node_getChainId" => result(&json!(11_155_111)),
            "node_getVersion" => result(&json!(4_127_419_662_u32)),
            "node_getChainTips" => result(&json!({"proposed": {"number": 5, "hash": "0x11"}})),
            _ => error(-32601, format!("Method not found: {method}")),
        });
        let source = source(context, node.serve().await);
        let fault = source.chain_info().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        for words in ["version 4", "version 5", "getBlock"] {
            assert!(fault.detail.contains(words), "{fault}");
        }
    });
}
