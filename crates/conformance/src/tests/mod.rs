//! Tests of the suites: correct implementations, and implementations with one flaw each.

mod consumers;
mod flawed;
mod sources;

use commonware_runtime::{Runner as _, deterministic};
use std::{future::Future, time::Duration};

/// Runs `test` in its own runtime, which times out after a day of simulated time.
fn simulate<F: Future>(seed: u64, test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    let config = deterministic::Config::new()
        .with_seed(seed)
        .with_timeout(Some(Duration::from_secs(86_400)));
    deterministic::Runner::new(config).start(test)
}
