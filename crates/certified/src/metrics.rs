//! Work and refusals, counted by reason.

use crate::{Error, Key};
use commonware_consensus::types::Epoch;
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, CounterFamily, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _,
    },
};
use commonware_utils::sync::Mutex;
use std::{collections::BTreeMap, fmt, sync::Arc};
use tidewatch_core::{Fault, FaultKind, Monitor};
use tracing::warn;

/// Why a certificate was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It came with the answer to a request for the tip.
    Tip,
    /// It was pushed.
    Push,
    /// It is the range certificate of a range that the hash chain from the tip does not reach.
    Range,
    /// It proves a digest at a height.
    Digest,
    /// It is that of the last block of an epoch, which carries the next scheme.
    Epoch,
}

impl Check {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Tip, Self::Push, Self::Range, Self::Digest, Self::Epoch];

    /// Name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tip => "tip",
            Self::Push => "push",
            Self::Range => "range",
            Self::Digest => "digest",
            Self::Epoch => "epoch",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    key: &'static str,
}

struct Inner {
    name: String,
    monitor: Arc<dyn Monitor>,
    checks: CounterFamily<Reason>,
    batches: Counter,
    refusals: CounterFamily<Kind>,
    requests: CounterFamily<Asked>,
    connects: Counter,
    silences: Counter,
    pushes: Counter,
    stale: Counter,
    connected: Gauge,
    /// The unknown epoch that was reported last.
    unknown: Mutex<Option<Epoch>>,
}

/// Metrics of a source: work done and refusals, by reason. Clones share their counters.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("name", &self.0.name).field("work", &self.work()).finish()
    }
}

/// Work done so far, by reason. Reasons that did not occur are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Certificates checked, by [`Check`].
    pub checks: BTreeMap<&'static str, u64>,
    /// Signature checks that they took: certificates that wait at the same time share one.
    pub batches: u64,
    /// Answers, frames and connections refused or failed, by [`FaultKind`].
    pub refusals: BTreeMap<&'static str, u64>,
    /// Requests made, by [`Key::kind`].
    pub requests: BTreeMap<&'static str, u64>,
    /// Attempts to open a push connection.
    pub connects: u64,
    /// Push connections replaced because nothing new that verifies arrived.
    pub silences: u64,
    /// Pushed certificates that verified and moved a tip.
    pub pushes: u64,
    /// Answers and pushes older than what was verified already.
    pub stale: u64,
}

impl Work {
    /// All certificates checked.
    pub fn checks_total(&self) -> u64 {
        self.checks.values().sum()
    }

    /// All requests made.
    pub fn requests_total(&self) -> u64 {
        self.requests.values().sum()
    }
}

impl Metrics {
    /// Registers the metrics of the source called `name`. `monitor` is notified of responses that were
    /// rejected but did not fail a call.
    pub fn new(
        context: &impl Register,
        name: impl Into<String>,
        monitor: Arc<dyn Monitor>,
    ) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            monitor,
            checks: context.family("certificate_checks", "Certificates checked, by reason"),
            batches: context.counter("certificate_batches", "Signature checks of one or several"),
            refusals: context.family("refusals", "What was refused or failed, by kind of fault"),
            requests: context.family("requests", "Requests made, by kind of key"),
            connects: context.counter("connects", "Attempts to open a push connection"),
            silences: context.counter("push_silent", "Push connections replaced for silence"),
            pushes: context.counter("pushes", "Pushed certificates that moved a tip"),
            stale: context.counter("stale", "Answers and pushes older than what was verified"),
            connected: context.gauge("connected", "Whether the push connection is open"),
            unknown: Mutex::default(),
        }))
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Makes a fault of this source of `error`, and counts it. Every fault is counted once, where it
    /// arises.
    pub(crate) fn reject(&self, error: Error) -> Fault {
        self.refused(Fault::new(self.name(), error))
    }

    /// Counts a fault that a transport reported.
    pub(crate) fn refused(&self, fault: Fault) -> Fault {
        self.0.refusals.get_or_create(&Kind { kind: fault.kind.as_str() }).inc();
        fault
    }

    /// Reports a fault that fails no call: the source continues without what was refused. Of the
    /// certificates of one unknown epoch only the first is reported: a live chain sends one every second.
    pub(crate) fn absorbed(&self, fault: &Fault) {
        if let Some(Error::UnknownEpoch { round, .. }) = fault.reason() {
            let epoch = round.epoch();
            if self.0.unknown.lock().replace(epoch) == Some(epoch) {
                return;
            }
        }
        warn!(source = self.name(), kind = fault.kind.as_str(), detail = %fault.detail, "refused");
        self.0.monitor.fault(fault);
    }

    pub(crate) fn checked(&self, check: Check) {
        self.0.checks.get_or_create(&Reason { reason: check.as_str() }).inc();
    }

    pub(crate) fn batched(&self) {
        self.0.batches.inc();
    }

    pub(crate) fn requested(&self, key: &Key) {
        self.0.requests.get_or_create(&Asked { key: key.kind() }).inc();
    }

    pub(crate) fn connecting(&self) {
        self.0.connects.inc();
    }

    pub(crate) fn connected(&self, connected: bool) {
        let _ = self.0.connected.try_set(u8::from(connected));
    }

    pub(crate) fn silent(&self) {
        self.0.silences.inc();
    }

    pub(crate) fn pushed(&self) {
        self.0.pushes.inc();
    }

    pub(crate) fn stale(&self) {
        self.0.stale.inc();
    }

    /// Work done so far.
    pub fn work(&self) -> Work {
        let inner = &self.0;
        let reasons = Check::ALL.into_iter().map(Check::as_str);
        let kinds = FaultKind::ALL.iter().map(|kind| kind.as_str());
        let some = |(name, count): (&'static str, Option<u64>)| Some((name, count?));
        let checks = |reason| inner.checks.get(&Reason { reason }).map(|count| count.get());
        let refusals = |kind| inner.refusals.get(&Kind { kind }).map(|count| count.get());
        let requests = |key| inner.requests.get(&Asked { key }).map(|count| count.get());
        Work {
            batches: inner.batches.get(),
            checks: reasons.map(|name| (name, checks(name))).filter_map(some).collect(),
            refusals: kinds.map(|name| (name, refusals(name))).filter_map(some).collect(),
            requests: Key::KINDS
                .map(|name| (name, requests(name)))
                .into_iter()
                .filter_map(some)
                .collect(),
            connects: inner.connects.get(),
            silences: inner.silences.get(),
            pushes: inner.pushes.get(),
            stale: inner.stale.get(),
        }
    }
}
