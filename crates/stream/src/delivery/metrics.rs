//! What a delivery counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, Gauge, MetricsExt as _},
};

pub(super) struct Metrics {
    /// Events handled, repetitions included.
    pub(super) handled: Counter,
    /// Times that the consumer failed, panicked or dropped an acknowledgement.
    pub(super) failures: Counter,
    /// Times that the consumer had to start again.
    pub(super) restarts: Counter,
    /// Events of the history that are durably taken in.
    pub(super) acknowledged: Gauge,
    /// Batches handed over and not acknowledged.
    pub(super) in_flight: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            handled: context.counter("handled", "Events handled, repetitions included"),
            failures: context.counter("failures", "Times that the consumer failed or panicked"),
            restarts: context.counter("restarts", "Times that the consumer had to start again"),
            acknowledged: context.gauge("acknowledged", "Events that are durably taken in"),
            in_flight: context.gauge("in_flight", "Batches handed over and not acknowledged"),
        }
    }
}
