//! Runtimes that stand for processes.

use crate::DEADLINE;
use commonware_runtime::{
    Runner as _,
    tokio::{Config, Context, Runner},
};
use std::{future::Future, path::Path, time::Duration};
use tokio::sync::oneshot;

/// Runs `work` on a runtime of its own that keeps its storage in `directory`. When it returns, whatever
/// still runs is dropped where it stands, as in a process that ends without a word.
pub fn run<T, F: Future<Output = T>>(directory: &Path, work: impl FnOnce(Context) -> F) -> T {
    run_within(directory, DEADLINE * 3, work)
}

/// As [`run`], for at most `limit`.
pub fn run_within<T, F: Future<Output = T>>(
    directory: &Path,
    limit: Duration,
    work: impl FnOnce(Context) -> F,
) -> T {
    let config = Config::default().with_storage_directory(directory).with_worker_threads(2);
    Runner::new(config).start(|context| async move {
        // Boxed: a whole follower is more than the stack of a test has room for.
        tokio::time::timeout(limit, Box::pin(work(context))).await.expect("the test ends in time")
    })
}

/// As [`run`], from inside another runtime.
pub async fn process<T, F>(directory: &Path, work: impl FnOnce(Context) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let directory = directory.to_owned();
    let (done, ended) = oneshot::channel();
    std::thread::spawn(move || done.send(run(&directory, work)).ok());
    ended.await.expect("the process did not panic")
}
