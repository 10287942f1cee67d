//! The source over a scripted rollup node and a scripted execution node, in the deterministic runtime.

mod node;
mod nodes;

use super::{Heads, OptimismSource, wire::SyncStatus};
use crate::{
    ethereum::tests::{Asks, Follower, ID, node::Node as Execution, simulate},
    rpc::Config,
};
use commonware_runtime::{Supervisor as _, deterministic::Context};
use commonware_utils::NZUsize;
use node::{Either, Rollup};
use serde_json::json;
use std::sync::Arc;
use tidewatch_conformance::{Verdict, source, source_checks};
use tidewatch_core::{FaultKind, Source as _, Tier, TipSet};

type Scripted = OptimismSource<Context, Either>;

fn over(context: &Context, rollup: &Rollup, execution: &Execution, config: &Config) -> Scripted {
    let nodes = vec![rollup.node()];
    let execution = vec![Either::Execution(execution.clone())];
    let context = context.child("source");
    OptimismSource::new(context, nodes, execution, Heads::default(), Arc::new(()), config).unwrap()
}

fn scripted(context: &Context, blocks: u64, config: &Config) -> (Rollup, Scripted) {
    let execution = Execution::new(context.child("node"), "execution", ID, blocks);
    let rollup = Rollup::new(execution.clone(), ID);
    let source = over(context, &rollup, &execution, config);
    (rollup, source)
}

/// Of both nodes.
impl Asks for Scripted {
    fn requests(&self) -> u64 {
        self.work().iter().map(|work| work.requests).sum()
    }
}

#[test]
fn it_holds_in_every_check_of_a_source() {
    let little = Config { recent_max: NZUsize!(2), ..Config::default() };
    let small = Config { batch_max: NZUsize!(3), ..Config::default() };
    for (seed, config) in [Config::default(), little, small].iter().enumerate() {
        let report = simulate(seed as u64, |context| async move {
            let (mut rollup, scripted) = scripted(&context, 20, config);
            rollup.chain.change(|world| (world.safe, world.finalized) = (Some(9), Some(4)));
            source(context, Arc::new(scripted), &mut rollup.chain).await
        });
        report.assert();
        let other = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
        let other: Vec<_> = other.map(|check| check.name).collect();
        assert_eq!(other, [source_checks::PROOF], "{config:?}\n{report}");
    }
}

#[test]
fn a_quiet_pass_is_one_request_and_a_new_block_two() {
    simulate(0, |context| async move {
        let (rollup, source) = scripted(&context, 40, &Config::default());
        let chain = rollup.chain.clone();
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        follower.assert_at(&chain).await;
        assert_eq!(follower.pass().await, 1);
        for blocks in [1, 1, 2, 7, 40] {
            chain.change(|world| world.extend(blocks));
            assert_eq!(follower.pass().await, 2, "{blocks} blocks");
            follower.assert_at(&chain).await;
        }
        chain.change(|world| (world.safe, world.finalized) = (Some(30), Some(20)));
        assert_eq!(follower.pass().await, 2, "the execution node must have these blocks as well");
        follower.assert_at(&chain).await;
        let origin =
            follower.watermarks().await.tips.get(Tier::Checkpointed).unwrap().checkpoint.unwrap();
        assert_eq!(origin.number, 5);
    });
}

#[test]
fn a_reorg_costs_no_more_than_a_search_for_where_it_began() {
    for depth in [1, 2, 3, 7, 31, 40, 63, 64, 100, 1_000] {
        for blocks in [depth, depth + 1] {
            simulate(depth, |context| async move {
                let (rollup, source) = scripted(&context, 1_200, &Config::default());
                let range = source.limits().blocks_max.get() as u64;
                let mut follower = Follower::start(source).await;
                follower.pass().await;
                rollup.chain.change(|world| world.reorg(depth, blocks));
                let cost = follower.pass().await;
                follower.assert_at(&rollup.chain).await;
                let search = u64::from(depth.next_power_of_two().ilog2()) + 3;
                // Blocks that the search did not bring are caught up on.
                let calls = blocks + blocks.div_ceil(range) + 2;
                let caught_up = if depth < 64 { 0 } else { calls.div_ceil(100) };
                assert!(cost <= search + caught_up, "{depth}, {blocks}: {cost} requests");
            });
        }
    }
}

