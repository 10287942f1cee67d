//! True headers of many chains, as their nodes write them, of several forks each.
//!
//! `headers.json` has a header a line, with the chain and the fork that it is of and where it was seen: in
//! answers that were published with clients, their tests and their documentation. What is checked is that the
//! header hashes to what its node called it, so that no slip in a line goes unnoticed. Not found in any such
//! place, and so not in it: a header of Celo as a rollup, of BSC after 2024 but on its testnet, and of Base at
//! its Bedrock but on a testnet.

use super::{Follower, nodes};
use crate::{
    ethereum::{EthBlock, wire::By},
    rpc::tests::{
        run,
        script::{Script, result},
    },
};
use commonware_codec::{DecodeExt as _, Encode as _};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tidewatch_core::{Block as _, Source as _, Tier};
use tidewatch_stream::Start;

#[derive(Deserialize)]
struct Seen {
    chain: String,
    fork: String,
    header: Value,
}

fn seen() -> Vec<Seen> {
    serde_json::from_str(include_str!("headers.json")).unwrap()
}

fn hash(header: &Value) -> &str {
    &header["hash"].as_str().unwrap()[2..]
}

#[test]
fn every_header_hashes_to_what_its_node_called_it_and_survives_the_disk() {
    for Seen { chain, fork, header } in seen() {
        let what = format!("{chain}, {fork}");
        let block = By::Tag("latest").read("node", &result(&header));
        let block = block.unwrap_or_else(|fault| panic!("{what}: {fault}")).unwrap();
        assert_eq!(block.reference().digest.to_string(), hash(&header), "{what}");
        let bytes = block.encode();
        let decoded = EthBlock::decode(bytes.clone()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((decoded.encode(), decoded), (bytes, block), "{what}");
    }
}

#[test]
fn a_header_of_any_rule_with_a_field_changed_is_refused() {
    for Seen { chain, fork, header } in seen() {
        for field in ["stateRoot", "gasUsed", "timestamp", "extraData", "step", "extDataGasUsed"] {
            let mut changed = header.clone();
            match changed.get_mut(field) {
                Some(value) if field == "stateRoot" => *value = json!(format!("0x{:064x}", 7)),
                Some(value) if field == "step" => *value = json!("0x7"),
                Some(value) => *value = json!("0x7777"),
                None => continue,
            }
            let refused = By::Tag("latest").read("node", &result(&changed));
            assert!(refused.is_err(), "{chain}, {fork}: {field}");
        }
    }
}

#[test]
fn every_chain_is_followed_from_its_newest_header() {
    let mut newest = BTreeMap::new();
    for Seen { chain, header, .. } in seen() {
        newest.insert(chain, header);
    }
    let chains = newest.into_iter();
    for ((chain, header), scheme) in chains.flat_map(|tip| nodes::SCHEMES.map(|s| (tip.clone(), s)))
    {
        run(|context| async move {
            let tip = header.clone();
            let node = Script::new(move |method, params| match method {
                "eth_chainId" => result(&json!("0x7")),
                _ if [&json!("latest"), &tip["number"]].contains(&&params[0]) => result(&tip),
                _ => result(&Value::Null),
            });
            let source = nodes::open(context, scheme, node.serve().await);
            let mut follower = Follower::start_at(Start::Tip, source).await;
            follower.pass().await;
            let tips = follower.source.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Proposed).unwrap().digest.to_string(), hash(&header));
            assert_eq!(
                follower.watermarks().await.delivered,
                tips.block(Tier::Proposed),
                "{chain}"
            );
        });
    }
}
