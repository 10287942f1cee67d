//! What a real node answered.

use super::{node::header_message, *};
use crate::miden::{
    block::{Key, Unsigned},
    calls, wire,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use commonware_codec::{DecodeExt as _, Encode as _, FixedSize as _};
use prost::Message as _;
use serde_json::Value;
use tidewatch_core::{Block as _, Digest};

/// When genesis was made, in seconds.
pub(super) const TIME: u64 = 1_795_625_405;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap()).unwrap()
}

/// A block as the node keeps it.
fn block(value: &Value) -> MidenBlock {
    MidenBlock::of_node(&bytes(&value["block"])).unwrap()
}

pub(super) fn genesis() -> MidenBlock {
    block(&json(include_str!("fixtures/block_0.json")))
}

fn stored_1() -> Vec<u8> {
    bytes(&json(include_str!("fixtures/block_1.json"))["block"])
}

/// What a sequencer asks to have block 2 proven from, where that has no transactions.
fn proposed_2() -> Vec<u8> {
    let header = &stored_1()[..Header::SIZE];
    let time = (MidenBlock::of_node(&stored_1()).unwrap().timestamp + 1).to_le_bytes();
    // No batches, the time, no accounts, notes and nullifiers, a forest of one tree, and no blocks: as `proposed_43.bin`.
    [&[1][..], &time, &[1, 1, 1], &[3, 3], &[7; 32], &[1, 1], header].concat()
}