#[test]
fn catching_up_is_as_many_requests_as_batches_and_two() {
    for blocks in [1, 99, 1_000] {
        simulate(blocks, |context| async move {
            let (rollup, source) = scripted(&context, blocks, &Config::default());
            let range = source.limits().blocks_max.get() as u64;
            let mut follower = Follower::start(source).await;
            let cost = follower.pass().await;
            follower.assert_at(&rollup.chain).await;
            let requests = (blocks + blocks.div_ceil(range) + 2).div_ceil(100) + 2;
            assert!(cost <= requests, "{blocks}: {cost} requests");
        });
    }
}

#[test]
fn before_it_knows_anything_there_is_no_tier_and_genesis_is_one() {
    simulate(0, |context| async move {
        let (rollup, source) = scripted(&context, 0, &Config::default());
        let mut follower = Follower::start(source).await;
        rollup.chain.change(|world| (world.safe, world.finalized) = (None, None));
        let honest = rollup.status();
        rollup.edit(|status| {
            let zero = status["safe_l2"].clone();
            status["unsafe_l2"] = zero;
        });
        // A node that was just started is not a chain at genesis: nothing is followed, and it is said.
        assert_eq!(follower.refused().await.kind, FaultKind::Unavailable);
        assert_eq!(follower.watermarks().await.tips, TipSet::unknown());
        rollup.edit(move |status| *status = honest.clone());
        follower.pass().await;
        let tips = follower.watermarks().await.tips;
        assert_eq!(tips.block(Tier::Proposed), Some(rollup.chain.at(0)));
        assert_eq!(tips.get(Tier::Finalized), None, "zero is no block");
    });
}

/// The execution node on its own beside a rollup node that is elsewhere.
#[test]
fn heads_that_the_execution_node_does_not_have_are_not_followed() {
    simulate(0, |context| async move {
        let execution = Execution::new(context.child("node"), "execution", ID, 40);
        let rollup = Rollup::new(execution.twin("derived"), ID);
        let source = over(&context, &rollup, &execution, &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;

        rollup.chain.change(|world| world.extend(3));
        let ahead = follower.source.snapshot().await.unwrap_err();
        assert_eq!(ahead.kind, FaultKind::Behind, "{ahead}");

        execution.change(|world| world.reorg(1, 9));
        let diverged = follower.source.snapshot().await.unwrap_err();
        assert_eq!(diverged.kind, FaultKind::Torn, "{diverged}");
        assert!(diverged.detail.contains("43:"), "{diverged}");
        let tips = follower.watermarks().await.tips;
        assert_eq!(tips.block(Tier::Proposed).map(|tip| tip.height.get()), Some(40));
    });
}

#[test]
fn an_execution_node_of_another_chain_is_refused() {
    simulate(0, |context| async move {
        let execution = Execution::new(context.child("node"), "execution", ID, 40);
        let table = [
            (Rollup::new(execution.clone(), 10), "op:10"),
            (Rollup::new(Execution::new(context.child("third"), "third", 9, 0), ID), "op:31337"),
        ];
        for (rollup, words) in table {
            let source = over(&context, &rollup, &execution, &Config::default());
            let fault = source.chain_info().await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
            assert!(fault.detail.contains(words) && fault.detail.contains("el="), "{fault}");
        }
    });
}

#[test]
fn a_status_that_is_none_is_refused() {
    simulate(0, |context| async move {
        let (rollup, source) = scripted(&context, 9, &Config::default());
        source.chain_info().await.unwrap();
        let table = [
            json!(null),
            json!("synced"),
            json!({"unsafe_l2": {"number": 7}}),
            json!({"unsafe_l2": {"hash": "0x12", "number": 7}}),
            json!({"unsafe_l2": 7}),
        ];
        for wrong in table {
            let sent = wrong.clone();
            rollup.edit(move |status| *status = sent.clone());
            let fault = source.snapshot().await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Malformed, "{wrong}: {fault}");
        }
    });
}

/// All fields that op-node sends, most of which are of no use here.
#[test]
fn an_answer_in_the_shape_of_a_node_is_read() {
    let answer = include_str!("sync_status.json");
    let status: SyncStatus = serde_json::from_str(answer).unwrap();
    let tips = Heads::default().tips(&status);
    let heights = Tier::ALL.map(|tier| tips.block(tier).map(|block| block.height.get()));
    assert_eq!(heights, [Some(456), Some(450), None, Some(400)]);
    let origin = tips.get(Tier::Finalized).unwrap().checkpoint.unwrap();
    assert_eq!(origin.number, 110);
}
