//! What was recorded, decoded and verified.

use super::{
    replay::{SLOTS, contract, recorded},
    *,
};
use crate::aztec::validators::checkpoint::{Data, Heard, Pool};
use serde_json::{Value, json};
use tidewatch_core::Height;
use tidewatch_sentinel::{AtSlot, Canonical as _, Committees as _, Epoch, Landed};

fn pool(slot: u64) -> Value {
    recorded("p2p_getCheckpointAttestationsForSlot", &[json!(slot)])
}

fn check(pool: &Value, slot: u64) -> Result<Vec<Heard>, CoreFault> {
    serde_json::from_value::<Pool>(pool.clone()).unwrap().check("node", slot)
}

#[test]
fn every_recorded_checkpoint_is_what_layer_1_has_with_the_signers_of_its_committee() {
    run(|context| async move {
        let parts = validators(&context, &Replay::at(81), |_| ()).await.unwrap();
        assert_eq!(parts.chain_info.id.to_string(), "aztec:31337:3128491003");
        assert_eq!((parts.constants.slot_seconds, parts.constants.epoch_slots), (24, 8));
        let standing = parts.canonical.standing().await.unwrap().unwrap();
        assert_eq!(standing.tip.block.height, Height::new(6));
        assert_eq!(standing.tip.slot, Slot(81), "a slot with a checkpoint has passed");
        let found = parts.canonical.at(&standing, Slot(72)..=Slot(82)).await.unwrap();
        for (slot, at) in (72..).zip(found) {
            match at {
                AtSlot::Landed(Landed { block, payload, attestors, trimmed, .. }) => {
                    assert_eq!(SLOTS[block.height.get() as usize - 1], slot);
                    let committee = parts.committees.committee(Epoch(slot / 8)).await.unwrap();
                    let mut present = committee.unwrap().to_vec();
                    present.retain(|member| *member != id(ABSENT));
                    assert_eq!(attestors, present, "in the order of the committee");
                    assert!(trimmed);
                    // What the node heard signs what the contract has.
                    let heard = check(&pool(slot), slot).unwrap();
                    assert!(heard.iter().all(|heard| heard.payload == payload));
                }
                AtSlot::Empty => assert!(!SLOTS.contains(&slot)),
                other => assert_eq!((slot, other), (82, AtSlot::NotPassed)),
            }
        }
    });
}

#[test]
fn who_proposes_is_drawn_as_the_contract_draws_it_and_signed_the_proposal() {
    run(|context| async move {
        let parts = validators(&context, &Replay::at(81), |_| ()).await.unwrap();
        for slot in 72..=81 {
            let drawn = parts.committees.proposer(Slot(slot)).await.unwrap().unwrap();
            let time = replay::GENESIS + slot * replay::SLOT;
            let theirs = contract("getProposerAt(uint256)", time);
            assert_eq!(drawn, id(&theirs.as_str().unwrap()[26..]), "slot {slot}");
            let heard = check(&pool(slot), slot).unwrap();
            assert_eq!(heard.is_empty(), drawn == id(ABSENT), "slot {slot}");
            for heard in heard {
                assert_eq!(heard.proposed.unwrap().signer, drawn, "slot {slot}");
            }
        }
    });
}

/// Every text in `value` that has a digit changed, one at a time.
fn flipped(value: &Value, place: &mut Vec<String>, all: &mut Vec<(Vec<String>, Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                place.push(name.clone());
                flipped(value, place, all);
                place.pop();
            }
        }
        Value::String(text) => {
            let from = if text.starts_with("0x") { 2 } else { 0 };
            for at in from..text.len() {
                let digit = char::from(text.as_bytes()[at]).to_digit(16).unwrap();
                let other = char::from_digit(digit ^ 1, 16).unwrap();
                let mut changed = text.clone();
                changed.replace_range(at..=at, &other.to_string());
                all.push((place.clone(), Value::String(changed)));
            }
        }
        Value::Number(number) => {
            all.push((place.clone(), json!(number.as_u64().unwrap() ^ 1)));
        }
        _ => {}
    }
}

fn put(value: &mut Value, place: &[String], changed: &Value) {
    let at = place.iter().fold(value, |value, name| &mut value[name.as_str()]);
    *at = changed.clone();
}

#[test]
fn every_changed_digit_of_what_is_signed_is_another_signer_or_is_refused() {
    let whole = pool(76);
    let one = &whole[0];
    let truth = check(&json!([one]), 76).unwrap().remove(0);
    let mut all = Vec::new();
    flipped(one, &mut Vec::new(), &mut all);
    assert!(all.len() > 800, "{}", all.len());
    for (place, changed) in all {
        let mut other = one.clone();
        put(&mut other, &place, &changed);
        let Ok(pool) = serde_json::from_value::<Pool>(json!([other])) else { continue };
        let Ok(heard) = pool.check("node", 76) else { continue };
        for heard in heard {
            if place == ["proposerSignature"] {
                assert_ne!(heard.proposed, truth.proposed, "{place:?}");
            } else {
                assert_ne!(heard.attested.signer, truth.attested.signer, "{place:?} {changed}");
            }
        }
    }
}

