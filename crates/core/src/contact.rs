//! What becomes of requests to a source's upstreams, for whoever watches them.

use crate::{FaultKind, Monitor};
use commonware_runtime::Clock;
use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// A request to one of a source's upstreams, once it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact<'a> {
    /// The upstream's name, as in a [`Fault`](crate::Fault) about it.
    pub upstream: &'a str,
    /// When it was over.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Why there was no answer, where there was none.
    pub failed: Option<FaultKind>,
}

/// A request on its way. Tells a monitor of the [`Contact`] when it is over; dropped before, nobody waited for
/// the answer any longer, and that is a `Timeout`.
pub struct Asked<'a, E: Clock> {
    clock: &'a E,
    monitor: &'a dyn Monitor,
    upstream: &'a str,
    since: SystemTime,
    failed: Option<FaultKind>,
}

impl<E: Clock> fmt::Debug for Asked<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl<'a, E: Clock> Asked<'a, E> {
    /// `upstream` is asked now.
    pub fn new(clock: &'a E, monitor: &'a dyn Monitor, upstream: &'a str) -> Self {
        let (since, failed) = (clock.current(), Some(FaultKind::Timeout));
        Self { clock, monitor, upstream, since, failed }
    }

    /// It is over: there was an answer, or a failure.
    pub fn over(mut self, failed: Option<FaultKind>) {
        self.failed = failed;
    }
}

impl<E: Clock> Drop for Asked<'_, E> {
    fn drop(&mut self) {
        let at = self.clock.current();
        let took = at.duration_since(self.since).unwrap_or_default();
        let (upstream, failed) = (self.upstream, self.failed);
        self.monitor.contact(&Contact { upstream, at, took, failed });
    }
}
