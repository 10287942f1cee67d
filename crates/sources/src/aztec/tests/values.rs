//! Values as they come, by tables.

use super::*;
use crate::{
    aztec::{
        block::Sealed,
        calls::{learned_limit, read_blocks, read_header, read_tips},
        memory::{Bound, Memory, Range},
        tests::{node::header_json, recorded},
    },
    rpc::{Answer, RpcError},
};
use commonware_codec::{Decode as _, Encode as _};
use commonware_cryptography::{Hasher as _, Sha256};
use serde_json::{Value, json, value::to_raw_value};
use tidewatch_core::{Block as _, Digest, FaultKind, Height};

/// The modulus of the field.
const MODULUS: &str = "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";

fn answer(value: &Value) -> Answer {
    Ok(to_raw_value(value).unwrap())
}

/// The recorded header 1 with `value` at `pointer`.
fn header_with(pointer: &str, value: Value) -> Value {
    let mut header = header_json(&recorded::header(1));
    *header.pointer_mut(pointer).expect("a field of a header") = value;
    header
}

#[test]
fn an_element_is_a_number_digits_or_hex_digits_below_the_modulus() {
    let below = MODULUS.replace("0001", "0000");
    let one = Field::from(1_u64);
    let right = [
        (json!(1), one),
        (json!(u64::MAX), u64::MAX.into()),
        (json!("1"), one),
        (json!("0"), Field::ZERO),
        (json!(u128::MAX.to_string()), u128::MAX.into()),
        (json!("0x1"), one),
        (json!("0x0000000000000000000000000000000000000000000000000000000000000001"), one),
        (json!("0xaB"), Field::from(0xab_u64)),
    ];
    for (text, element) in right {
        assert_eq!(serde_json::from_value::<Field>(text.clone()).unwrap(), element, "{text}");
    }
    let highest: Field = serde_json::from_value(json!(below)).unwrap();
    assert_eq!(highest.to_string(), below);
    let wrong = [
        json!(MODULUS),
        json!(format!("0x{}", "f".repeat(64))),
        json!(format!("0x{}", "0".repeat(65))),
        json!("340282366920938463463374607431768211456"),
        json!("9".repeat(10_000)),
        json!(""),
        json!("0x"),
        json!("0X1"),
        json!("+1"),
        json!("-1"),
        json!(" 1"),
        json!("1e3"),
        json!("0x-1"),
        json!("é"),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(null),
        json!([1]),
    ];
    for text in wrong {
        let refused = serde_json::from_value::<Field>(text.clone());
        assert!(refused.is_err(), "{text} is {refused:?}");
        assert!(refused.unwrap_err().to_string().len() < 200, "{text} is repeated");
    }
}

#[test]
fn a_field_of_a_header_that_is_too_large_is_malformed() {
    let two_to_the_128 = json!(format!("0x1{}", "0".repeat(32)));
    let wrong = [
        ("/globalVariables/blockNumber", json!("18446744073709551616")),
        ("/globalVariables/timestamp", json!("18446744073709551616")),
        ("/globalVariables/chainId", two_to_the_128.clone()),
        ("/globalVariables/version", json!(null)),
        ("/globalVariables/slotNumber", json!("0x")),
        ("/globalVariables/coinbase", json!(format!("0x1{}", "0".repeat(40)))),
        ("/globalVariables/gasFees/feePerDaGas", two_to_the_128),
        ("/lastArchive/root", json!(MODULUS)),
        ("/lastArchive/nextAvailableLeafIndex", json!("18446744073709551616")),
        ("/state/partial/publicDataTree", json!({})),
        ("/state", json!(null)),
        ("/totalFees", json!(MODULUS)),
    ];
    for (pointer, value) in wrong {
        let header = answer(&header_with(pointer, value.clone()));
        let fault = read_header("node", 1, &header).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{pointer} {value}");
    }
}

