//! What a scheduler counts.

use crate::plan::{Counters, Stage, Status};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, Histogram, MetricsExt as _, Registered, raw,
    },
};
use std::time::Duration;

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Label {
    kind: String,
}

fn label(kind: impl Into<String>) -> Label {
    Label { kind: kind.into() }
}

type CounterFamily = Registered<raw::Family<Label, raw::Counter>>;
type GaugeFamily = Registered<raw::Family<Label, raw::Gauge>>;

/// Seconds: what a proof takes, and what is far too long.
const SECONDS: [f64; 8] = [1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 3600.0];
const ATTEMPTS: [f64; 5] = [1.0, 2.0, 3.0, 5.0, 10.0];

pub(super) struct Metrics {
    heights: GaugeFamily,
    lag: Gauge,
    oldest: Gauge,
    jobs: GaugeFamily,
    slots: GaugeFamily,
    used: GaugeFamily,
    inputs_bytes: Gauge,
    waiting_bytes: Gauge,
    stalled: Gauge,
    failures: CounterFamily,
    events: CounterFamily,
    commits: Counter,
    latency: Histogram,
    attempts: Histogram,
    seen: commonware_utils::sync::Mutex<Counters>,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            heights: context.family("height", "Height of the committed and of the proven tip"),
            lag: context.gauge("lag_blocks", "Blocks between the committed and the proven tip"),
            oldest: context.gauge(
                "oldest_unproven_seconds",
                "How long the lowest block that is not proven has waited",
            ),
            jobs: context.family("jobs", "Blocks that are not proven, by how far they are"),
            slots: context.family("prover_slots", "Slots that each prover has"),
            used: context.family("prover_slots_used", "Slots that are held at each prover"),
            inputs_bytes: context.gauge("inputs_bytes", "Inputs that are kept, in bytes"),
            waiting_bytes: context
                .gauge("waiting_bytes", "Proofs that wait for a lower one, in bytes"),
            stalled: context
                .gauge("stalled", "1 while the lowest block waits too long: alert on it"),
            failures: context.family("failures", "Attempts without a proof, by how they ended"),
            events: context.family("events", "What happened to attempts, proofs and jobs"),
            commits: context.counter("commits", "Blocks that became proven"),
            latency: context.histogram(
                "commit_latency_seconds",
                "From when a block was added until it was proven",
                SECONDS,
            ),
            attempts: context.histogram("attempts", "Attempts that a proven block took", ATTEMPTS),
            seen: commonware_utils::sync::Mutex::default(),
        }
    }

    pub(super) fn committed(&self, waited: Duration, attempts: u32) {
        self.commits.inc();
        self.latency.observe(waited.as_secs_f64());
        self.attempts.observe(f64::from(attempts));
    }

    pub(super) fn status(&self, status: &Status, counters: &Counters) {
        let gauge = |family: &GaugeFamily, kind: &str, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_or_create(&label(kind)).set(value);
        };
        gauge(&self.heights, "committed", status.committed.height.get());
        gauge(&self.heights, "proven", status.proven.height.get());
        let _ = self.lag.try_set(status.lag());
        let _ = self.oldest.try_set(status.oldest.map_or(0, |oldest| oldest.as_secs()));
        for stage in Stage::ALL {
            gauge(&self.jobs, stage.as_str(), status.count(stage) as u64);
        }
        for prover in &status.provers {
            gauge(&self.slots, &prover.name, prover.slots.min(prover.limit) as u64);
            gauge(&self.used, &prover.name, prover.used as u64);
        }
        let _ = self.inputs_bytes.try_set(status.inputs_bytes);
        let _ = self.waiting_bytes.try_set(status.waiting_bytes);
        let _ = self.stalled.try_set(u64::from(status.stalled));
        let mut seen = self.seen.lock();
        let count = |kind: &str, now: u64, before: u64| {
            self.events.get_or_create(&label(kind)).inc_by(now.saturating_sub(before));
        };
        count("attempt", counters.attempts, seen.attempts);
        count("hedge", counters.hedges, seen.hedges);
        count("stale", counters.stale, seen.stale);
        count("duplicate", counters.duplicates, seen.duplicates);
        count("unwanted", counters.unwanted, seen.unwanted);
        count("cancelled", counters.cancelled, seen.cancelled);
        count("poisoned", counters.poisoned, seen.poisoned);
        count("requeued", counters.requeued, seen.requeued);
        count("reused", counters.reused, seen.reused);
        count("stalled", counters.stalled, seen.stalled);
        for (kind, now) in &counters.failures {
            let before = seen.failures.get(kind).copied().unwrap_or_default();
            let counter = self.failures.get_or_create(&label(*kind));
            counter.inc_by(now.saturating_sub(before));
        }
        *seen = counters.clone();
    }
}
