//! What a follow driver counts.

use commonware_consensus::types::Epoch;
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, Gauge, GaugeExt as _, MetricsExt as _},
};
use tidewatch_core::Height;

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// Finalizations that the marshal was given.
    pub(super) reported: Counter,
    /// Finalizations that were not newer than the one before.
    pub(super) stale: Counter,
    /// Hints at the last height of an epoch.
    pub(super) hints: Counter,
    /// Floors that were set.
    pub(super) floors: Counter,
    /// Boundaries that were learned and kept before they were acknowledged.
    pub(super) boundaries: Counter,
    /// Blocks that the execution layer had lost.
    pub(super) redelivered: Counter,
    /// Requests to the upstream that failed.
    pub(super) failures: Counter,
    epoch: Gauge,
    acknowledged: Gauge,
    tip: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            reported: context.counter("reported", "Finalizations that the marshal was given"),
            stale: context.counter("stale", "Finalizations not newer than the one before"),
            hints: context.counter("hints", "Hints at the last height of an epoch"),
            floors: context.counter("floors", "Floors that were set"),
            boundaries: context
                .counter("boundaries", "Boundaries kept before they were acknowledged"),
            redelivered: context.counter("redelivered", "Blocks that the execution layer had lost"),
            failures: context.counter("failures", "Requests to the upstream that failed"),
            epoch: context.gauge("epoch", "The epoch that is delivered"),
            acknowledged: context.gauge("acknowledged", "The newest block that was acknowledged"),
            tip: context.gauge("tip", "The newest finalized block that the marshal knows"),
        }
    }

    pub(super) fn epoch(&self, epoch: Epoch) {
        let _ = self.epoch.try_set(epoch.get());
    }

    pub(super) fn acknowledged(&self, height: Height) {
        let _ = self.acknowledged.try_set(height.get());
    }

    pub(super) fn tip(&self, height: Height) {
        let _ = self.tip.try_set(height.get());
    }
}
