//! A small network, written down for tests that do not make blocks: `fixtures/network.json`.
//!
//! `cargo test -p tidewatch-sources written -- --ignored` writes it anew.

use super::chain::{ID, World};
use serde_json::{Value, json};

/// Its epochs have four blocks, and the third one begins with another key.
fn written() -> String {
    let mut world = World::new(4, &[0, 0, 1], 14);
    let mut answer = |method: &str, asked: Value| -> Value {
        world.answer(method, asked.as_array().unwrap()).unwrap()
    };
    let blocks: Vec<_> = (0..=14)
        .map(|height| answer("eth_getBlockByNumber", json!([format!("{height:#x}"), false])))
        .collect();
    let certified: Vec<_> = (1..=14)
        .map(|height| answer("consensus_getFinalization", json!([{ "height": height }])))
        .collect();
    let (id, genesis) = (ID, &world.genesis);
    let network = json!({"id": id, "genesis": genesis, "blocks": blocks, "certified": certified});
    serde_json::to_string(&network).unwrap() + "\n"
}

#[test]
fn what_is_written_down_of_a_network_is_that_network() {
    assert!(written() == include_str!("fixtures/network.json"), "write it anew");
}

#[test]
#[ignore = "writes the file that the test above reads"]
fn it_is_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tempo/tests/fixtures/network.json");
    std::fs::write(path, written()).unwrap();
}
