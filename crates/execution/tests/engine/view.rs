//! A driver over a node, with a client as its view.

use crate::{
    chain::{Fork, Whole},
    client::{Client, DEADLINE, Does, World, status},
    rig::{Setup, engine, run},
};
use alloy_primitives::B256;
use commonware_runtime::{Supervisor as _, tokio::Context};
use serde_json::json;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Fault, FaultKind, Running, Severity, Source as _};
use tidewatch_execution::{
    Executor, View,
    engine::EngineError,
    executor::{Config as ExecutorConfig, Mailbox},
};
use tidewatch_node::{Config, Follower, Member, supervisor};
use tidewatch_sources::{
    Error as SourceError,
    ethereum::{self, EthereumError},
    rpc,
};
use tidewatch_stream::driver;
use tidewatch_testkit::monitor::Faults;

/// Waits until one of `faults` is like that.
async fn until(faults: &Faults, node: &Client, what: &str, is: impl Fn(&Fault) -> bool) {
    // Each pass asks the node something: whenever one has, there may be another fault.
    let is = |_: &World| faults.all().iter().any(&is);
    node.until(what, is).await;
}

/// A follower of `node` with `client` as its view.
struct Following {
    follower: Follower<Context>,
    faults: Faults,
    #[expect(dead_code, reason = "it is kept open")]
    executor: Mailbox<tidewatch_execution::engine::EnginePayload>,
}

fn timely() -> driver::Config {
    driver::Config {
        poll: Duration::from_millis(30),
        backoff_max: Duration::from_millis(100),
        ..driver::Config::default()
    }
}

impl Following {
    async fn start(context: &Context, node: &Client, client: &Client) -> Self {
        Self::start_with(context, node, client, None).await
    }

    async fn start_with(
        context: &Context,
        node: &Client,
        client: &Client,
        evidence: Option<PathBuf>,
    ) -> Self {
        let faults = Faults::default();
        let endpoint = ethereum::endpoint(&format!("eth+http://{}", node.address)).unwrap();
        let monitor = Arc::new(faults.clone());
        let config =
            rpc::Config { lower_pause: Duration::from_millis(5), ..rpc::Config::default() };
        let context = context.child("following");
        let source = ethereum::open(context.child("source"), &[endpoint], monitor, &config);
        let source = Arc::new(source.unwrap());
        source.chain_info().await.unwrap();
        let setup = Setup { deadline: Duration::from_secs(5), ..Setup::default() };
        let engine = engine(&context, client, &setup, source.clone());
        let config = ExecutorConfig {
            retry: Duration::from_millis(20),
            deadline: setup.deadline,
            evidence: evidence.clone(),
            ..ExecutorConfig::default()
        };
        let (executor, mailbox) = Executor::new(context.child("executor"), engine.clone(), config);
        let chain_info = engine.chain_info().await.unwrap();
        let config = Config {
            source,
            view: View::new(engine, mailbox.clone(), chain_info, evidence),
            log: (),
            monitor: faults.clone(),
            driver: timely(),
            supervisor: supervisor::Config::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        follower.supervise(Member::critical(Running::start(executor)));
        Self { follower, faults, executor: mailbox }
    }

    async fn stop(self) {
        self.follower.stop(DEADLINE).await.unwrap();
    }
}

/// Waits until `client` stands where `node` does.
async fn same(node: &Client, client: &Client) {
    let tips = node.tips();
    client.until("the node's tips", |world| world.tips() == tips).await;
}

const fn at(block: &Option<BlockRef>) -> u64 {
    block.as_ref().unwrap().height.get()
}

#[test]
fn blocks_of_every_fork_are_given_in_the_version_that_they_demand() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        for fork in [Fork::Paris, Fork::Shanghai, Fork::Cancun, Fork::Prague] {
            node.mine_fork(3, fork, 2);
        }
        node.settle(9, 6);
        let following = Following::start(&context, &node, &client).await;
        same(&node, &client).await;
        let methods = client.methods();
        let given = methods.iter().filter_map(|method| method.strip_prefix("engine_newPayload"));
        let want: Vec<_> = ["V1", "V2", "V3", "V4"].into_iter().flat_map(|it| [it; 3]).collect();
        assert_eq!(given.collect::<Vec<_>>(), want, "each once, in order");
        assert_eq!(methods.last().unwrap(), "engine_forkchoiceUpdatedV3");
        following.stop().await;
    });
}

