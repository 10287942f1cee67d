//! The decoders of `tidewatch-core`: everything that a store keeps and a consumer sends back.
//!
//! The input is bytes from a disk (events, watermarks, locators and cursors), and text from consumers
//! (cursors). The properties:
//!
//! - no input causes a panic, and allocations are bounded by its length;
//! - encodings are canonical: a decoded value encodes to the same bytes, with the announced size;
//! - a cursor round-trips through its text, whose length is within its limit;
//! - a decoded value is usable: it can be displayed, queried, and applied to watermarks.
//!
//! In most inputs the target fixes the checksum of a cursor, so that the fuzzer gets past it.
#![no_main]

use commonware_codec::{Decode, Encode};
use libfuzzer_sys::fuzz_target;
use std::fmt::Debug;
use tidewatch_core::{
    BlockRef, CURSOR_TEXT_MAX, ChainId, CheckpointRef, Cursor, Event, Locator, Tier, Tip, TipSet,
    Watermarks,
};

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 12 {
        0 => drop(exact::<BlockRef>(bytes)),
        1 => drop(exact::<CheckpointRef>(bytes)),
        2 => drop(exact::<Tip>(bytes)),
        3 => drop(exact::<TipSet>(bytes)),
        4 => drop(exact::<Tier>(bytes)),
        5 => watermarks(bytes),
        6 => event(bytes),
        7 => cursor(bytes),
        8 => cursor(&sealed(bytes)),
        9 => drop(exact::<Locator>(bytes)),
        10 => text(bytes),
        _ => chain_id(bytes),
    }
});

/// Decodes all of `bytes` as a `T`, and checks that the encoding is canonical.
fn exact<T: Decode<Cfg = ()> + Encode + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::decode_cfg(bytes, &()).ok()?;
    assert_eq!(value.encode(), bytes, "{value:?} has another encoding");
    assert_eq!(value.encode_size(), bytes.len());
    Some(value)
}

fn watermarks(bytes: &[u8]) {
    let Some(watermarks) = exact::<Watermarks>(bytes) else { return };
    let _ = watermarks.head();
}

fn event(bytes: &[u8]) {
    let Some(event) = exact::<Event>(bytes) else { return };
    assert!(!event.to_string().is_empty());
    Watermarks::none().apply(&event);
}

fn cursor(bytes: &[u8]) {
    if let Some(cursor) = exact::<Cursor>(bytes) {
        check_cursor(&cursor);
    }
}

fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Cursor>() {
        Ok(cursor) => {
            assert_eq!(cursor.to_string(), text, "a cursor has one text");
            check_cursor(&cursor);
        }
        Err(malformed) => assert!(malformed.to_string().len() < 100),
    }
}

fn check_cursor(cursor: &Cursor) {
    let text = cursor.to_string();
    assert!(text.len() <= CURSOR_TEXT_MAX, "{} characters", text.len());
    assert_eq!(text.parse().as_ref(), Ok(cursor));
    let locators = cursor.locators();
    assert!(locators.windows(2).all(|pair| pair[0].height > pair[1].height));
    let head = cursor.head();
    assert!(locators.iter().all(|w| head.is_some_and(|head| w.height < head.height)));
    let _ = cursor.is_of(&ChainId::new("fuzz:1").expect("printable"));
}

fn chain_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = ChainId::new(text) {
        assert_eq!(id.as_str(), text);
        assert!(text.len() <= ChainId::MAX && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// `body` with the checksum of the cursor format.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &crc32fast::hash(body).to_be_bytes()].concat()
}
