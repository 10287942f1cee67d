//! The signals that ask a process to end.

use super::Problem;
use crate::Outcome;
use commonware_macros::select;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens to SIGINT and SIGTERM.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn new() -> Outcome<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Problem::failure(format!("cannot listen to signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Resolves when one came.
    pub(super) async fn asked(&mut self) {
        select! {
            _ = self.interrupt.recv() => {},
            _ = self.terminate.recv() => {},
        }
    }
}
