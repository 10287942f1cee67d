//! Bugs that other followers had, one file each, where it takes real sockets to bring them back.
//!
//! The entries and where each is answered for are in `README.md`; what needs no sockets is in `main.rs`.

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

/// Runs `test` in a runtime of its own, whose directory is empty.
fn follow<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), test);
}
