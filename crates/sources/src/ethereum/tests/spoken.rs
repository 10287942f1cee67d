//! JSON-RPC as real nodes speak it, over real sockets and both transports: each test is after a public
//! report of a node.

use super::{Follower, ID, node::Node, node::World, over, simulate};
use crate::{
    ethereum::{self, EthereumSource},
    rpc::{
        Config, Unanswered,
        tests::{run, script::Script},
    },
};
use commonware_runtime::{Clock as _, Supervisor as _, tokio::Context};
use commonware_utils::sync::Mutex;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{FaultKind, Source as _, Tier};

const SCHEMES: [&str; 2] = ["http", "ws"];

fn world(blocks: u64) -> World {
    let mut world = World::new(ID, blocks);
    (world.safe, world.finalized) = (Some(blocks / 2), Some(blocks / 3));
    world
}

/// What a node of `world` answers to one call.
fn answer(world: &World, call: &Value) -> Value {
    let params = call["params"].as_array().cloned().unwrap_or_default();
    let result = world.answer(call["method"].as_str().unwrap(), &params).unwrap();
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

/// A node of 20 blocks whose every answer to a call goes through `shape`.
fn shaped(shape: impl Fn(&Value, &mut Value) + Send + Sync + 'static) -> Script {
    let world = world(20);
    let one = move |call: &Value| {
        let mut answer = answer(&world, call);
        shape(call, &mut answer);
        answer
    };
    Script::whole(move |asked| {
        if asked["method"] == "eth_subscribe" {
            return None;
        }
        Some(asked.as_array().map_or_else(|| one(asked), |calls| calls.iter().map(&one).collect()))
    })
}

async fn open(
    context: Context,
    scheme: &str,
    node: &Script,
) -> EthereumSource<Context, crate::rpc::Node<Context>> {
    let address = node.serve().await;
    let endpoint = ethereum::endpoint(&format!("eth+{scheme}://{address}")).unwrap();
    ethereum::open(context, &[endpoint], Arc::new(()), &Config::default()).unwrap()
}

/// paritytech/jsonrpsee#888
#[test]
fn a_member_that_is_null_is_absent() {
    for (scheme, both) in SCHEMES.into_iter().flat_map(|s| [false, true].map(|both| (s, both))) {
        run(|context| async move {
            let node = shaped(move |call, answer| {
                let safe = call["params"][0] == "safe";
                answer["error"] = Value::Null;
                if both && safe {
                    answer["result"] = Value::Null;
                    answer["error"] = json!({"code": -39001, "message": "unknown block"});
                }
            });
            let mut follower = Follower::start(open(context, scheme, &node).await).await;
            follower.pass().await;
            let watermarks = follower.watermarks().await;
            assert_eq!(watermarks.delivered.unwrap().height.get(), 20);
            assert_eq!(watermarks.tips.block(Tier::Checkpointed).is_none(), both);
        });
    }
}

/// status-im/nim-json-rpc#238
#[test]
fn a_result_that_is_left_out_is_null_and_costs_no_connection() {
    for scheme in SCHEMES {
        run(|context| async move {
            let node = shaped(|call, answer| {
                if call["params"][0] == "safe" || call["params"][0] == "finalized" {
                    answer.as_object_mut().unwrap().remove("result");
                }
            });
            let mut follower = Follower::start(open(context, scheme, &node).await).await;
            follower.pass().await;
            let tips = follower.watermarks().await.tips;
            assert_eq!(tips.block(Tier::Proposed).unwrap().height.get(), 20);
            assert_eq!((tips.block(Tier::Checkpointed), tips.block(Tier::Finalized)), (None, None));
            for _ in 0..5 {
                assert_eq!(follower.pass().await, 1, "and no handshake of a new connection");
            }
        });
    }
}

#[test]
fn ids_as_text_and_answers_in_any_order_are_answers() {
    for scheme in SCHEMES {
        run(|context| async move {
            let world = world(20);
            let node = Script::whole(move |asked| {
                let one = |call: &Value| {
                    let mut answer = answer(&world, call);
                    answer["id"] = answer["id"].to_string().into();
                    answer
                };
                let many = |calls: &Vec<Value>| calls.iter().rev().map(one).collect();
                Some(asked.as_array().map_or_else(|| one(asked), many))
            });
            let mut follower = Follower::start(open(context, scheme, &node).await).await;
            follower.pass().await;
            assert_eq!(follower.watermarks().await.delivered.unwrap().height.get(), 20);
        });
    }
}

/// A provider's allowance: calls that may be made at once, and how many more each second.
struct Allowance {
    left: f64,
    max: f64,
    rate: f64,
    at: SystemTime,
}

/// NomicFoundation/hardhat#3501: of a batch some calls are answered, and the others refused one by one.
#[test]
fn of_a_batch_that_is_refused_in_part_the_good_answers_are_kept() {
    for (scheme, code) in SCHEMES.into_iter().flat_map(|s| [429, -32005, -32000].map(|c| (s, c))) {
        run(|context| async move {
            let clock = Arc::new(context.child("clock"));
            let now = clock.current();
            let left = Mutex::new(Allowance { left: 25.0, max: 25.0, rate: 200.0, at: now });
            let (world, answered) = (world(200), Arc::new(Mutex::new(0)));
            let count = answered.clone();
            let node = Script::whole(move |asked| {
                let one = |call: &Value| {
                    let (mut left, now) = (left.lock(), clock.current());
                    let passed = now.duration_since(left.at).unwrap_or_default().as_secs_f64();
                    (left.left, left.at) = ((left.left + passed * left.rate).min(left.max), now);
                    if left.left >= 1.0 {
                        left.left -= 1.0;
                        *count.lock() += 1;
                        return answer(&world, call);
                    }
                    let message = "the capacity per second is used up";
                    let error = json!({"code": code, "message": message});
                    json!({"jsonrpc": "2.0", "id": call["id"], "error": error})
                };
                let many = |calls: &Vec<Value>| calls.iter().map(one).collect();
                Some(asked.as_array().map_or_else(|| one(asked), many))
            });
            let mut follower = Follower::start(open(context, scheme, &node).await).await;
            let requests = follower.pass().await;
            assert_eq!(follower.watermarks().await.delivered.unwrap().height.get(), 200);
            let answered = *answered.lock();
            assert!(answered < 240, "{answered} answers for 200 blocks: good ones are kept");
            assert!(requests < 60, "{requests} requests");
        });
    }
}

/// Nodes that take no batch, or none of that length, each in its own way.
#[test]
fn a_batch_that_is_refused_as_a_whole_is_asked_for_in_less_and_then_call_by_call() {
    type Refusal = fn(&Value) -> Value;
    let whole: [Refusal; 5] = [
        |_| json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no batch"}}),
        |_| json!([{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no"}}]),
        |a| json!({"jsonrpc": "2.0", "id": a[0]["id"], "error": {"code": -32010, "message": "no"}}),
        |a| json!([{"id": a[0]["id"], "error": {"code": -32600, "message": "batch of too many"}}]),
        |_| json!([]),
    ];
    for (scheme, refusal) in SCHEMES.into_iter().flat_map(|s| whole.map(|refusal| (s, refusal))) {
        for most in [1, 7] {
            run(|context| async move {
                let world = world(20);
                let node = Script::whole(move |asked| {
                    Some(match asked.as_array() {
                        None => answer(&world, asked),
                        Some(calls) if calls.len() > most => refusal(asked),
                        Some(calls) => calls.iter().map(|call| answer(&world, call)).collect(),
                    })
                });
                let mut follower = Follower::start(open(context, scheme, &node).await).await;
                follower.pass().await;
                assert_eq!(follower.watermarks().await.delivered.unwrap().height.get(), 20);
            });
        }
    }
}

/// alloy-rs/alloy#4103: a request before the time is over would begin it anew.
#[test]
fn a_node_that_says_when_to_come_back_is_left_alone_until_then() {
    let minute = Duration::from_secs(60);
    for (after, said, waits) in [
        (Some(minute), "429 Too Many Requests", minute),
        (None, "too many requests, retry in 60s", minute),
        (Some(Duration::from_secs(86_400)), "come back tomorrow", Config::default().busy_max),
    ] {
        simulate(0, |context| async move {
            let node = Node::new(context.child("node"), "node", ID, 9);
            let source = over(&context, vec![node.clone()], &Config::default());
            source.snapshot().await.unwrap();
            node.tamper(move |calls, _| {
                let error = crate::rpc::RpcError { code: -32005, message: said.into() };
                match after {
                    None => Ok(calls.iter().map(|_| Err(error.clone())).collect()),
                    after => {
                        let fault = Box::new(FaultKind::Unavailable.fault("node", said));
                        Err(Unanswered::Busy { fault, after })
                    }
                }
            });
            let fault = source.snapshot().await.unwrap_err();
            assert!(fault.detail.contains(said), "{fault}");
            let asked = node.requests();
            node.change(|world| world.tamper = None);
            let began = context.current();
            while let Err(fault) = source.snapshot().await {
                assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
                let words = ["left alone", "asked again in", said];
                assert!(words.iter().all(|words| fault.detail.contains(words)), "{fault}");
                assert_eq!(node.requests(), asked, "{fault}");
                context.sleep(Duration::from_secs(1)).await;
            }
            let waited = context.current().duration_since(began).unwrap();
            let pauses = Duration::from_secs(3);
            assert!(waited + pauses >= waits && waited <= waits + pauses, "{waited:?}");
        });
    }
}

#[test]
fn of_two_endpoints_the_other_one_is_asked_while_one_is_left_alone() {
    simulate(0, |context| async move {
        let a = Node::new(context.child("a"), "a", ID, 9);
        let b = a.twin("b");
        let source = over(&context, vec![a.clone(), b.clone()], &Config::default());
        source.snapshot().await.unwrap();
        let asked = a.requests();
        a.tamper(|_, _| {
            let fault = Box::new(FaultKind::Unavailable.fault("a", "slow down"));
            Err(Unanswered::Busy { fault, after: Some(Duration::from_secs(60)) })
        });
        for _ in 0..20 {
            source.snapshot().await.unwrap();
        }
        assert_eq!(a.requests(), asked + 1);
        assert!(b.requests() >= 20);
    });
}
