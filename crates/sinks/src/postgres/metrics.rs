//! What a sink counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, EncodeLabelSet, Gauge, MetricsExt as _, Registered, raw},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: &'static str,
}

pub(super) struct Metrics {
    events: Registered<raw::Family<Label, raw::Counter>>,
    pub(super) commits: Counter,
    pub(super) connections: Counter,
    failures: Registered<raw::Family<Label, raw::Counter>>,
    pub(super) position: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            events: context.family("events", "Events that were committed, by kind"),
            commits: context.counter("commits", "Transactions that were committed"),
            connections: context.counter("connections", "Connections to the database"),
            failures: context.family("failures", "Connections that were given up, by why"),
            position: context.gauge("position", "Events that the database has taken in"),
        }
    }

    pub(super) fn events(&self, kind: &'static str, count: u64) {
        self.events.get_or_create(&Label { kind }).inc_by(count);
    }

    pub(super) fn failed(&self, kind: &'static str) {
        self.failures.get_or_create(&Label { kind }).inc();
    }
}
