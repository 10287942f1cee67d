//! Work and refusals, counted.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, CounterFamily, EncodeLabelSet, MetricsExt as _},
};
use std::{collections::BTreeMap, fmt, sync::Arc};
use tidewatch_core::{Fault, FaultKind, Monitor};
use tracing::warn;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

struct Inner {
    monitor: Arc<dyn Monitor>,
    requests: Counter,
    calls: Counter,
    refusals: CounterFamily<Kind>,
}

/// Counts what a source asks and what it refuses. Clones count together.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Requests made: HTTP requests, or messages over a WebSocket.
    pub requests: u64,
    /// Calls of methods in them.
    pub calls: u64,
    /// Answers refused and requests failed, by [`FaultKind`]. Kinds that did not occur are not in it.
    pub refusals: BTreeMap<&'static str, u64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").field(&self.work()).finish()
    }
}

impl Metrics {
    /// Registers the counters. What is refused on the way to an answer, and so is part of no answer, is
    /// told to `monitor`.
    pub(crate) fn new(context: &impl Register, monitor: Arc<dyn Monitor>) -> Self {
        Self(Arc::new(Inner {
            monitor,
            requests: context.counter("requests", "Requests made"),
            calls: context.counter("calls", "Calls of methods in them"),
            refusals: context.family("refusals", "What was refused or failed, by kind of fault"),
        }))
    }

    pub(crate) fn monitor(&self) -> &dyn Monitor {
        &*self.0.monitor
    }

    pub(crate) fn requested(&self, calls: usize) {
        self.0.requests.inc();
        self.0.calls.inc_by(calls as u64);
    }

    /// Counts a fault, where it arises.
    pub(crate) fn refused(&self, fault: Fault) -> Fault {
        self.0.refusals.get_or_create(&Kind { kind: fault.kind.as_str() }).inc();
        fault
    }

    /// Tells of a fault that ends here: the source goes on without what was refused.
    pub(crate) fn absorbed(&self, fault: &Fault) {
        let kind = fault.kind.as_str();
        warn!(upstream = %fault.about, kind, detail = %fault.detail, "refused");
        self.0.monitor.fault(fault);
    }

    pub(crate) fn work(&self) -> Work {
        let inner = &self.0;
        let refusals = FaultKind::ALL.iter().filter_map(|kind| {
            let kind = kind.as_str();
            Some((kind, inner.refusals.get(&Kind { kind })?.get()))
        });
        let refusals = refusals.collect();
        Work { requests: inner.requests.get(), calls: inner.calls.get(), refusals }
    }
}
