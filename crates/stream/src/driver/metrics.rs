//! What a driver counts.

use crate::{Cost, Ended};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, Histogram, MetricsExt as _, Registered, raw,
    },
};
use std::time::SystemTime;
use tidewatch_core::{BlockRef, Fault, State, Status, Tier, Verification, Watermarks};

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Label {
    kind: &'static str,
}

const fn label(kind: &'static str) -> Label {
    Label { kind }
}

type Counters = Registered<raw::Family<Label, raw::Counter>>;
type Gauges = Registered<raw::Family<Label, raw::Gauge>>;

const STATES: [State; 6] =
    [State::CatchingUp, State::Live, State::Lagging, State::Stale, State::Blind, State::Conflicted];

/// Blocks: a slot, an epoch, an hour, a day, and what no chain should ever drop.
const DEPTHS: [f64; 8] = [1.0, 2.0, 4.0, 16.0, 64.0, 1024.0, 16_384.0, 262_144.0];

pub(super) struct Metrics {
    passes: Counters,
    source_calls: Counters,
    faults: Counters,
    tips: Gauges,
    delivered: Gauge,
    lag: Gauge,
    states: Gauges,
    epoch: Gauge,
    epoch_age: Gauge,
    /// What was claimed, and what of it verified. What was delivered of that is `delivered`.
    heights: Gauges,
    /// Moments are shown rather than ages: an age that nobody updates any more looks fresh for ever.
    moved_at: Gauges,
    contact_at: Gauge,
    tip_at: Gauge,
    prunes: Counter,
    depths: Histogram,
}

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        Self {
            passes: context.family("passes", "Passes, by how they ended"),
            source_calls: context.family("source_calls", "Source calls, by reason"),
            faults: context.family("faults", "Refusals and failures, by kind"),
            tips: context.family("tip_height", "Height of each tier, in blocks"),
            delivered: context.gauge("delivered_height", "Height of the last delivered block"),
            lag: context.gauge("lag_blocks", "Blocks between the source's tip and the view"),
            states: context.family("state", "1 for the state that holds, 0 for the others"),
            epoch: context.gauge("epoch", "Newest known epoch, where validators change"),
            epoch_age: context
                .gauge("epoch_age_seconds", "Age of the newest known block that ends an epoch"),
            heights: context.family(
                "verification_height",
                "Height that was last claimed (seen), and highest one that verified (verified)",
            ),
            moved_at: context.family(
                "tip_timestamp_seconds",
                "When each tier last moved here, by this machine's clock",
            ),
            contact_at: context.gauge(
                "contact_timestamp_seconds",
                "When the source last answered, by this machine's clock",
            ),
            tip_at: context.gauge(
                "source_tip_timestamp_seconds",
                "The time of the source's newest tip, by its own word",
            ),
            prunes: context.counter("prunes", "Prunes: one for each reorg"),
            depths: context.histogram(
                "prune_depth_blocks",
                "Blocks by which the head went back at a prune",
                DEPTHS,
            ),
        }
    }

    pub(super) fn pass(&self, result: &Result<Ended, Fault>, cost: Cost) {
        let ended = match result {
            Ok(Ended::Quiet) => "quiet",
            Ok(Ended::Complete) => "complete",
            Ok(Ended::Conflicted) => "conflicted",
            Err(_) => "failed",
        };
        self.passes.get_or_create(&label(ended)).inc();
        let Cost { tip, reorg, download, chain_info } = cost;
        for (reason, calls) in
            [("tip", tip), ("reorg", reorg), ("download", download), ("chain_info", chain_info)]
        {
            self.source_calls.get_or_create(&label(reason)).inc_by(calls);
        }
    }

    pub(super) fn fault(&self, fault: &Fault) {
        self.faults.get_or_create(&label(fault.kind.as_str())).inc();
    }

    /// The source answered at `now`.
    pub(super) fn contact(&self, now: SystemTime) {
        self.contact_at.set(seconds(now));
    }

    /// The source named a tip of the time `time`.
    pub(super) fn tip(&self, time: Option<SystemTime>) {
        if let Some(time) = time {
            self.tip_at.set(seconds(time));
        }
    }

    /// The view moved from `before`, at the time `at`; without one, it was opened.
    pub(super) fn moved(
        &self,
        before: &Watermarks,
        watermarks: &Watermarks,
        at: Option<SystemTime>,
    ) {
        let height = |block: BlockRef| block.height.get();
        let (from, to) = (before.head().map_or(0, height), watermarks.head().map_or(0, height));
        if to < from {
            self.prunes.inc();
            self.depths.observe((from - to) as f64);
        }
        let _ = self.delivered.try_set(watermarks.delivered.map_or(0, height));
        for tier in Tier::ALL {
            if let Some(block) = watermarks.tips.block(tier) {
                let gauge = self.tips.get_or_create(&label(tier.as_str()));
                gauge.set(i64::try_from(block.height.get()).unwrap_or(i64::MAX));
            }
            if let Some(at) = at
                && watermarks.tips.block(tier) != before.tips.block(tier)
            {
                self.moved_at.get_or_create(&label(tier.as_str())).set(seconds(at));
            }
        }
    }

    pub(super) fn status(&self, status: &Status) {
        let _ = self.lag.try_set(status.lag);
        for state in STATES {
            self.states.get_or_create(&label(state.as_str())).set((state == status.state).into());
        }
        let Some(Verification { epoch, age_ms, seen, verified, .. }) = status.verification else {
            return;
        };
        let _ = self.epoch.try_set(epoch);
        let _ = self.epoch_age.try_set(age_ms.unwrap_or(0) / 1_000);
        for (name, height) in [("seen", seen), ("verified", verified)] {
            let height = height.map_or(0, |height| height.get());
            let gauge = self.heights.get_or_create(&label(name));
            gauge.set(i64::try_from(height).unwrap_or(i64::MAX));
        }
    }
}

/// Seconds since the epoch.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
