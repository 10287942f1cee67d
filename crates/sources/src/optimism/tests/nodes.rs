//! What real nodes answer, over real sockets: each test is after a public report of a node.

use crate::{
    ethereum::tests::node::{World, reference},
    optimism::{Address, OptimismSource, open},
    rpc::{
        Config, Node,
        tests::{run, script::Script},
    },
};
use commonware_runtime::tokio::Context;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tidewatch_core::{Height, Source as _, Tier};
use tidewatch_testkit::node::{Refused, optimism};

/// A rollup node and an execution node in one, whose configuration has `id` where the number of the rollup
/// belongs, and which is of the execution chain `chain`.
fn script(id: Value, chain: u64) -> Script {
    let mut world = World::new(chain, 40);
    (world.safe, world.finalized) = (Some(30), Some(20));
    Script::new(move |method, params| {
        let rollup = optimism::answer(&world, method);
        let mut answer = rollup.unwrap_or_else(|| world.answer(method, params))?;
        if method == "optimism_rollupConfig" {
            answer["l2_chain_id"] = id.clone();
        }
        Ok::<_, Refused>(answer)
    })
}

fn source(
    context: Context,
    scheme: &str,
    node: SocketAddr,
) -> OptimismSource<Context, Node<Context>> {
    let address: Address = format!("op+http://{node}?el={scheme}://{node}").parse().unwrap();
    open(context, &[address], Arc::new(()), &Config::default()).unwrap()
}

#[test]
fn a_rollup_is_followed_in_whatever_form_its_node_tells_its_number_or_without_it() {
    let ids = [json!(8453), json!("8453"), json!("0x2105"), json!("base"), json!(null)];
    for (id, scheme) in ids.iter().flat_map(|id| ["http", "ws"].map(|scheme| (id, scheme))) {
        run(|context| async move {
            let node = script(id.clone(), 8453);
            let source = source(context, scheme, node.serve().await);
            let chain_info = source.chain_info().await.unwrap();
            assert_eq!(chain_info.id.as_str(), "op:8453", "{id}");
            let tips = source.snapshot().await.unwrap().tips;
            let tip = tips.block(Tier::Proposed).unwrap();
            assert_eq!(tip, reference(&World::new(8453, 40).canonical[40]));
            assert_eq!(tips.block(Tier::Finalized).unwrap().height.get(), 20);
            assert_eq!(source.blocks(tip, Height::new(1)).await.unwrap().len(), 40);
        });
    }
}

#[test]
fn a_rollup_of_another_number_than_the_execution_node_is_refused() {
    for id in [json!(10), json!("10"), json!("0xa")] {
        run(|context| async move {
            let node = script(id, 8453);
            let source = source(context, "http", node.serve().await);
            let fault = source.chain_info().await.unwrap_err();
            assert_eq!(fault.kind, tidewatch_core::FaultKind::WrongChain, "{fault}");
        });
    }
}
