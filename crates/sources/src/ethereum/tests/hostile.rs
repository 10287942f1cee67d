//! Answers that cannot be true, or are none.

use super::{Follower, ID, node::Node, over, scripted, simulate};
use crate::rpc::{Answer, Call, Config, RpcError, Unanswered};
use alloy_rpc_types_eth::Header as RpcHeader;
use commonware_runtime::Supervisor as _;
use serde_json::{Value, json, value::to_raw_value};
use tidewatch_core::{Block, Fault, FaultKind, Height, Source as _};

fn raw(value: &Value) -> Answer {
    Ok(to_raw_value(value).unwrap())
}

fn value(answer: &Answer) -> Value {
    serde_json::from_str(answer.as_ref().unwrap().get()).unwrap()
}

/// Answers the truth, but that `wrong` changes the answer to every call that asks for block `height`.
fn wrong_at(node: &Node, height: u64, wrong: impl Fn(Value) -> Answer + Send + Sync + 'static) {
    let height = json!(format!("0x{height:x}"));
    node.tamper(move |calls, truth| {
        let answers = calls.iter().zip(truth).map(|(call, answer)| {
            if call.params.first() == Some(&height) { wrong(value(&answer)) } else { answer }
        });
        Ok(answers.collect())
    });
}

fn edited(mut block: Value, field: &str, to: Value) -> Value {
    block[field] = to;
    block
}

#[test]
fn a_header_that_is_not_the_one_asked_for_is_refused_by_what_is_wrong_with_it() {
    use FaultKind::{Malformed, Oversized, Unavailable, WrongDigest, WrongPosition};
    type Wrong = fn(Value) -> Answer;
    let table: [(&str, Wrong, FaultKind); 8] = [
        ("a field", |block| raw(&edited(block, "gasUsed", json!("0x7"))), WrongDigest),
        ("its hash", |b| raw(&edited(b, "hash", json!(format!("0x{:064x}", 7)))), WrongDigest),
        ("no field", |block| raw(&edited(block, "stateRoot", Value::Null)), Malformed),
        ("no block", |_| raw(&json!("0x7")), Malformed),
        ("negative", |block| raw(&edited(block, "number", json!("-0x7"))), Malformed),
        (
            "huge",
            |b| raw(&edited(b, "extraData", json!(format!("0x{}", "00".repeat(100_000))))),
            Oversized,
        ),
        (
            "an error",
            |_| Err(RpcError { code: -32603, message: "internal error".into() }),
            Unavailable,
        ),
        ("another block", |_| Ok(to_raw_value(&Value::Null).unwrap()), WrongPosition),
    ];
    for (case, wrong, kind) in table {
        simulate(0, |context| async move {
            let (node, source) = scripted(&context, 40, &Config::default());
            let mut follower = Follower::start(source).await;
            follower.source.snapshot().await.unwrap();
            let other = value(&node.truth(&[by_height(9)]).remove(0));
            if kind == WrongPosition {
                wrong_at(&node, 7, move |_| raw(&other));
            } else {
                wrong_at(&node, 7, wrong);
            }
            let heights = [5, 6, 7, 8].map(Height::new);
            let digests = follower.source.digests(node.tip(), &heights).await.unwrap_err();
            assert_eq!(digests.kind, kind, "{case}: {digests}");
            let below = follower.source.blocks(node.tip(), Height::new(5)).await.unwrap();
            let below: Vec<_> = below.iter().map(Block::reference).collect();
            assert_eq!(below, [node.at(5), node.at(6)], "{case}: it costs no other block");
            let blocks = follower.source.blocks(node.tip(), Height::new(7)).await.unwrap_err();
            assert_eq!(blocks.kind, kind, "{case}: {blocks}");
            assert!(blocks.detail.contains("block 7"), "{case}: {blocks}");
            assert_eq!(follower.source.work().refusals.get(kind.as_str()), Some(&2), "{case}");
            // Nothing of it is remembered.
            node.change(|world| world.tamper = None);
            follower.pass().await;
            follower.assert_at(&node).await;
        });
    }
}

fn by_height(height: u64) -> Call {
    Call::new("eth_getBlockByNumber", vec![json!(format!("0x{height:x}")), false.into()])
}