#[test]
fn every_changed_digit_of_a_published_checkpoint_is_refused() {
    run(|context| async move {
        let network = Replay::at(78);
        let parts = validators(&context, &network, |_| ()).await.unwrap();
        let moment = parts.committees.0.now().await.unwrap().unwrap();
        let past = parts.committees.0.past(&moment, Slot(76)).await.unwrap();
        let on_l1 = past.at(Slot(76)).unwrap();
        let all = recorded("node_getCheckpointsDataForEpoch", &[json!(9)]);
        let data = all.as_array().unwrap().iter().find(|data| data["checkpointNumber"] == 3);
        let data = data.unwrap();
        let read = |value: &Value| serde_json::from_value::<Data>(value.clone());
        assert_eq!(read(data).unwrap().check("node", on_l1).unwrap().attested.len(), 3);
        let mut changes = Vec::new();
        flipped(&data["header"], &mut vec!["header".into()], &mut changes);
        flipped(&data["archive"]["root"], &mut vec!["archive".into(), "root".into()], &mut changes);
        for (place, changed) in changes {
            let mut other = data.clone();
            put(&mut other, &place, &changed);
            let Ok(data) = read(&other) else { continue };
            assert!(data.check("node", on_l1).is_err(), "{place:?} {changed}");
        }
        for at in 0..4 {
            let place = &data["attestations"][at];
            let mut changes = Vec::new();
            flipped(&place["signature"], &mut vec!["signature".into()], &mut changes);
            // Beside a signature no address was published.
            if place["address"] != "0x0000000000000000000000000000000000000000" {
                changes.clear();
                flipped(&place["address"], &mut vec!["address".into()], &mut changes);
            }
            for (place, changed) in changes {
                let mut other = data.clone();
                put(&mut other["attestations"][at], &place, &changed);
                let Ok(data) = read(&other) else { continue };
                assert!(data.check("node", on_l1).is_err(), "{place:?} {changed}");
            }
        }
        let mut fewer = data.clone();
        fewer["attestations"].as_array_mut().unwrap().pop();
        assert!(read(&fewer).unwrap().check("node", on_l1).is_err());
    });
}

#[test]
fn nobody_is_due_before_there_are_validators_enough_and_on_a_network_without_a_committee() {
    run(|context| async move {
        let network = Replay::at(81);
        let parts = validators(&context, &network, |_| ()).await.unwrap();
        assert_eq!(parts.committees.committee(Epoch(2)).await.unwrap(), None);
        assert_eq!(parts.committees.proposer(Slot(20)).await.unwrap(), None);
        network.change("getTargetCommitteeSize()", |size| *size = json!(format!("0x{:064x}", 0)));
        let parts = validators(&context, &network, |_| ()).await.unwrap();
        assert_eq!(parts.committees.committee(Epoch(9)).await.unwrap(), None);
        assert_eq!(parts.committees.proposer(Slot(76)).await.unwrap(), None);
    });
}

#[test]
fn what_layer_1_took_back_is_not_on_the_chain_and_an_answer_of_another_block_is_torn() {
    run(|context| async move {
        let network = Replay::at(81);
        let parts = validators(&context, &network, |_| ()).await.unwrap();
        let before = parts.canonical.standing().await.unwrap().unwrap();
        network.lose(2);
        let torn = parts.canonical.at(&before, Slot(76)..=Slot(81)).await.unwrap_err();
        assert!(!torn.severity().is_fatal(), "{torn}");
        let after = parts.canonical.standing().await.unwrap().unwrap();
        assert_eq!((after.tip.block.height, after.tip.slot), (Height::new(4), Slot(80)));
        let torn = parts.canonical.on_chain(&before, &[]).await.unwrap_err();
        assert_eq!(torn.kind, tidewatch_core::FaultKind::Torn);
        let blocks = [before.tip.block, after.tip.block];
        assert_eq!(parts.canonical.on_chain(&after, &blocks).await.unwrap(), [false, true]);
        let found = parts.canonical.at(&after, Slot(78)..=Slot(80)).await.unwrap();
        assert!(matches!(found[..], [AtSlot::Landed(_), AtSlot::Empty, AtSlot::Empty]));
    });
}

#[test]
fn of_slots_that_the_contract_keeps_no_more_nothing_can_be_told() {
    run(|context| async move {
        let network = Replay::at(81);
        let parts = validators(&context, &network, |_| ()).await.unwrap();
        let third = format!("{}{:064x}", replay::selector("getCheckpoint(uint256)"), 3);
        network.tamper(move |_, params, answer| match params.first() {
            Some(call) if call["data"] == third.as_str() => {
                Err(RpcError { code: 3, message: "execution reverted".into() })
            }
            _ => answer,
        });
        let standing = parts.canonical.standing().await.unwrap().unwrap();
        let found = parts.canonical.at(&standing, Slot(76)..=Slot(79)).await.unwrap();
        let expected = [true, true, false, false];
        assert_eq!(found.iter().map(|at| *at == AtSlot::Unknown).collect::<Vec<_>>(), expected);
    });
}
