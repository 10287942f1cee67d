//! What a resolver counts.

use super::fetch::Failure;
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, CounterFamily, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _,
    },
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    /// Requests to the upstream.
    pub(super) requests: Counter,
    /// Blocks that the execution layer had.
    pub(super) local: Counter,
    /// Deliveries that the marshal found good.
    pub(super) delivered: Counter,
    retries: CounterFamily<Reason>,
    wanted: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            requests: context.counter("requests", "Requests to the upstream"),
            local: context.counter("local", "Blocks that the execution layer had"),
            delivered: context.counter("delivered", "Deliveries that the marshal found good"),
            retries: context.family("retries", "Failures that are retried, by reason"),
            wanted: context.gauge("wanted", "Keys that the marshal wants"),
        }
    }

    pub(super) fn retry(&self, failure: Failure) {
        self.retries.get_or_create(&Reason { reason: failure.as_str() }).inc();
    }

    pub(super) fn wanted(&self, count: usize) {
        let _ = self.wanted.try_set(count);
    }

    #[cfg(test)]
    pub(super) fn retries(&self, failure: Failure) -> u64 {
        let reason = Reason { reason: failure.as_str() };
        self.retries.get(&reason).map(|count| count.get()).unwrap_or_default()
    }
}