#[test]
fn a_node_without_safe_and_finalized_has_no_such_tiers_however_it_says_so() {
    use tidewatch_core::Tier;
    let absent = [(-39001, "Unknown block"), (-32602, "invalid tag"), (-32000, "block not found")];
    for (code, message) in absent {
        simulate(0, |context| async move {
            let (node, source) = scripted(&context, 40, &Config::default());
            node.tamper(move |calls, truth| {
                let answers = truth.into_iter().zip(calls).map(|(answer, call)| {
                    let tag = call.params.first().and_then(Value::as_str);
                    let error = RpcError { code, message: message.into() };
                    if matches!(tag, Some("safe" | "finalized")) { Err(error) } else { answer }
                });
                Ok(answers.collect())
            });
            let mut follower = Follower::start(source).await;
            follower.pass().await;
            node.change(|world| world.extend(1_000));
            follower.pass().await;
            let watermarks = follower.watermarks().await;
            assert_eq!(watermarks.tips.block(Tier::Proposed), Some(node.tip()));
            for tier in [Tier::Checkpointed, Tier::Proven, Tier::Finalized] {
                assert_eq!(watermarks.tips.get(tier), None, "no depth is finality");
            }
        });
    }
}

#[test]
fn genesis_is_a_tip_like_any_other() {
    use tidewatch_core::Tier;
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 0, &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        let tips = follower.watermarks().await.tips;
        for tier in [Tier::Proposed, Tier::Checkpointed, Tier::Finalized] {
            assert_eq!(tips.block(tier), Some(node.at(0)), "{tier}");
        }
    });
}

async fn snapshot_fault(node: &Node, answer: Result<Vec<Answer>, Unanswered>) -> Fault {
    let context = node.context();
    let source = over(context, vec![node.clone()], &Config::default());
    source.chain_info().await.unwrap();
    node.tamper(move |calls, _| {
        let mut answers = answer.clone()?;
        answers.truncate(calls.len());
        Ok(answers)
    });
    let fault = source.snapshot().await.unwrap_err();
    node.change(|world| world.tamper = None);
    fault
}

#[test]
fn a_snapshot_is_whole_or_none() {
    simulate(0, |context| async move {
        let node = Node::new(context.child("node"), "node", ID, 9);
        let null = || raw(&Value::Null);
        let few = snapshot_fault(&node, Ok(vec![null()])).await;
        assert_eq!(few.kind, FaultKind::Malformed, "{few}");
        let none = snapshot_fault(&node, Ok(vec![null(), null(), null()])).await;
        assert_eq!(none.kind, FaultKind::Missing, "{none}");
        let error = Err(RpcError { code: -32005, message: "limit exceeded".into() });
        let answers = vec![error.clone(), error.clone(), error];
        let busy = snapshot_fault(&node, Ok(answers)).await;
        assert_eq!(busy.kind, FaultKind::Unavailable, "{busy}");
    });
}

#[test]
fn tags_of_two_moments_are_asked_for_again() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 40, &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        // Finality came to 42 between the first answer and the last.
        let mut torn = true;
        let old = node.truth(&[Call::new("eth_getBlockByNumber", vec!["latest".into()])]).remove(0);
        node.change(|world| {
            world.extend(2);
            (world.safe, world.finalized) = (Some(42), Some(42));
        });
        node.tamper(move |_, mut answers| {
            if std::mem::take(&mut torn) {
                answers[0] = old.clone();
            }
            Ok(answers)
        });
        follower.pass().await;
        follower.assert_at(&node).await;
        assert_eq!(follower.source.work().refusals.get("torn"), Some(&1));
    });
}

#[test]
fn an_answer_from_another_chain_than_the_tip_is_none() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 40, &Config::default());
        let mut follower = Follower::start(source).await;
        let tip =
            follower.source.snapshot().await.unwrap().tips.block(tidewatch_core::Tier::Proposed);
        node.change(|world| world.reorg(5, 9));
        let digests = follower.source.digests(tip.unwrap(), &[Height::new(38)]).await.unwrap_err();
        assert_eq!(digests.kind, FaultKind::Torn);
        assert_eq!(follower.source.blocks(tip.unwrap(), Height::new(3)).await.unwrap(), []);
        follower.pass().await;
        follower.assert_at(&node).await;
    });
}

#[test]
fn a_tip_above_which_there_is_no_height_is_refused() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 3, &Config::default());
        source.chain_info().await.unwrap();
        node.tamper(|_, mut truth| {
            let mut latest: RpcHeader = serde_json::from_value(value(&truth[0])).unwrap();
            latest.inner.number = u64::MAX;
            truth[0] = raw(&serde_json::to_value(RpcHeader::new(latest.inner)).unwrap());
            Ok(truth)
        });
        assert_eq!(source.snapshot().await.unwrap_err().kind, FaultKind::WrongPosition);
    });
}

#[test]
fn what_is_wrong_with_an_answer_is_said_in_few_words() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 3, &Config::default());
        node.tamper(|calls, _| Ok(vec![raw(&json!("a".repeat(5_000))); calls.len()]));
        let fault = source.chain_info().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed);
        assert!(fault.to_string().len() < 300, "{fault}");
    });
}