#[test]
fn each_field_of_a_header_changes_its_hash() {
    let header = recorded::header(1);
    let mut seen = vec![header.digest()];
    let pointers = [
        "/lastArchive/root",
        "/lastArchive/nextAvailableLeafIndex",
        "/state/l1ToL2MessageTree/root",
        "/state/l1ToL2MessageTree/nextAvailableLeafIndex",
        "/state/partial/noteHashTree/root",
        "/state/partial/noteHashTree/nextAvailableLeafIndex",
        "/state/partial/nullifierTree/root",
        "/state/partial/nullifierTree/nextAvailableLeafIndex",
        "/state/partial/publicDataTree/root",
        "/state/partial/publicDataTree/nextAvailableLeafIndex",
        "/spongeBlobHash",
        "/globalVariables/chainId",
        "/globalVariables/version",
        "/globalVariables/blockNumber",
        "/globalVariables/slotNumber",
        "/globalVariables/timestamp",
        "/globalVariables/coinbase",
        "/globalVariables/feeRecipient",
        "/globalVariables/gasFees/feePerDaGas",
        "/globalVariables/gasFees/feePerL2Gas",
        "/totalFees",
        "/totalManaUsed",
    ];
    assert_eq!(pointers.len(), header.fields().len());
    for pointer in pointers {
        let changed: Header = serde_json::from_value(header_with(pointer, json!(77))).unwrap();
        let digest = changed.digest();
        assert!(!seen.contains(&digest), "{pointer}");
        seen.push(digest);
    }
}

#[test]
fn a_block_keeps_its_bytes_and_is_hashed_when_they_are_read() {
    let archive = recorded::header(2).last_archive;
    let header = recorded::header(1);
    let digest = header.digest();
    let block = Sealed { header, digest, archive }.on(recorded::header(0).digest());
    let bytes = block.encode();
    let frozen = format!("{} {}", bytes.len(), &Sha256::hash(&[&bytes]).to_string()[..16]);
    assert_eq!(frozen, "492 6eb280ff91116c6c");
    let read = AztecBlock::decode_cfg(bytes.clone(), &()).unwrap();
    assert_eq!((read.reference(), &read), (block.reference(), &block));
    for cut in 0..bytes.len() {
        assert!(AztecBlock::decode_cfg(bytes.slice(..cut), &()).is_err(), "cut at {cut}");
    }
    let mut other = bytes.to_vec();
    other[31] ^= 1;
    let other = AztecBlock::decode_cfg(&other[..], &()).unwrap();
    assert_ne!(other.reference().digest, block.reference().digest, "of another last archive");
    let above = [&[0xff; 32], &bytes[32..]].concat();
    assert!(AztecBlock::decode_cfg(&above[..], &()).is_err(), "above the modulus");
}

#[test]
fn tips_are_each_tiers_own_and_genesis_goes_by_two_names() {
    let genesis = recorded::header(0).reference();
    let hash = |fill: u8| Field::new([fill; 32]).unwrap().to_string();
    let block = |number: u64, hash: &str| json!({"number": number, "hash": hash});
    let tip = |number: u64, fill: u8| json!({"block": block(number, &hash(fill)), "checkpoint": block(number / 2, &hash(9))});
    let at = |number, fill| Some(BlockRef::new(Height::new(number), Digest([fill; 32])));
    let own = Field::new(genesis.digest.0).unwrap().to_string();
    let start = |name: &str| json!({"block": block(0, name), "checkpoint": block(0, &hash(9))});
    let table = [
        (tip(5, 3), tip(4, 2), tip(3, 1), [at(5, 3), at(4, 2), at(3, 1)]),
        (tip(5, 3), json!(null), tip(3, 1), [at(5, 3), None, at(3, 1)]),
        (
            tip(5, 3),
            start(recorded::GENESIS),
            start(&own),
            [at(5, 3), Some(genesis), Some(genesis)],
        ),
        // What breaks the ladder is for a pass to refuse.
        (tip(1, 1), tip(6, 4), tip(20, 5), [at(1, 1), at(6, 4), at(20, 5)]),
    ];
    for (checkpointed, proven, finalized, want) in table {
        let wire = json!({
            "proposed": block(6, &hash(4)), "checkpointed": checkpointed, "proven": proven,
            "finalized": finalized,
        });
        let (proposed, tips) = read_tips("node", genesis, &answer(&wire)).unwrap();
        assert_eq!(Some(proposed), at(6, 4));
        assert_eq!(tips.block(Tier::Proposed), at(6, 4));
        assert_eq!(tips.get(Tier::Proposed).unwrap().checkpoint, None);
        let lower = [Tier::Checkpointed, Tier::Proven, Tier::Finalized];
        assert_eq!(lower.map(|tier| tips.block(tier)), want, "{wire}");
        for tip in lower.into_iter().filter_map(|tier| tips.get(tier)) {
            let checkpoint = tip.checkpoint.unwrap();
            assert_eq!(checkpoint.number, tip.block.height.get() / 2);
            assert_eq!(checkpoint.digest, Digest([9; 32]));
        }
    }
}

