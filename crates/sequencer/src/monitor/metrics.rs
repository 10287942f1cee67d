//! What a monitor counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, EncodeLabelSet, MetricsExt as _, Registered, raw},
};

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: &'static str,
}

pub(super) struct Metrics {
    connections: Counter,
    ended: Registered<raw::Family<Label, raw::Counter>>,
    dropped: Registered<raw::Family<Label, raw::Counter>>,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            connections: context.counter("connections", "Streams that were opened"),
            ended: context.family("connections_ended", "Streams that ended, by why"),
            dropped: context.family("dropped", "Preblocks that were not handed over, by why"),
        }
    }

    pub(super) fn connected(&self) {
        self.connections.inc();
    }

    pub(super) fn ended(&self, kind: &'static str) {
        self.ended.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn dropped(&self, kind: &'static str) {
        self.dropped.get_or_create(&Label { kind }).inc();
    }
}
