//! What is counted.

use super::Code;
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
    accepted: Counter,
    refused: Registered<raw::Family<Label, raw::Counter>>,
    connections: Registered<raw::Family<Label, raw::Counter>>,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            accepted: context.counter("accepted", "Transactions that were accepted"),
            refused: context.family("refused", "Requests that were refused, by why"),
            connections: context
                .family("connections", "Connections that were cut or had to wait, by why"),
        }
    }

    pub(super) fn accepted(&self) {
        self.accepted.inc();
    }

    pub(super) fn refused(&self, code: Code) {
        self.refused.get_or_create(&Label { kind: code.as_str() }).inc();
    }

    pub(super) fn connection(&self, kind: &'static str) {
        self.connections.get_or_create(&Label { kind }).inc();
    }
}