#[test]
fn what_a_sequencer_asked_to_have_proven_is_read() {
    let asked = include_bytes!("fixtures/proposed_43.bin");
    let proposed = Proposed::read(asked).unwrap();
    assert_eq!((proposed.height(), proposed.batches()), (Height::new(43), 0));
    assert_eq!(proposed.parent().height, Height::new(42));
    for length in 0..asked.len() {
        assert!(Proposed::read(&asked[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_request_to_prove_a_block_names_it_by_the_block_before() {
    let asked = proposed_2();
    let proposed = Proposed::read(&asked).unwrap();
    let before = MidenBlock::of_node(&stored_1()).unwrap();
    assert_eq!((proposed.height(), proposed.parent()), (Height::new(2), before.reference()));
    assert_eq!(proposed.batches(), 0);
    let with = |at: usize, bytes: &[u8]| {
        let mut asked = asked.clone();
        asked[at..at + bytes.len()].copy_from_slice(bytes);
        asked
    };
    let full = Proposed::read(&with(0, &[2 * 64 + 1])).unwrap();
    assert_eq!(full.batches(), 64);
    let (header, end) = (asked.len() - Header::SIZE, asked.len());
    let key = end - 8 - 15 - 33;
    for (bytes, refused) in [
        (vec![], NotProposed::Short { got: 0, min: 8 + Header::SIZE }),
        (
            asked[end - Header::SIZE - 7..].into(),
            NotProposed::Short { got: 7 + Header::SIZE, min: 8 + Header::SIZE },
        ),
        // A block as it is stored is none, and neither is one that is cut.
        (stored_1(), NotProposed::Batches),
        (with(0, &[2 * 65 + 1]), NotProposed::Batches),
        (with(0, &[0]), NotProposed::Batches),
        (with(key, &[9]), NotProposed::Header),
        (with(header + 4, &[0xff; 8]), NotProposed::Header),
        (with(1, &[0; 4]), NotProposed::Time { time: 0, before: before.timestamp }),
        (with(header + 36, &[0xff; 4]), NotProposed::Last(Height::new(u32::MAX.into()))),
        (asked[..end - 1].into(), NotProposed::Header),
    ] {
        assert_eq!(Proposed::read(&bytes), Err(refused), "{bytes:?}");
    }
}

fn key() -> Key {
    Key::from_bytes(genesis().validator).unwrap()
}

fn streamed(text: &str) -> Vec<MidenBlock> {
    json(text).as_array().unwrap().iter().map(block).collect()
}

fn digest(value: &Value) -> wire::Digest {
    let number = |name| value[name].as_str().unwrap().parse().unwrap();
    wire::Digest { d0: number("d0"), d1: number("d1"), d2: number("d2"), d3: number("d3") }
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

/// The message of a header that was written as JSON.
fn header(value: &Value) -> wire::BlockHeader {
    let word = |name: &str| Some(digest(&value[name]));
    let octets = |value: &Value| Some(wire::Octets { octets: bytes(value) });
    let fees = &value["fee_parameters"];
    wire::BlockHeader {
        version: number(&value["version"]),
        parent: word("prev_block_commitment"),
        number: number(&value["block_num"]),
        chain: word("chain_commitment"),
        accounts: word("account_root"),
        nullifiers: word("nullifier_root"),
        notes: word("note_root"),
        transactions: word("tx_commitment"),
        validator: octets(&value["validator_key"]["validator_key"]),
        kernels: word("tx_kernel_commitment"),
        fees: Some(wire::Fees {
            faucet: octets(&fees["native_asset_id"]["id"]),
            base_fee: number(&fees["verification_base_fee"]),
        }),
        timestamp: number(&value["timestamp"]),
    }
}

/// The message of a tip that was written as JSON.
fn tip(text: &str) -> wire::Tip {
    let value = json(text);
    let octets = bytes(&value["block_signature"]["signature"]);
    let signature = Some(wire::Octets { octets });
    wire::Tip { header: Some(header(&value["block_header"])), signature }
}

#[test]
fn the_commitment_of_genesis_is_what_the_node_calls_it() {
    let status = json(include_str!("fixtures/status.json"));
    let wire::Digest { d0, d1, d2, d3 } = digest(&status["genesis_commitment"]);
    let word = Word::new([d0, d1, d2, d3]).unwrap();
    assert_eq!(genesis().reference().digest, Digest(word.to_bytes()));
    let alone = json(include_str!("fixtures/header_0.json"));
    assert_eq!(header(&alone["block_header"]), header_message(&genesis()));
    assert_eq!(u64::from(genesis().timestamp), TIME);
}

#[test]
fn every_recorded_block_is_linked_and_signed_by_the_key_that_genesis_names() {
    let first = MidenBlock::of_node(&stored_1()).unwrap();
    let chain = [vec![genesis(), first], streamed(include_str!("fixtures/stream.json"))].concat();
    let top = streamed(include_str!("fixtures/stream_at_the_tip.json"));
    for chain in [chain, top] {
        for block in &chain {
            assert_eq!(key().check(block), Ok(()), "{}", block.number);
        }
        for pair in chain.windows(2) {
            assert_eq!(pair[1].parent(), pair[0].reference().digest, "{}", pair[1].number);
            assert_eq!(pair[1].number, pair[0].number + 1);
        }
    }
}

#[test]
fn both_recorded_tips_are_signed_and_the_committed_one_is_the_block_of_the_stream() {
    let committed = tip(include_str!("fixtures/committed.json")).block().unwrap();
    let proven = tip(include_str!("fixtures/proven.json")).block().unwrap();
    assert_eq!((committed.number, proven.number), (91, 54));
    for block in [&committed, &proven] {
        assert_eq!(key().check(block), Ok(()));
    }
    let stream = streamed(include_str!("fixtures/stream_at_the_tip.json"));
    assert!(stream.contains(&committed));
}

/// Each byte of the header, and of what is signed with it: one bit of it changed, it is no block of the chain.
#[test]
fn a_header_with_any_byte_changed_is_refused() {
    let good = stored_1();
    let signed = Header::SIZE..good.len() - 1;
    let body = Header::SIZE..good.len() - 65;
    for at in (0..Header::SIZE).chain(signed).filter(|at| !body.contains(at)) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let checked = MidenBlock::of_node(&bad).map(|block| key().check(&block));
        match checked {
            // What is no element of the field is no header.
            Err(_) => {}
            Ok(checked) => {
                let names_key = (264 - 32..265).contains(&at);
                let want = if names_key { Unsigned::OtherKey } else { Unsigned::Signature };
                assert_eq!(checked, Err(want), "byte {at}");
            }
        }
    }
    let mut bad = good.clone();
    *bad.last_mut().unwrap() = 4;
    assert!(MidenBlock::of_node(&bad).is_err(), "there are four recovery ids");
    for length in 0..good.len() {
        let cut = MidenBlock::of_node(&good[..length]);
        assert!(cut.is_err() || key().check(&cut.unwrap()).is_err(), "{length} bytes");
    }
}

#[test]
fn numbers_above_the_modulus_are_no_word_and_no_faucet() {
    const MODULUS: u64 = 0xffff_ffff_0000_0001;
    for at in 0..4 {
        let mut numbers = [MODULUS - 1; 4];
        assert!(Word::new(numbers).is_some());
        numbers[at] = MODULUS;
        assert_eq!(Word::new(numbers), None);
    }
    assert_eq!(Faucet::from_bytes(&[255; 15]), None);
    let faucet = genesis().fee_faucet;
    assert_eq!(Faucet::from_bytes(&faucet.to_bytes()), Some(faucet));
}

#[test]
fn a_block_decodes_to_what_was_encoded() {
    let block = MidenBlock::of_node(&stored_1()).unwrap();
    let encoded = block.encode();
    assert_eq!(encoded.len(), MidenBlock::SIZE);
    assert_eq!(MidenBlock::decode(encoded).unwrap(), block);
}

#[test]
fn a_header_without_one_of_its_parts_is_refused() {
    let good = tip(include_str!("fixtures/committed.json"));
    let cut = |part: &str, cut: &dyn Fn(&mut wire::Tip)| {
        let mut tip = good.clone();
        cut(&mut tip);
        let tip = wire::Tip::decode(&tip.encode_to_vec()[..]).unwrap();
        assert_eq!(tip.block(), Err(wire::Unfit(part_name(part))), "{part}");
    };
    let of = |cut: fn(&mut wire::BlockHeader)| {
        move |tip: &mut wire::Tip| cut(tip.header.as_mut().unwrap())
    };
    cut("header", &|tip| tip.header = None);
    cut("signature", &|tip| tip.signature = None);
    cut("signature", &|tip| tip.signature.as_mut().unwrap().octets.push(0));
    cut("previous commitment", &of(|header| header.parent = None));
    cut("chain commitment", &of(|header| header.chain = None));
    cut("account root", &of(|header| header.accounts = None));
    cut("nullifier root", &of(|header| header.nullifiers = None));
    cut("note root", &of(|header| header.notes = None));
    cut("transaction commitment", &of(|header| header.transactions = None));
    cut("kernel commitment", &of(|header| header.kernels = None));
    cut("validator key", &of(|header| header.validator = None));
    cut("fee parameters", &of(|header| header.fees = None));
    cut("fee faucet", &of(|header| header.fees.as_mut().unwrap().faucet = None));
    cut("note root", &of(|header| header.notes.as_mut().unwrap().d2 = u64::MAX));
}

/// The same text, which lives as long as the program.
fn part_name(part: &str) -> &'static str {
    part.to_owned().leak()
}

#[test]
fn a_chain_is_named_by_its_genesis() {
    let name = calls::chain(genesis().reference());
    assert_eq!(name.as_str(), "miden:bc4c0f619d7396cb59a8878006b8d5fc");
}
