//! Nodes that lag, lie, or are not ready.

use super::{
    chain::{Committee, World},
    node::{Node, follow, simulate},
};
use crate::{
    Error,
    rpc::{Answer, tests::script},
    tempo::{Config, TempoError},
};
use commonware_formatting::hex;
use commonware_runtime::deterministic;
use serde_json::{Value, json};
use tidewatch_core::{FaultKind, Height, Source as _, Tier};

fn edited(answer: &Answer, edit: impl FnOnce(&mut Value)) -> Answer {
    let mut value = serde_json::from_str(answer.as_ref().unwrap().get()).unwrap();
    edit(&mut value);
    script::result(&value)
}

/// Edits every finalization that is sent.
fn finalizations(node: &Node, edit: impl Fn(&mut Value) + Send + 'static) {
    node.edit("consensus_getFinalization", move |_, value| edit(value));
}

fn one(context: &deterministic::Context) -> Node {
    Node::new(context, "node", World::new(50, &[0, 1], 20))
}

#[test]
fn what_a_node_sends_as_a_finalization_is_refused_by_what_is_wrong_with_it() {
    type Edit = fn(&mut Value);
    let table: [(&str, FaultKind, Edit); 11] = [
        ("no answer", FaultKind::Malformed, |it| *it = json!(7)),
        ("no certificate", FaultKind::Malformed, |it| it["certificate"] = Value::Null),
        ("not hex", FaultKind::Malformed, |it| it["certificate"] = json!("0xzz")),
        ("empty", FaultKind::Malformed, |it| it["certificate"] = json!("")),
        ("no header", FaultKind::Malformed, |it| it["block"] = json!({"header": {}})),
        ("half a header", FaultKind::Malformed, |it| {
            it["block"]["header"].as_object_mut().unwrap().remove("sharedGasLimit");
        }),
        ("a field that only later ones follow", FaultKind::Malformed, |it| {
            it["block"]["header"].as_object_mut().unwrap().remove("baseFeePerGas");
        }),
        ("another field", FaultKind::WrongDigest, |it| {
            it["block"]["header"]["gasUsed"] = json!("0x1");
        }),
        ("another digest", FaultKind::WrongDigest, |it| {
            it["digest"] = json!(format!("0x{:064x}", 7));
        }),
        ("no context", FaultKind::WrongDigest, |it| {
            it["block"]["header"].as_object_mut().unwrap().remove("consensusContext");
        }),
        ("a signature by nobody", FaultKind::InvalidCertificate, |it| {
            let text = it["certificate"].as_str().unwrap();
            it["certificate"] = json!(format!("{}{}", &text[..text.len() - 96], "0".repeat(96)));
        }),
    ];
    for (what, kind, edit) in table {
        simulate(0, |context| async move {
            let node = one(&context);
            finalizations(&node, edit);
            let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
            let fault = tempo.snapshot().await.expect_err(what);
            assert_eq!(fault.kind, kind, "{what}: {fault}");
        });
    }
}

#[test]
fn a_certificate_by_other_holders_or_of_another_epoch_proves_nothing() {
    for (seed, epoch) in [(7, 0), (0, 1), (1, 1)] {
        simulate(seed, |context| async move {
            let node = one(&context);
            let forged = hex(&node.world.lock().forged(seed, 20, epoch));
            finalizations(&node, move |it| it["certificate"] = json!(forged));
            let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
            let fault = tempo.snapshot().await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::InvalidCertificate, "{fault}");
        });
    }
}

#[test]
fn a_full_change_of_the_key_is_followed_and_the_key_before_certifies_nothing_after_it() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(10, &[0, 0, 1], 25));
        let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
        let tips = tempo.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(node.world.lock().tip()));
        // The holders of the key before sign the next block, in its epoch.
        node.world.lock().extend(1);
        let old = hex(&node.world.lock().forged(0, 26, 2));
        finalizations(&node, move |it| it["certificate"] = json!(old));
        let fault = tempo.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidCertificate, "{fault}");
    });
}

