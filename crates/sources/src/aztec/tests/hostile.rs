//! Nodes that lie, move, or say nothing that can be understood.

use super::*;
use crate::rpc::tests::script::error;
use serde_json::{Value, json};
use tidewatch_core::{Block as _, Fault, FaultKind, Height, Severity};

/// What the source says when every result of `method` is changed by `change`.
async fn lied(
    context: &deterministic::Context,
    method: &'static str,
    change: impl Fn(&[Value], &mut Value) + Send + 'static,
) -> [Result<(), Fault>; 3] {
    let node = Node::new(9);
    let (source, tip) = ready(context, &node).await;
    node.edit(method, change);
    let snapshot = source.snapshot().await.map(drop);
    let digests = source.digests(tip, &[3, 5].map(Height::new)).await.map(drop);
    // What is below a bad block is an answer, and the next question begins with it.
    let blocks = match source.blocks(tip, Height::new(4)).await {
        Ok(blocks) if blocks.last().is_some_and(|last| last.reference() == node.at(8)) => {
            source.blocks(tip, tip.height).await
        }
        blocks => blocks,
    };
    [snapshot, digests, blocks.map(drop)]
}

/// At `pointer` of every element of a list, or of the value itself.
fn at(pointer: &'static str, value: Value) -> impl Fn(&[Value], &mut Value) + Send + Sync {
    move |_, result| match result {
        Value::Array(results) => {
            let Some(last) = results.last_mut() else { return };
            *last.pointer_mut(pointer).unwrap() = value.clone();
        }
        result => *result.pointer_mut(pointer).unwrap() = value.clone(),
    }
}

#[test]
fn answers_that_cannot_be_true_are_refused_by_what_is_wrong_with_them() {
    run(|context| async move {
        const TIPS: &str = "node_getL2Tips";
        const HEADER: &str = "node_getBlockHeader";
        const BLOCKS: &str = "node_getBlocks";
        type Change = Box<dyn Fn(&[Value], &mut Value) + Send + Sync>;
        let (malformed, position) = (FaultKind::Malformed, FaultKind::WrongPosition);
        let table: Vec<(&'static str, usize, Change, FaultKind)> = vec![
            (TIPS, 0, Box::new(|_, tips| *tips = Value::Null), malformed),
            (TIPS, 0, Box::new(at("/proposed", json!(null))), malformed),
            (TIPS, 0, Box::new(at("/finalized/block/hash", json!("0x77"))), FaultKind::WrongDigest),
            (HEADER, 1, Box::new(|_, header| *header = json!([])), malformed),
            (HEADER, 1, Box::new(at("/state", json!({}))), malformed),
            (HEADER, 1, Box::new(at("/globalVariables/blockNumber", json!(8))), position),
            (BLOCKS, 2, Box::new(|_, blocks| *blocks = Value::Null), malformed),
            (BLOCKS, 2, Box::new(at("/header", json!("0x77"))), malformed),
            (BLOCKS, 2, Box::new(at("/header/globalVariables/blockNumber", json!(4))), position),
            (BLOCKS, 2, Box::new(at("/header/globalVariables/chainId", json!(1))), position),
            (
                BLOCKS,
                2,
                Box::new(at("/header/lastArchive/root", json!("0x77"))),
                FaultKind::NotLinked,
            ),
            (
                BLOCKS,
                2,
                Box::new(|_, blocks| {
                    let last = blocks[0].clone();
                    blocks.as_array_mut().unwrap().extend(std::iter::repeat_n(last, 60));
                }),
                FaultKind::Oversized,
            ),
        ];
        for (case, (method, call, change, kind)) in table.into_iter().enumerate() {
            let answers = lied(&context.child("case"), method, change).await;
            for (nth, answer) in answers.into_iter().enumerate() {
                let refused = answer.err().map(|fault| fault.kind);
                assert_eq!(refused, (nth == call).then_some(kind), "case {case}, call {nth}");
            }
        }
    });
}

#[test]
fn a_tip_whose_header_hashes_to_something_else_has_no_blocks_and_no_digests() {
    run(|context| async move {
        let node = Node::new(9);
        node.edit("node_getL2Tips", at("/proposed/hash", json!("0x77")));
        let source = source(&context, node.clone());
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        assert_ne!(tip, node.tip());
        assert_eq!(source.blocks(tip, Height::new(1)).await, Ok(Vec::new()));
        let fault = source.digests(tip, &[Height::new(3)]).await.unwrap_err();
        assert_eq!((fault.kind, fault.severity()), (FaultKind::Torn, Severity::Behind));
    });
}

/// Says of block 9 that it left another archive than it did.
fn wrong_archive(_: &[Value], blocks: &mut Value) {
    for block in blocks.as_array_mut().unwrap() {
        if block["header"]["globalVariables"]["blockNumber"] == json!(9) {
            block["archive"]["root"] = json!("0x77");
        }
    }
}

#[test]
fn a_block_is_linked_by_the_archive_that_it_stands_on_and_by_nothing_else() {
    run(|context| async move {
        let node = Node::new(9);
        let (source, tip) = ready(&context, &node).await;
        // The archive of the tip is what the node says: nothing stands on it yet.
        node.edit("node_getBlocks", wrong_archive);
        let blocks = source.blocks(tip, Height::new(1)).await.unwrap();
        assert_eq!(blocks.last().unwrap().reference(), tip);
        node.grow_by(1);
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        let fault = source.blocks(tip, Height::new(10)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotLinked);
        assert!(fault.detail.starts_with("block 10 stands on the archive"), "{fault}");
        node.world.lock().tamper = None;
        let blocks = source.blocks(tip, Height::new(10)).await.unwrap();
        assert_eq!((blocks[0].reference(), blocks[0].parent()), (tip, node.at(9).digest));
    });
}

