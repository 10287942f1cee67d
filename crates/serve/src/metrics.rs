//! What a server counts.

use crate::{frame::Transport, problem::Code};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, EncodeMetric, Gauge, GaugeExt as _, Histogram, MetricEncoder,
        MetricType, MetricsExt as _, NoLabelSet, Registered, raw,
    },
};
use commonware_utils::sync::Mutex;
use std::time::Duration;
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
    bridges: Histogram,
    delivery: Histogram,
    behind_events: Registered<Spread>,
    behind_seconds: Registered<Spread>,
}

/// Seconds from an event to a socket.
const DELIVERY: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Events of a bridge, and events that a stream is behind.
const EVENTS: [f64; 7] = [0.0, 1.0, 16.0, 256.0, 4_096.0, 65_536.0, 1_048_576.0];

/// Seconds that a stream is behind.
const SECONDS: [f64; 7] = [0.0, 1.0, 5.0, 15.0, 60.0, 600.0, 3_600.0];

/// How the streams are spread at one moment: a histogram of them, not of what happened so far.
#[derive(Debug)]
struct Spread {
    bounds: [f64; 7],
    /// The sum, and of each bound how many are up to it and above the one before; above all bounds the last.
    shown: Mutex<(f64, [u64; 8])>,
}

impl Spread {
    fn new(bounds: [f64; 7]) -> Self {
        Self { bounds, shown: Mutex::default() }
    }

    fn show(&self, values: impl Iterator<Item = f64>) {
        let mut shown = (0.0, [0; 8]);
        for value in values {
            shown.0 += value;
            shown.1[self.bounds.partition_point(|bound| *bound < value)] += 1;
        }
        *self.shown.lock() = shown;
    }
}

impl EncodeMetric for Spread {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let (sum, counts) = *self.shown.lock();
        let bounds = self.bounds.into_iter().chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
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
            ended: context.family("streams_ended", "Streams that ended, by transport and reason"),
            refused: context.family("refused", "Requests that were refused, by reason"),
            ready: context.gauge("ready", "1 while /ready answers 200"),
            bridges: context.histogram(
                "bridge_events",
                "Events that lead over from a position which is not of this history",
                EVENTS,
            ),
            delivery: context.histogram(
                "delivery_seconds",
                "Time from an event's coming out of the log to its socket, of streams at the tip",
                DELIVERY,
            ),
            behind_events: context.register(
                "behind_events",
                "Streams that are open now, by how many events they are behind",
                Spread::new(EVENTS),
            ),
            behind_seconds: context.register(
                "behind_seconds",
                "Streams that are open now, by the least age of their next event",
                Spread::new(SECONDS),
            ),
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

    /// An event was handed over so long after it came.
    pub(crate) fn delivered(&self, after: Duration) {
        self.delivery.observe(after.as_secs_f64());
    }

    /// So many events come before those of the log.
    pub(crate) fn bridged(&self, events: usize) {
        self.bridges.observe(events as f64);
    }

    /// The server ended a stream; without a reason its client did, or the network.
    pub(crate) fn ended(&self, transport: Transport, reason: Option<Reason>) {
        let (transport, end) = (transport.as_str(), reason.map_or("left", Reason::as_str));
        self.ended.get_or_create(&Ended { transport, end }).inc();
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refused.get_or_create(&Why { why: code.as_str() }).inc();
    }

    /// As of now, for whoever reads the metrics: of each stream the events that it is behind, and their age.
    pub(crate) fn show(&self, streams: usize, behind: &[(u64, Duration)], ready: bool) {
        let _ = self.streams.try_set(streams);
        self.behind_events.show(behind.iter().map(|(events, _)| *events as f64));
        self.behind_seconds.show(behind.iter().map(|(_, age)| age.as_secs_f64()));
        let _ = self.ready.try_set(u64::from(ready));
    }
}
