//! Each alert of `tidewatch monitoring alerts` is fired by what it is about, over metrics that were really served, and not
//! while all is well.
//!
//! What needs no socket runs in the deterministic runtime, and is scraped each minute of its time. Of a process there are two
//! looks, and what is assumed after them ([`Then`](crate::support::rules::Then)).

mod execution;
mod follower;
mod nats;
mod process;
mod prover;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../sentinel/src/sentinel/tests/scripted.rs"]
mod scripted;
mod sentinel;
mod sink;

use crate::support::rules::{self, Recording};
use commonware_runtime::{Clock as _, Metrics as _, Runner as _, deterministic};
use std::{fs, future::Future, path::Path, time::Duration};
// What the scripted ports of the sentinel's own tests find there.
use tidewatch_sentinel::{
    Act, AtSlot, Canonical, Committee, Committees, Config, Epoch, Event, Landed, Observation,
    Observer, Output, Position, Signed, Slot, Standing, ValidatorId,
};

/// Between two things that happen.
const STEP: Duration = Duration::from_secs(6);
const STEPS_A_MINUTE: usize = 10;

/// Runs `test` where time costs nothing.
fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(12 * 3_600)).start(test)
}

/// So many minutes, each scraped at its end, with what happens every [`STEP`].
async fn minutes(
    context: &deterministic::Context,
    recording: &mut Recording,
    minutes: usize,
    mut happens: impl FnMut(),
) {
    for _ in 0..minutes {
        for _ in 0..STEPS_A_MINUTE {
            happens();
            context.sleep(STEP).await;
        }
        recording.scrape(&context.encode(), context.current());
    }
}

#[test]
fn every_alert_is_fired_by_a_test() {
    let rules = rules::alerts();
    let mut tests = String::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/alerts");
    for entry in fs::read_dir(here).unwrap() {
        tests.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let never: Vec<_> = alerts.filter(|alert| !tests.contains(&format!("\"{alert}\""))).collect();
    assert!(never.is_empty(), "nothing fires {never:?}");
}