#[test]
fn block_1_of_another_genesis_is_not_linked() {
    run(|context| async move {
        let node = Node::new(3);
        let (source, tip) = ready(&context, &node).await;
        node.edit("node_getBlocks", |_, blocks| {
            blocks[0]["header"]["lastArchive"]["root"] = json!("0x77");
        });
        let fault = source.blocks(tip, Height::new(1)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotLinked);
        assert!(fault.detail.contains("block 1 stands on the archive 0x0000"), "{fault}");
    });
}

#[test]
fn a_node_that_moves_away_has_neither_blocks_nor_digests_of_the_tip() {
    run(|context| async move {
        let node = Node::new(120);
        let (source, tip) = ready(&context, &node).await;
        node.fork(1, 1);
        // A range that ends below the tip is bound to it all the same.
        assert_eq!(source.blocks(tip, Height::new(1)).await, Ok(Vec::new()));
        assert_eq!(source.blocks(tip, Height::new(120)).await, Ok(Vec::new()));
        let fault = source.digests(tip, &[Height::new(3)]).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Torn);
        // The next question is about where it stands now.
        let digests = source.digests(node.tip(), &[Height::new(120)]).await.unwrap();
        assert_eq!(digests, [Some(node.tip().digest)]);
        let short = Node::new(4);
        let (source, tip) = ready(&context, &short).await;
        short.fork(2, 0);
        assert_eq!(source.blocks(tip, Height::new(3)).await, Ok(Vec::new()));
    });
}

#[test]
fn a_header_that_is_missing_below_the_tip_is_no_digest() {
    run(|context| async move {
        let node = Node::new(9);
        let (source, tip) = ready(&context, &node).await;
        node.edit("node_getBlockHeader", |params, header| {
            if params[0] == json!(3) {
                *header = Value::Null;
            }
        });
        let digests = source.digests(tip, &[5, 3, 10].map(Height::new)).await.unwrap();
        assert_eq!(digests, [Some(node.at(5).digest), None, None]);
    });
}

#[test]
fn errors_of_the_node_and_of_the_way_there_pass_through_with_their_kind() {
    run(|context| async move {
        let node = Node::new(9);
        let (source, tip) = ready(&context, &node).await;
        let kinds = [FaultKind::Malformed, FaultKind::UnexpectedContent, FaultKind::Unreachable];
        for kind in kinds {
            // Such as an answer that is cut off: no JSON, and so no answer to any call.
            node.fail(kind.fault("node", "EOF while parsing"));
            assert_eq!(source.snapshot().await.unwrap_err().kind, kind);
            assert_eq!(source.blocks(tip, Height::new(1)).await.unwrap_err().kind, kind);
            assert_eq!(source.digests(tip, &[Height::new(1)]).await.unwrap_err().kind, kind);
        }
        node.world.lock().tamper = None;
        node.tamper_each(|_, _| error(-32000, "not synced"));
        let fault = source.blocks(tip, Height::new(1)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(fault.detail.contains("not synced"), "{fault}");
    });
}

#[test]
fn a_node_that_learns_nobody_a_lower_limit_is_not_asked_for_ever() {
    run(|context| async move {
        let node = Node::new(9);
        let (source, tip) = ready(&context, &node).await;
        node.tamper_each(|call, answer| match call.method {
            "node_getBlocks" => {
                error(-32701, format!("Number must be less than or equal to {}", call.params[1]))
            }
            _ => answer,
        });
        let fault = source.blocks(tip, Height::new(1)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
    });
}

#[test]
fn an_endpoint_of_another_chain_is_left_out() {
    run(|context| async move {
        let (ours, other) = (Node::new(9), Node::new(5));
        other.edit("node_getVersion", |_, version| *version = json!(5));
        let nodes = vec![ours.clone(), other.clone()];
        let child = context.child("two");
        let source = AztecSource::new(child, nodes, Arc::new(()), &Config::default()).unwrap();
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed);
        assert_eq!(tip, Some(ours.tip()));
        ours.fail(FaultKind::Unreachable.fault("node", "gone"));
        assert!(source.snapshot().await.is_err(), "rather than tips of another chain");
        ours.world.lock().tamper = None;
        assert!(source.snapshot().await.is_ok());
    });
}

#[test]
fn of_two_endpoints_that_disagree_neither_gives_blocks_of_the_others_tip() {
    run(|context| async move {
        let (ahead, behind) = (Node::new(9), Node::new(7));
        let nodes = vec![ahead.clone(), behind.clone()];
        let child = context.child("two");
        let source = AztecSource::new(child, nodes, Arc::new(()), &Config::default()).unwrap();
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        ahead.fail(FaultKind::Unreachable.fault("node", "gone"));
        assert_eq!(source.blocks(tip, Height::new(8)).await, Ok(Vec::new()));
        let fault = source.digests(tip, &[Height::new(3)]).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Torn);
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Proposed), Some(behind.tip()));
    });
}
