//! What alerts are about.

mod execution;
mod follower;
mod nats;
mod process;
mod prover;
mod sentinel;
mod sink;

use crate::rules::Recording;
use commonware_runtime::{Clock as _, Metrics as _, Runner as _, deterministic};
use std::{future::Future, time::Duration};

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
