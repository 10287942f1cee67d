//! What an application counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, Gauge, GaugeExt as _, MetricsExt as _},
};
use tidewatch_core::Height;

pub(super) struct Metrics {
    pub(super) failures: Counter,
    pub(super) healed: Counter,
    acknowledged: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            failures: context.counter("failures", "Batches that the client did not take"),
            healed: context.counter("healed", "Blocks that the client lost, given again"),
            acknowledged: context.gauge("acknowledged_height", "Last block that was acknowledged"),
        }
    }

    pub(super) fn acknowledged(&self, height: Height) {
        let _ = self.acknowledged.try_set(height.get());
    }
}
