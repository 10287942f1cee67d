//! What an elector counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, EncodeLabelSet, Gauge, MetricsExt as _, Registered, raw},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    why: &'static str,
}

pub(super) struct Metrics {
    leader: Gauge,
    renewals: Counter,
    failed: Counter,
    ended: Registered<raw::Family<Label, raw::Counter>>,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            leader: context.gauge("leader", "1 while this process publishes for the chain"),
            renewals: context.counter("renewals", "Renewals of the lease that were confirmed"),
            failed: context.counter("renewals_failed", "Renewals of the lease without an answer"),
            ended: context.family("leaderships_ended", "Leaderships that ended, by why"),
        }
    }

    pub(super) fn leads(&self) {
        self.leader.set(1);
    }

    pub(super) fn ended(&self, why: &'static str) {
        self.leader.set(0);
        self.ended.get_or_create(&Label { why }).inc();
    }

    pub(super) fn renewed(&self) {
        self.renewals.inc();
    }

    pub(super) fn failed(&self) {
        self.failed.inc();
    }
}