#[test]
fn forward_and_over_reorgs_of_what_is_not_final_whether_the_client_skips_moves_back_or_not() {
    for skips in [false, true] {
        run(|context| async move {
            let (node, client) = (Client::serve(), Client::serve());
            client.change(|world| world.skips = skips);
            node.mine(20);
            node.settle(10, 5);
            let following = Following::start(&context, &node, &client).await;
            same(&node, &client).await;
            for (depth, blocks) in [(1, 2), (6, 6), (9, 3), (4, 1)] {
                node.reorg(depth, blocks);
                same(&node, &client).await;
            }
            node.mine(8);
            node.settle(14, 8);
            same(&node, &client).await;
            // A chain that became shorter: some clients stay, and follow all the same when it goes on.
            node.forget_above(17);
            following.follower.sync().await.unwrap();
            if !skips {
                same(&node, &client).await;
            }
            node.mine(3);
            same(&node, &client).await;
            let wrong = |fault: &&Fault| fault.severity() == Severity::Invalid;
            assert_eq!(following.faults.all().iter().find(wrong), None);
            following.stop().await;
        });
    }
}

#[test]
fn a_client_that_lost_blocks_in_a_crash_is_given_them_again() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        node.mine(40);
        node.settle(30, 20);
        let following = Following::start(&context, &node, &client).await;
        same(&node, &client).await;
        for height in [39, 25, 12, 0] {
            client.forget_above(height);
            node.mine(1);
            same(&node, &client).await;
        }
        following.stop().await;
    });
}

#[test]
fn a_crash_between_a_block_and_its_forkchoice_loses_nothing() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        node.mine(10);
        node.settle(6, 3);
        // The last that this life does: blocks are given, and nothing points at them.
        client.does(|method, _| match method.contains("forkchoice") {
            true => Does::Hangs,
            false => Does::Truth,
        });
        let first = Following::start(&context, &node, &client).await;
        client.until("a forkchoice", |world| !world.heads().is_empty()).await;
        let _ = first.follower.stop(Duration::ZERO).await;
        assert_eq!(at(&client.tips()[0]), 0, "it stands where it was");
        client.behaves();
        let second = Following::start(&context, &node, &client).await;
        same(&node, &client).await;
        second.stop().await;
    });
}

#[test]
fn a_crash_after_a_prune_that_the_client_skipped_loses_nothing() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        client.change(|world| world.skips = true);
        node.mine(10);
        node.settle(6, 3);
        let first = Following::start(&context, &node, &client).await;
        same(&node, &client).await;
        client.does(|method, _| match method.contains("newPayload") {
            true => Does::Hangs,
            false => Does::Truth,
        });
        node.reorg(4, 5);
        let given = |world: &World| world.calls.last().unwrap().0.contains("newPayload");
        client.until("a block after the prune", given).await;
        let _ = first.follower.stop(Duration::ZERO).await;
        assert_eq!(at(&client.tips()[0]), 10, "it still stands on what was left");
        client.behaves();
        let second = Following::start(&context, &node, &client).await;
        same(&node, &client).await;
        second.stop().await;
    });
}

