//! What an executor counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw,
    },
};
use tidewatch_core::BlockRef;

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: &'static str,
}

pub(super) struct Metrics {
    calls: Registered<raw::Family<Label, raw::Counter>>,
    faults: Registered<raw::Family<Label, raw::Counter>>,
    retries: Counter,
    head: Gauge,
    floor: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            calls: context.family("calls", "Calls to the execution client, by kind"),
            faults: context.family("faults", "Calls that failed or were refused, by fault"),
            retries: context.counter("retries", "Pauses before the same call again"),
            head: context.gauge("head_height", "Height that the client was pointed at"),
            floor: context.gauge("floor_height", "Highest final block that survives a crash"),
        }
    }

    pub(super) fn call(&self, kind: &'static str) {
        self.calls.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn fault(&self, kind: &'static str) {
        self.faults.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn retry(&self) {
        self.retries.inc();
    }

    pub(super) fn head(&self, head: BlockRef) {
        let _ = self.head.try_set(head.height.get());
    }

    pub(super) fn floor(&self, floor: BlockRef) {
        let _ = self.floor.try_set(floor.height.get());
    }
}
