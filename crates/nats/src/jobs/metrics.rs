//! What is counted.

use super::cluster::Filed;
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{Counter, EncodeLabelSet, Gauge, MetricsExt as _, Registered, raw},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    how: &'static str,
}

/// Dead letters: of workers, and of those who submit.
pub(super) struct Dead(Registered<raw::Family<Label, raw::Counter>>);

impl Dead {
    pub(super) fn new(context: &impl Register) -> Self {
        Self(context.family("dead_letters", "Dead letters that were filed, by how they came about"))
    }

    pub(super) fn filed(&self, filed: Filed) {
        let how = match filed {
            Filed::GivenUp => "given_up",
            Filed::Terminated => "terminated",
            Filed::Unreadable => "unreadable",
        };
        self.0.get_or_create(&Label { how }).inc();
    }
}

/// What a worker counts.
pub(super) struct Metrics {
    connected: Gauge,
    working: Gauge,
    taken: Counter,
    ended: Registered<raw::Family<Label, raw::Counter>>,
    unanswered: Counter,
    pub(super) dead: Dead,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            connected: context
                .gauge("connected", "1 once the cluster answered, and was found as it has to be"),
            working: context.gauge("working", "Jobs that this worker has"),
            taken: context.counter("taken", "Jobs that this worker was given"),
            ended: context.family("ended", "Jobs that this worker had, by how they ended here"),
            unanswered: context.counter("unanswered", "Requests that were refused or not answered"),
            dead: Dead::new(context),
        }
    }

    pub(super) fn connected(&self) {
        self.connected.set(1);
    }

    pub(super) fn taken(&self) {
        self.taken.inc();
        self.working.inc();
    }

    pub(super) fn ended(&self, how: &'static str) {
        self.working.dec();
        self.ended.get_or_create(&Label { how }).inc();
    }

    pub(super) fn unanswered(&self) {
        self.unanswered.inc();
    }
}
