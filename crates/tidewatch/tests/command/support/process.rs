//! A command that is killed and started again, over and over.

use super::run::{Command, Output, Run, signal};
use commonware_runtime::Runner as _;
use commonware_runtime::tokio::{Config as RuntimeConfig, Context, Runner};
use std::{path::Path, thread, time::Duration};

/// One of the commands, which is started again each time.
pub(crate) struct Process {
    command: Box<dyn Fn() -> Command>,
    pub(crate) run: Option<Run>,
    pub(crate) kills: usize,
}

impl Process {
    pub(crate) fn start(command: impl Fn() -> Command + 'static) -> Self {
        let run = Some(command().start());
        Self { command: Box::new(command), run, kills: 0 }
    }

    /// What it printed since.
    pub(crate) fn lines(&self, wait: Duration) -> Vec<String> {
        let run = self.run.as_ref().unwrap();
        let mut lines: Vec<_> = run.line(wait).into_iter().collect();
        while let Ok(line) = run.line(Duration::ZERO) {
            lines.push(line);
        }
        lines
    }

    /// Kills it and starts it again. Returns what it still printed.
    pub(crate) fn kill(&mut self, limit: Duration) -> Vec<String> {
        let run = self.run.take().unwrap();
        signal(&run, "KILL");
        // Until then the data directory and the address are its own.
        let Output { code, lines, errors } = run.end(limit);
        assert_eq!((code, errors.as_str()), (None, ""), "only the kill ends it");
        self.run = Some((self.command)().start());
        self.kills += 1;
        lines
    }
}

/// What `task` gives on a runtime with the storage of `data`, on a thread of its own.
pub(crate) fn with_storage<T: Send + 'static>(
    data: &Path,
    task: impl AsyncFnOnce(Context) -> T + Send + 'static,
) -> T {
    let runtime = RuntimeConfig::default().with_storage_directory(data.join("storage"));
    thread::spawn(move || Runner::new(runtime).start(|context| task(context))).join().unwrap()
}
