//! What a publisher counts.

use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw,
    },
};
use std::time::SystemTime;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: u64,
}

pub(super) struct Metrics {
    published: Registered<raw::Family<Kind, raw::Counter>>,
    refused: Registered<raw::Family<Code, raw::Counter>>,
    unanswered: Counter,
    again: Counter,
    token: Gauge,
    timestamp: Gauge,
    sequence: Gauge,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            published: context.family("published", "Messages that are in the stream, by kind"),
            refused: context.family("refused", "Messages that JetStream refused, by its code"),
            unanswered: context.counter("unanswered", "Messages without an answer"),
            again: context.counter(
                "forgotten",
                "Times that the cluster had forgotten messages, which were published again",
            ),
            token: context
                .gauge("token", "The fencing token of the newest leadership of this process"),
            timestamp: context
                .gauge("publish_timestamp_seconds", "When a message was last acknowledged"),
            sequence: context
                .gauge("sequence", "The last sequence of the stream, as a leader knows"),
        }
    }

    pub(super) fn published(&self, kind: &'static str, sequence: u64, now: SystemTime) {
        self.published.get_or_create(&Kind { kind }).inc();
        let _ = self.sequence.try_set(sequence);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let _ = self.timestamp.try_set(since.as_secs());
    }

    pub(super) fn refused(&self, code: u64) {
        self.refused.get_or_create(&Code { code }).inc();
    }

    pub(super) fn unanswered(&self) {
        self.unanswered.inc();
    }

    pub(super) fn forgotten(&self) {
        self.again.inc();
    }

    pub(super) fn leads(&self, token: u64) {
        let _ = self.token.try_set(token);
    }
}
