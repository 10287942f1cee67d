//! What a coordinator counts.

use super::{effect::Stage, ingress::Status};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, Histogram, MetricsExt as _, Registered, raw,
    },
};
use std::time::Duration;

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: &'static str,
}

/// Seconds: from a preblock to the next proposal.
const SECONDS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];

pub(super) struct Metrics {
    events: Registered<raw::Family<Label, raw::Counter>>,
    stages: Registered<raw::Family<Label, raw::Gauge>>,
    transactions: Counter,
    proposals: Counter,
    head: Gauge,
    published: Gauge,
    attempt: Gauge,
    stalled: Gauge,
    turnaround: Histogram,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            events: context.family("events", "What happened to proposals and preblocks"),
            stages: context.family("stage", "1 for what the coordinator does now"),
            transactions: context.counter("transactions", "Transactions that were applied"),
            proposals: context.counter("proposals", "Proposals that went out, with each attempt"),
            head: context.gauge("head_height", "Height of the newest applied block"),
            published: context.gauge("published_height", "Height of the newest published block"),
            attempt: context.gauge("attempt", "Attempt that is outstanding, 0 if none is"),
            stalled: context.gauge("stalled", "1 while there was no block for too long: alert"),
            turnaround: context.histogram(
                "turnaround_seconds",
                "From a preblock's arrival to the next proposal on the wire",
                SECONDS,
            ),
        }
    }

    pub(super) fn event(&self, kind: &'static str) {
        self.events.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn applied(&self, transactions: usize) {
        self.transactions.inc_by(transactions as u64);
    }

    pub(super) fn submitted(&self, turnaround: Option<Duration>) {
        self.proposals.inc();
        if let Some(turnaround) = turnaround {
            self.turnaround.observe(turnaround.as_secs_f64());
        }
    }

    pub(super) fn status(&self, status: &Status) {
        for stage in Stage::ALL {
            let now = i64::from(stage == status.stage);
            self.stages.get_or_create(&Label { kind: stage.as_str() }).set(now);
        }
        let _ = self.head.try_set(status.head.height.get());
        let _ = self.published.try_set(status.published.get());
        let _ = self.attempt.try_set(status.attempt.map_or(0, |attempt| u64::from(attempt.get())));
        let _ = self.stalled.try_set(u64::from(status.stalled));
    }
}
