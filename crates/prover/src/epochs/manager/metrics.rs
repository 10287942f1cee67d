//! What a session manager counts.

use super::ingress::Status;
use crate::{
    Failure,
    epochs::{Outcome, Progress},
};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw},
};

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Label {
    kind: &'static str,
}

type CounterFamily = Registered<raw::Family<Label, raw::Counter>>;

pub(super) struct Metrics {
    cursor: Gauge,
    checkpoints: Gauge,
    failed: Gauge,
    sessions: Gauge,
    running: Gauge,
    waiting: Gauge,
    unpublished: Gauge,
    failures: CounterFamily,
    outcomes: CounterFamily,
    events: CounterFamily,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            cursor: context.gauge("cursor", "The last checkpoint that is behind the catch-up"),
            checkpoints: context.gauge("checkpoints", "Checkpoints that are being proven, or were"),
            failed: context.gauge("failed_checkpoints", "Checkpoints that cannot be proven"),
            sessions: context.gauge("live_sessions", "Sessions that are not over"),
            running: context.gauge("running", "Proofs that are being made"),
            waiting: context.gauge("waiting", "Proofs that wait for a slot"),
            unpublished: context.gauge("unpublished", "Proofs that wait to be published"),
            failures: context.family("failures", "Attempts without a proof, by how they ended"),
            outcomes: context.family("outcomes", "Proofs of epochs, by how publishing them ended"),
            events: context.family("events", "What happened to checkpoints and pieces"),
        }
    }

    pub(super) fn status(&self, status: &Status) {
        let live = status.sessions.iter().filter(|session| !session.state.is_terminal()).count();
        let _ = self.cursor.try_set(status.cursor);
        let _ = self.checkpoints.try_set(status.checkpoints);
        let _ = self.failed.try_set(status.failed);
        let _ = self.sessions.try_set(live);
        let _ = self.running.try_set(status.running);
        let _ = self.waiting.try_set(status.waiting);
        let _ = self.unpublished.try_set(status.unpublished);
    }

    pub(super) fn walked(&self, progress: Progress) {
        let Progress { taken, skipped, dropped } = progress;
        for (kind, count) in [("taken", taken), ("skipped", skipped), ("dropped", dropped)] {
            self.events.get_or_create(&Label { kind }).inc_by(count);
        }
    }

    pub(super) fn event(&self, kind: &'static str) {
        self.events.get_or_create(&Label { kind }).inc();
    }

    pub(super) fn failure(&self, failure: &Failure) {
        self.failures.get_or_create(&Label { kind: failure.as_str() }).inc();
    }

    pub(super) fn outcome(&self, outcome: Outcome) {
        let kind = match outcome {
            Outcome::Published => "published",
            Outcome::Superseded => "superseded",
            Outcome::Expired => "expired",
            Outcome::Withdrawn => "withdrawn",
            Outcome::Failed => "failed",
        };
        self.outcomes.get_or_create(&Label { kind }).inc();
    }
}
