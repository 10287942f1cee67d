//! Regression tests for bugs that other followers had, one file for each, with real sockets.
//!
//! `README.md` lists the entries and their coverage. Tests without sockets are in `main.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use commonware_runtime::tokio::Context;
use std::future::Future;
use tidewatch_tests::run;

mod b62_a_trust_root_from_the_upstream;
mod b69_an_error_page_reported_as_something_else;
mod b70_credentials_in_logs;

/// Runs `test` in its own runtime, with an empty directory.
fn follow<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), test);
}
