//! What a server counts.

use crate::{frame::Transport, problem::Code};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw,
    },
};
use tidewatch_core::json::{Reason, Resumes};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Sent {
    transport: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    transport: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

pub(crate) struct Metrics {
    streams: Gauge,
    opened: Counter,
    sent: Registered<raw::Family<Sent, raw::Counter>>,
    /// How streams and pages went on from where they were asked for.
    resumes: Registered<raw::Family<Why, raw::Counter>>,
    ended: Registered<raw::Family<Ended, raw::Counter>>,
    refused: Registered<raw::Family<Why, raw::Counter>>,
    ready: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new(context: &impl Register) -> Self {
        Self {
            streams: context.gauge("streams", "Streams that are open"),
            opened: context.counter("streams_opened", "Streams that were opened"),
            sent: context.family("events_sent", "Lines handed to sockets, by transport and kind"),
            resumes: context.family("resumes", "Positions that were asked for, by what followed"),
            ended: context
                .family("streams_ended", "Streams that the server ended, by transport and reason"),
            refused: context.family("refused", "Requests that were refused, by reason"),
            ready: context.gauge("ready", "1 while /ready answers 200"),
        }
    }

    pub(crate) fn opened(&self) {
        self.opened.inc();
    }

    /// A position was asked for, and is gone on from `how`.
    pub(crate) fn resumed(&self, how: Resumes) {
        let why = match how {
            Resumes::Start => "start",
            Resumes::Exact => "exact",
            Resumes::Forked { .. } => "forked",
            Resumes::Ahead => "ahead",
            Resumes::Reset => "reset",
        };
        self.resumes.get_or_create(&Why { why }).inc();
    }

    pub(crate) fn sent(&self, transport: Transport, kind: &'static str, count: u64) {
        let transport = transport.as_str();
        self.sent.get_or_create(&Sent { transport, kind }).inc_by(count);
    }

    pub(crate) fn ended(&self, transport: Transport, reason: Reason) {
        let (transport, end) = (transport.as_str(), reason.as_str());
        self.ended.get_or_create(&Ended { transport, end }).inc();
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refused.get_or_create(&Why { why: code.as_str() }).inc();
    }

    /// As of now, for whoever reads the metrics.
    pub(crate) fn show(&self, streams: usize, ready: bool) {
        let _ = self.streams.try_set(streams);
        let _ = self.ready.try_set(u64::from(ready));
    }
}
