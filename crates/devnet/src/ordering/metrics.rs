//! What a network counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw,
    },
};
use tidewatch_core::Height;

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: &'static str,
}

pub(super) struct Metrics {
    proposals: Registered<raw::Family<Label, raw::Counter>>,
    refused: Registered<raw::Family<Label, raw::Counter>>,
    connections: Registered<raw::Family<Label, raw::Counter>>,
    transactions: Registered<raw::Family<Label, raw::Counter>>,
    attempts: Registered<raw::Family<Label, raw::Counter>>,
    shares: Counter,
    newest: Gauge,
    streams: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            proposals: context.family("proposals", "Proposals, by what became of them"),
            refused: context.family("refused", "Requests that were refused, by why"),
            connections: context
                .family("connections", "Connections that were cut or had to wait, by why"),
            transactions: context.family("transactions", "Transactions, by whether they opened"),
            attempts: context.family("orders", "Attempts to have an order attested, by outcome"),
            shares: context.counter("shares", "Seeds that were made of the holders' shares"),
            newest: context.gauge("newest", "The number of the newest preblock"),
            streams: context.gauge("streams", "Streams that are open"),
        }
    }

    pub(super) fn proposal(&self, kind: &'static str) {
        self.proposals.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn refused(&self, kind: &'static str) {
        self.refused.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn connection(&self, kind: &'static str) {
        self.connections.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn opened(&self, clear: usize, dropped: usize) {
        for (kind, count) in [("clear", clear), ("dropped", dropped)] {
            self.transactions.get_or_create(&Label { kind }).inc_by(count as u64);
        }
    }

    pub(super) fn attested(&self, fixed: bool) {
        let kind = if fixed { "fixed" } else { "too_few" };
        self.attempts.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn share(&self) {
        self.shares.inc();
    }

    pub(super) fn newest(&self, number: Height) {
        let _ = self.newest.try_set(number.get());
    }

    pub(super) fn streams(&self, open: usize) {
        let _ = self.streams.try_set(open);
    }
}
