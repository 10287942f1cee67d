//! Each alert of `tidewatch monitoring alerts` is fired by what it is about, over metrics that were really served, and not
//! while all is well.
//!
//! What needs no socket runs in the deterministic runtime, and is scraped each minute of its time. Of a process there are two
//! looks, and what is assumed after them ([`rules::Then`]).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "a test that cannot go on has failed, and shares what others need more of"
)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "processes live in real time"
)]

mod alert;
mod command;
mod node;
#[path = "../../sinks/tests/server/mod.rs"]
mod postgres;
#[path = "../../sinks/tests/receiver/mod.rs"]
mod receiver;
mod rules;
mod scraped;
#[path = "../../sentinel/src/sentinel/tests/scripted.rs"]
mod scripted;
#[path = "../../nats/tests/real/server.rs"]
mod server;
#[path = "../../sinks/tests/world/mod.rs"]
mod world;

use std::{fs, path::Path};
// What the scripted ports of the sentinel's own tests find there.
use tidewatch_sentinel::{
    Act, AtSlot, Canonical, Committee, Committees, Config, Epoch, Event, Landed, Observation,
    Observer, Output, Position, Signed, Slot, Standing, ValidatorId,
};

#[test]
fn every_alert_is_fired_by_a_test() {
    let rules = rules::alerts();
    let mut tests = String::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alert")).unwrap() {
        tests.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let never: Vec<_> = alerts.filter(|alert| !tests.contains(&format!("\"{alert}\""))).collect();
    assert!(never.is_empty(), "nothing fires {never:?}");
}
