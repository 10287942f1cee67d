//! Logs on standard error, beside a progress bar where there is one.

use indicatif::ProgressBar;
use std::{
    io::{IsTerminal as _, Result, Write},
    sync::OnceLock,
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// The bar to take away while a line is written.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// What would show the headers of a request, or the path that it goes to, and with them what is secret in
/// an address, is left out whatever is asked for.
const NEVER: [&str; 1] = ["tungstenite::handshake::client=error"];

/// Starts logging: errors only, unless `RUST_LOG` says otherwise. Refusals are in the output anyway.
pub(super) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let filter = NEVER.iter().fold(filter, |filter, never| match never.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => EnvFilter::new("off"), // It is a directive: no logs are better than secrets.
    });
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(BesideBar);
    let _ = logs.try_init(); // Somebody who embeds the command may have started logging already.
}

/// Names the bar that log lines are written beside.
pub(super) fn beside(bar: ProgressBar) {
    let _ = BAR.set(bar); // The first one stays: there is one bar in a process.
}

#[derive(Clone, Copy, Debug)]
struct BesideBar;

impl Write for BesideBar {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let write = || std::io::stderr().write_all(bytes);
        BAR.get().map_or_else(write, |bar| bar.suspend(write))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        std::io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for BesideBar {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