#[test]
fn a_boundary_that_names_another_key_than_it_was_signed_with_is_another_block() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(10, &[0, 1], 12));
        node.tamper_each(|call, answer| {
            let boundary = json!({"height": 9});
            match call.method {
                "consensus_getFinalization" if call.params[0] == boundary => {
                    edited(&answer, |it| {
                        let outcome = Committee::of(9).outcome(1, false);
                        it["block"]["header"]["extraData"] = json!(format!("0x{}", hex(&outcome)));
                    })
                }
                _ => answer,
            }
        });
        let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
        let fault = tempo.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongDigest, "{fault}");
    });
}

#[test]
fn a_node_that_is_not_ready_says_so_and_one_without_a_certificate_has_none() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(10, &[0, 1], 12));
        node.change(|world| world.ready = false);
        let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
        // The newest is of an epoch whose boundary the archive has.
        let fault = tempo.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        let reason = fault.reason::<Error>();
        assert!(
            matches!(reason, Some(Error::Tempo(TempoError::NotReady { .. }))),
            "{fault} {reason:?}"
        );
        node.change(|world| world.ready = true);
        tempo.snapshot().await.unwrap();
        // Before the first certificate there is nothing to be verified.
        let young = Node::new(&context, "young", World::new(10, &[0, 1], 0));
        let (tempo, ..) = follow(&context, &[&young], false, &Config::default());
        let fault = tempo.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        young.change(|world| world.extend(1));
        tempo.snapshot().await.unwrap();
    });
}

#[test]
fn a_boundary_that_the_node_lacks_is_named() {
    simulate(0, |context| async move {
        let node = Node::new(&context, "node", World::new(10, &[0, 1], 12));
        node.change(|world| world.without = [9].into());
        let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
        let fault = tempo.snapshot().await.unwrap_err();
        assert!(fault.detail.contains("the block 9"), "{fault}");
    });
}

#[test]
fn an_older_node_gives_a_height_and_its_block_is_asked_for_by_digest() {
    simulate(0, |context| async move {
        let node = one(&context);
        node.change(|world| world.old = true);
        let (tempo, ..) = follow(&context, &[&node], false, &Config::default());
        let tips = tempo.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(node.world.lock().tip()));
        assert_eq!(node.calls("eth_getBlockByHash"), 1);
    });
}

#[test]
fn a_follower_that_lags_takes_no_tip_back() {
    simulate(0, |context| async move {
        let ahead = one(&context);
        let behind = Node::new(&context, "behind", World::new(50, &[0, 1], 20));
        behind.change(|world| world.lag = 5);
        let (tempo, ..) = follow(&context, &[&ahead, &behind], false, &Config::default());
        for _ in 0..6 {
            let tips = tempo.snapshot().await.unwrap().tips;
            assert_eq!(tips.block(Tier::Finalized), Some(ahead.world.lock().tip()));
        }
    });
}

#[test]
fn headers_that_do_not_hash_to_what_they_are_called_are_refused_and_another_node_gives_them() {
    simulate(0, |context| async move {
        let (good, bad) = (one(&context), Node::new(&context, "bad", World::new(50, &[0, 1], 20)));
        bad.tamper_each(|call, answer| match call.method {
            "eth_getBlockByNumber" if call.params[0] == "0x9" => {
                edited(&answer, |it| it["gasUsed"] = json!("0x7"))
            }
            _ => answer,
        });
        let (tempo, ..) = follow(&context, &[&good, &bad], false, &Config::default());
        let tip = tempo.snapshot().await.unwrap().tips.block(Tier::Finalized).unwrap();
        for _ in 0..4 {
            let blocks = tempo.blocks(tip, Height::new(1)).await.unwrap();
            assert_eq!(blocks, good.world.lock().blocks[1..]);
        }
    });
}