#[test]
fn tips_that_are_none_are_refused_by_what_is_wrong() {
    let genesis = recorded::header(0).reference();
    let proposed = json!({"number": 3, "hash": "0x05"});
    let stranger = json!({"block": {"number": 0, "hash": "0x05"}, "checkpoint": proposed});
    let table = [
        (json!(null), FaultKind::Malformed),
        (json!([]), FaultKind::Malformed),
        (json!({}), FaultKind::Malformed),
        (json!({"proposed": null}), FaultKind::Malformed),
        (json!({"proposed": {"number": 3}}), FaultKind::Malformed),
        (json!({"proposed": {"number": -3, "hash": "0x05"}}), FaultKind::Malformed),
        (json!({"proposed": {"number": 3, "hash": MODULUS}}), FaultKind::Malformed),
        (json!({"proposed": proposed, "finalized": {"block": proposed}}), FaultKind::Malformed),
        (json!({"proposed": proposed, "finalized": stranger}), FaultKind::WrongDigest),
        (json!({"proposed": {"number": 0, "hash": "0x05"}}), FaultKind::WrongDigest),
    ];
    for (wire, kind) in table {
        let fault = read_tips("node", genesis, &answer(&wire)).unwrap_err();
        assert_eq!(fault.kind, kind, "{wire}");
    }
    let busy: Answer = Err(RpcError { code: -32000, message: "busy".into() });
    let fault = read_tips("node", genesis, &busy).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
}

#[test]
fn a_limit_is_learned_from_its_refusal_and_from_nothing_else() {
    let table = [
        (-32701, "Number must be less than or equal to 50 (1)", Some(50)),
        (-32701, "Number must be less than or equal to 20", Some(20)),
        (-32701, "Number must be less than or equal to 0 (1)", None),
        (-32701, "Number must be less than or equal to fifty", None),
        (-32701, "Number must be less than or equal to 99999999999999999999999", None),
        (-32701, "Number must be greater than 0 (0)", None),
        (-32601, "Number must be less than or equal to 50 (1)", None),
    ];
    for (code, message, limit) in table {
        let error = RpcError { code, message: message.into() };
        assert_eq!(learned_limit(&error), limit, "{error}");
    }
}

/// Blocks `1..=length` of the scripted chain, as the node gives them.
async fn run_of(length: u64) -> Vec<Sealed> {
    let node = Node::new(length);
    let call = crate::aztec::calls::blocks(1, length as usize);
    let answer = node.send(&[call]).await.unwrap().remove(0);
    let chain = ChainId::new("aztec:31337:344372055").unwrap();
    read_blocks("node", &chain, (1, length as usize), &answer).unwrap().0
}

#[test]
fn a_range_is_planned_around_what_is_known() {
    run(|_| async move {
        let blocks = run_of(20).await;
        let genesis = recorded::header(0).reference();
        let at = |height: u64| blocks[height as usize - 1].reference();
        let memory = |kept: &[u64], tip: u64| {
            let mut memory = Memory::new(64);
            memory.begin_with(genesis);
            kept.iter().for_each(|height| memory.keep(vec![blocks[*height as usize - 1].clone()]));
            // Whatever leads down from the tip is on its chain.
            memory.add(at(tip), at(tip).height, at(tip).digest);
            memory
        };
        let range = |first, count, bound| Range { first, count, bound };
        let last = |height: u64| Bound::Last(at(height).digest);
        let below: Vec<u64> = (1..=9).collect();
        let above: Vec<u64> = (1..=7).chain([9, 10]).collect();
        let table = [
            ("nothing known", &[][..], 1, 50, 0, range(1, 20, last(20))),
            ("in parts", &[], 1, 5, 0, range(1, 5, Bound::Header)),
            ("with a parent", &[], 7, 5, 0, range(6, 5, Bound::Header)),
            ("of which one is known", &[6], 7, 5, 0, range(7, 5, Bound::Header)),
            ("one new block", &below, 10, 50, 0, range(10, 11, last(20))),
            ("deeper, for a fork", &below, 10, 50, 4, range(6, 15, last(20))),
            ("no deeper than there are blocks", &[1, 2], 3, 50, 4, range(1, 20, last(20))),
            ("single blocks", &[], 7, 1, 0, range(6, 1, Bound::Header)),
            ("single blocks, deeper", &below, 7, 1, 4, range(6, 1, Bound::Header)),
        ];
        for (case, kept, from, limit, below, want) in table {
            let planned = memory(kept, 20).plan(Height::new(from), at(20), limit, below);
            assert_eq!(planned, want, "{case}");
        }
        // Block 9 was kept without the block that it stands on, and so is not known to be there.
        let planned = memory(&above, 10).plan(Height::new(8), at(10), 50, 0);
        assert_eq!(planned, range(8, 2, last(9)));
    });
}
