use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, MetricsExt as _},
};

/// Metrics of a listener.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) votes: Counter,
    pub(super) invalid: Counter,
    pub(super) dropped: Counter,
    pub(super) missed: Counter,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            votes: context.counter("votes", "Number of votes that were verified"),
            invalid: context
                .counter("invalid", "Number of votes whose signature is not the sender's"),
            dropped: context.counter("dropped", "Number of votes that were dropped unread"),
            missed: context.counter("missed", "Number of slots that were not wholly heard"),
        }
    }
}