#[test]
fn a_body_that_the_header_does_not_commit_to_is_refused_counted_and_never_given() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        node.mine_fork(3, Fork::Shanghai, 2);
        let other = Whole::genesis().child(Fork::Shanghai, 1, b"other");
        let (transactions, withdrawals) = (other.body["transactions"].clone(), json!([]));
        for (part, value) in [("transactions", transactions), ("withdrawals", withdrawals)] {
            let truth: Vec<_> = node.change(|world| {
                (1..=3).map(|at| (world.canonical[at], world.whole(at).json(true))).collect()
            });
            let value = value.clone();
            node.does(move |method, params| {
                if method != "eth_getBlockByHash" {
                    return Does::Truth;
                }
                let hash: B256 = serde_json::from_value(params[0].clone()).unwrap();
                let (_, block) = truth.iter().find(|(of, _)| *of == hash).unwrap();
                let mut block = block.clone();
                block[part] = value.clone();
                Does::Says(block)
            });
            let following = Following::start(&context, &node, &client).await;
            let refused = |fault: &Fault| match fault.reason() {
                Some(SourceError::Ethereum(EthereumError::OtherBody { part: wrong, .. })) => {
                    *wrong == part
                }
                _ => false,
            };
            until(&following.faults, &node, "it is refused", refused).await;
            let refusal = following.faults.all().into_iter().find(refused);
            assert_eq!(refusal.unwrap().kind, FaultKind::WrongDigest);
            assert_eq!(client.methods(), Vec::<String>::new(), "nothing was given");
            following.stop().await;
        }
        node.behaves();
        let following = Following::start(&context, &node, &client).await;
        same(&node, &client).await;
        following.stop().await;
    });
}

#[test]
fn a_block_with_requests_that_no_node_tells_ends_the_view_with_the_reason() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        let mut block = Whole::genesis().child(Fork::Prague, 0, b"");
        block.header.requests_hash = Some(B256::repeat_byte(9));
        node.add(block);
        let following = Following::start(&context, &node, &client).await;
        let cause = following.follower.ended().await.cause.unwrap();
        let fault = cause.result.unwrap_err();
        let error = fault.reason::<EngineError>();
        assert!(matches!(error, Some(EngineError::Requests(_))), "{fault}");
        assert_eq!(fault.severity(), Severity::Config);
        assert_eq!(client.methods(), Vec::<String>::new());
    });
}

#[test]
fn an_invalid_block_ends_its_view_with_evidence_and_another_view_of_the_source_goes_on() {
    run(|context| async move {
        let (node, strict, other) = (Client::serve(), Client::serve(), Client::serve());
        node.mine(5);
        let directory = tempfile::tempdir().unwrap();
        let bad = node.change(|world| world.canonical[4]);
        strict.does(move |method, params| {
            let of =
                params.first().and_then(|payload| payload["blockHash"].as_str().map(str::to_owned));
            match method.contains("newPayload") && of == Some(format!("{bad:?}")) {
                true => Does::Says(status("INVALID", None, Some("gas used is wrong"))),
                false => Does::Truth,
            }
        });
        let evidence = Some(directory.path().to_owned());
        let ends = Following::start_with(&context, &node, &strict, evidence).await;
        let goes_on = Following::start(&context, &node, &other).await;
        let report = ends.follower.ended().await;
        let fault = report.cause.unwrap().result.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
        let kept: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(kept.len(), 1);
        assert!(fault.detail.contains("gas used is wrong") && fault.detail.contains("invalid-4-"));
        same(&node, &other).await;
        node.mine(3);
        same(&node, &other).await;
        assert!(at(&strict.tips()[0]) < 4);
        goes_on.stop().await;
    });
}

#[test]
fn a_client_of_another_chain_is_refused_before_anything_is_given() {
    run(|context| async move {
        let (node, client) = (Client::serve(), Client::serve());
        node.mine(3);
        client.change(|world| world.id = 5);
        let following = Following::start(&context, &node, &client).await;
        let fault = following.follower.ended().await.cause.unwrap().result.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
        assert_eq!(client.methods(), Vec::<String>::new());
    });
}
