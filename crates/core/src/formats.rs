//! Frozen formats: what is stored or sent keeps its bytes. If one of these tests fails, the format
//! changed: give it a new version instead, and keep reading the old one.

use crate::{
    BlockRef, ChainId, CheckpointRef, Cursor, Digest, Event, Height, Tier, Tip, TipSet, Watermarks,
};
use commonware_codec::{Decode, Encode};
use commonware_cryptography::{Hasher as _, Sha256};
use std::fmt::Debug;

fn block(height: u64, fill: u8) -> BlockRef {
    BlockRef::new(Height::new(height), Digest([fill; 32]))
}

fn tip(height: u64, fill: u8) -> Tip {
    let checkpoint = CheckpointRef { number: height / 2, digest: Digest([fill + 1; 32]) };
    Tip { block: block(height, fill), checkpoint: Some(checkpoint) }
}

fn tips() -> TipSet {
    TipSet::unknown()
        .with(Tier::Proposed, block(300, 1))
        .with(Tier::Checkpointed, tip(200, 2))
        .with(Tier::Finalized, tip(0, 4))
}

fn watermarks() -> Watermarks {
    Watermarks { delivered: Some(block(300, 1)), tips: tips() }
}

fn cursor() -> Cursor {
    let chain = ChainId::new("test:frozen").expect("valid");
    Cursor::new(&chain, 77, &watermarks(), &[block(299, 9), block(298, 8), block(296, 7)])
}

fn events() -> [Event; 4] {
    [
        Event::Blocks { from: block(1, 5), to: block(300, 1) },
        Event::Advanced { tier: Tier::Checkpointed, tip: tip(200, 2) },
        Event::Regressed { tier: Tier::Proven, tip: tip(3, 3) },
        Event::Pruned { to: block(250, 6), depth: 50, tips: tips() },
    ]
}

/// The bytes are as many as `frozen` says, with the hash that it starts, decode to the same value, and
/// no cut of them decodes.
fn assert_frozen<T: Encode + Decode<Cfg = ()> + PartialEq + Debug>(value: &T, frozen: &str) {
    let bytes = value.encode();
    let hash = Sha256::hash(&[&bytes]).to_string();
    assert_eq!(format!("{} {}", bytes.len(), &hash[..16]), frozen);
    assert_eq!(&T::decode_cfg(bytes.clone(), &()).expect("decodes"), value);
    for cut in 0..bytes.len() {
        assert!(T::decode_cfg(bytes.slice(..cut), &()).is_err(), "cut at {cut} decodes");
    }
}

#[test]
fn references_are_frozen() {
    assert_eq!(
        block(300, 1).encode().as_ref(),
        [&[0xac, 0x02][..], &[1; 32]].concat().as_slice(),
        "a height is a varint, a digest 32 bytes"
    );
    assert_frozen(&tip(200, 2), "68 2ba167e5b50cdb32");
    assert_frozen(&tips(), "175 cad6cda33b41bdf1");
    assert_frozen(&watermarks(), "210 ff5c2acb4981e797");
}

#[test]
fn events_are_frozen() {
    let frozen = [
        "68 80aae5802bda7646",
        "70 63af9a2aa2a99f5c",
        "69 0d2d84984484ea5d",
        "211 921080ab96c143c5",
    ];
    for (event, frozen) in events().iter().zip(frozen) {
        assert_frozen(event, frozen);
    }
}

#[test]
fn cursors_are_frozen() {
    assert_frozen(&cursor(), "144 b9b511f15881d3e4");
    assert_eq!(
        cursor().to_string(),
        "ARxD9shM0pleTTesAgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEByAECAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAMBCQkJCQkJCQkCCAgICAgICAgEBwcHBwcHBwfJPoMU"
    );
}

#[test]
fn unknown_tags_are_refused() {
    for tag in 4..=u8::MAX {
        assert!(Event::decode_cfg([tag].as_slice(), &()).is_err());
        assert!(Tier::decode_cfg([tag].as_slice(), &()).is_err());
    }
}
