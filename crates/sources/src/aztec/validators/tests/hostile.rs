//! Endpoints that say anything.

use super::replay::recorded;
use super::*;
use crate::aztec::validators::{abi, checkpoint::Pool, signature::Signature};
use serde_json::{Value, json, value::to_raw_value};
use tidewatch_core::FaultKind;
use tidewatch_sentinel::{Canonical as _, Committees as _, Epoch};

fn answer(value: &Value) -> Answer {
    Ok(to_raw_value(value).unwrap())
}

#[test]
fn a_signature_is_of_130_digits_or_is_refused() {
    let read = |text: &str| serde_json::from_value::<Signature>(json!(text));
    let whole = format!("0x{}1b", "1".repeat(128));
    assert_eq!(read(&whole).unwrap().bytes()[64], 27);
    assert_eq!(read(&format!("0x{}0", "0".repeat(128))).unwrap().v, 0, "nobody signed");
    let short = format!("0x{}1b", "1".repeat(126));
    for text in [
        "",
        "0x",
        &whole[2..],
        &short,
        &format!("{whole}0"),
        &format!("0x{}g", "1".repeat(128)),
        &format!("0x{}+1", "1".repeat(128)),
        &format!("0x{}é", "1".repeat(128)),
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(serde_json::from_value::<Signature>(json!(7)).is_err());
}

#[test]
fn a_signature_that_the_protocol_refuses_is_nobodys() {
    let pool = recorded("p2p_getCheckpointAttestationsForSlot", &[json!(76)]);
    let one = &pool[0];
    let heard = |signature: String| {
        let mut other = one.clone();
        other["signature"] = json!(signature);
        serde_json::from_value::<Pool>(json!([other])).unwrap().check("node", 76).unwrap()
    };
    let text = one["signature"].as_str().unwrap();
    assert_eq!(heard(text.into()).len(), 1);
    // The other v is another signer; a v that is none, nobody.
    let (scalars, v) = text.split_at(130);
    let other = if v == "1b" { "1c" } else { "1b" };
    assert!(
        heard(format!("{scalars}{other}")).iter().all(|heard| heard.attested.signer != id(ABSENT))
    );
    for v in ["0", "1", "1a", "1d", "1e", "ff"] {
        assert!(heard(format!("{scalars}{v}")).is_empty(), "{v}");
    }
    // The same signature with the higher s, which recovers to the same signer.
    let order = k256::elliptic_curve::bigint::U256::from_be_hex(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
    );
    let s = k256::elliptic_curve::bigint::U256::from_be_hex(&scalars[66..]);
    let high = order.wrapping_sub(&s);
    assert!(heard(format!("{}{high:x}{other}", &scalars[..66])).is_empty());
    for scalars in ["0".repeat(128), "f".repeat(128)] {
        assert!(heard(format!("0x{scalars}1b")).is_empty());
    }
}

#[test]
fn words_of_a_contract_are_whole_and_within_bounds() {
    let word = "0".repeat(63) + "7";
    let text = |words: &[&str]| answer(&json!(format!("0x{}", words.concat())));
    let [seven] = abi::words("l1", "it", &text(&[&word])).unwrap();
    assert_eq!(abi::number("l1", "it", &seven).unwrap(), 7);
    for bad in ["0x", "0x0", "0x00", "7", "0xzz", ""] {
        assert!(abi::words::<1>("l1", "it", &answer(&json!(bad))).is_err(), "{bad}");
    }
    assert!(abi::words::<2>("l1", "it", &text(&[&word])).is_err());
    assert!(abi::words::<1>("l1", "it", &answer(&json!(7))).is_err());
    assert!(abi::number("l1", "it", &[1; 32]).is_err());
    assert!(abi::address("l1", "it", &[1; 32]).is_err());
    let (offset, one) = (format!("{:064x}", 32), format!("{:064x}", 1));
    let member = format!("{:0>64}", ABSENT);
    let found = abi::addresses("l1", "it", &text(&[&offset, &one, &member])).unwrap();
    assert_eq!(commonware_formatting::hex(&found[0]), ABSENT);
    let many = format!("{:064x}", abi::MEMBERS_MAX + 1);
    for bad in [
        vec![],
        vec![&offset],
        vec![&offset, &one],
        vec![&one, &one, &member],
        vec![&offset, &one, &member, &member],
        vec![&offset, &many, &member],
    ] {
        let bad: Vec<&str> = bad.into_iter().map(String::as_str).collect();
        assert!(abi::addresses("l1", "it", &text(&bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn two_nodes_that_are_not_of_one_chain_are_refused_at_the_start() {
    run(|context| async move {
        let table: [(&'static str, Value, &str); 6] = [
            ("eth_chainId", json!("0x1"), "of chain 1, and the node's rollup lives on chain 31337"),
            ("eth_getCode", json!("0x"), "no rollup contract at 0x3228"),
            ("getVersion()", json!(format!("0x{:064x}", 9)), "rollup version 9"),
            ("getSlotDuration()", json!(format!("0x{:064x}", 0)), "duration of a slot"),
            ("getEpochDuration()", json!("0x"), "duration of an epoch"),
            ("getGenesisTime()", json!(format!("0x{}", "f".repeat(64))), "time of genesis"),
        ];
        for (method, value, words) in table {
            let network = Replay::at(81);
            network.change(method, move |answer| *answer = value.clone());
            let refused = validators(&context, &network, |_| ()).await.unwrap_err();
            assert!(refused.to_string().contains(words), "{method}: {refused}");
        }
        let network = Replay::at(81);
        network.change("node_getL1ContractAddresses", |answer| *answer = json!({}));
        assert!(validators(&context, &network, |_| ()).await.is_err());
    });
}

#[test]
fn answers_that_contradict_themselves_are_refused_with_a_reason() {
    run(|context| async move {
        // Whatever an endpoint says instead of a word, a list or an object.
        let table: [(&'static str, Value, FaultKind); 8] = [
            (
                "eth_getBlockByNumber",
                json!({"hash": "0x1", "timestamp": "0x1"}),
                FaultKind::Malformed,
            ),
            ("getTips()", json!("0x01"), FaultKind::Malformed),
            ("getTips()", json!(format!("0x{}", "f".repeat(128))), FaultKind::Malformed),
            ("getCheckpoint(uint256)", json!("0x"), FaultKind::Malformed),
            ("archiveAt(uint256)", json!("0x"), FaultKind::Malformed),
            ("node_getCheckpointsDataForEpoch", json!({}), FaultKind::Malformed),
            (
                "node_getCheckpointsDataForEpoch",
                json!([{"checkpointNumber": 3}]),
                FaultKind::Malformed,
            ),
            ("getCommitteeAt(uint256)", json!("0x00"), FaultKind::Malformed),
        ];
        for (method, value, kind) in table {
            let network = Replay::at(81);
            let parts = validators(&context, &network, |_| ()).await.unwrap();
            let standing = parts.canonical.standing().await.unwrap().unwrap();
            network.change(method, move |answer| *answer = value.clone());
            let found = async {
                parts.canonical.standing().await?;
                parts.canonical.at(&standing, Slot(76)..=Slot(81)).await?;
                parts.canonical.on_chain(&standing, &[standing.tip.block]).await?;
                parts.committees.committee(Epoch(9)).await
            };
            let refused = found.await.unwrap_err();
            assert_eq!(refused.kind, kind, "{method}: {refused}");
        }
        // Slots that do not ascend.
        let network = Replay::at(81);
        let parts = validators(&context, &network, |_| ()).await.unwrap();
        network.change("getCheckpoint(uint256)", |answer| {
            let text = answer.as_str().unwrap();
            let same = format!("{}{:064x}{}", &text[..2 + 6 * 64], 80, &text[2 + 7 * 64..]);
            *answer = json!(same);
        });
        let standing = parts.canonical.standing().await.unwrap().unwrap();
        let refused = parts.canonical.at(&standing, Slot(72)..=Slot(80)).await.unwrap_err();
        assert!(refused.to_string().contains("the one above it of slot 80"), "{refused}");
    });
}

#[test]
fn attestations_of_another_slot_or_too_many_are_refused() {
    let pool = recorded("p2p_getCheckpointAttestationsForSlot", &[json!(76)]);
    let read = |value: Value| serde_json::from_value::<Pool>(value).unwrap();
    let refused = read(pool.clone()).check("node", 77).unwrap_err();
    assert_eq!(refused.kind, FaultKind::WrongPosition);
    let many = Value::Array(vec![pool[0].clone(); 4_097]);
    assert_eq!(read(many).check("node", 76).unwrap_err().kind, FaultKind::Oversized);
}
