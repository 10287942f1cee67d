//! What a sentinel counts.

use super::heard::Fate;
use crate::{
    Status, What,
    history::{Change, Outcome},
};
use commonware_runtime::{
    Metrics as Register,
    telemetry::metrics::{
        Counter, EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw,
    },
};
use tidewatch_core::{Fault, Severity};

/// One label, named for what it holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    kind: String,
}

type Family = Registered<raw::Family<Label, raw::Counter>>;

pub(super) struct Metrics {
    passed: Gauge,
    processed: Gauge,
    epoch: Gauge,
    in_step: Gauge,
    waiting: Gauge,
    slots: Family,
    proposals: Family,
    attested: Counter,
    attestations_missed: Counter,
    observations: Family,
    events: Family,
    faults: Family,
    reorgs: Counter,
    judged_again: Counter,
    deep: Counter,
}

fn count(family: &Family, kind: &str, by: u64) {
    family.get_or_create(&Label { kind: kind.to_owned() }).inc_by(by);
}

/// Kinds of events.
const EVENTS: [&str; 3] = ["inactive", "withdrawn", "contradicted"];

impl Metrics {
    pub(super) fn new(context: &impl Register) -> Self {
        let events = context.family("events", "Verdicts, withdrawals and contradictions");
        // A counter that begins with one did not grow: whoever alerts on the first of a kind would not hear of it.
        EVENTS.iter().for_each(|kind| count(&events, kind, 0));
        Self {
            passed: context.gauge("passed_slot", "Newest slot that the canonical chain has passed"),
            processed: context.gauge("processed_slot", "Newest slot that is recorded"),
            epoch: context.gauge("evaluated_epoch", "Newest epoch that was evaluated"),
            in_step: context.gauge(
                "in_step",
                "1 while what is seen is in step with what is canonical: slots are not judged otherwise",
            ),
            waiting: context.gauge("waiting_slots", "Slots whose messages wait to be judged"),
            slots: context.family("slots", "Slots that were recorded, by how they were judged"),
            proposals: context.family("proposals", "Proposals that were due, by what became of them"),
            attested: context.counter("attestations", "Attestations that were made"),
            attestations_missed: context
                .counter("attestations_missed", "Attestations that were due and not made"),
            observations: context.family("observations", "Observations, by what became of them"),
            events,
            faults: context.family("faults", "Passes and deliveries that failed, by why"),
            reorgs: context.counter("reorgs", "Reorgs below a slot that was judged"),
            judged_again: context.counter("slots_stale", "Slots that a reorg made stale"),
            deep: context.counter("deep_reorgs", "Reorgs below everything that can be judged again"),
        }
    }

    pub(super) fn observed(&self, fate: Fate) {
        let kind = match fate {
            Fate::Taken => "taken",
            Fate::Late => "late",
            Fate::Ahead => "ahead",
        };
        count(&self.observations, kind, 1);
    }

    pub(super) fn merged(&self) {
        count(&self.observations, "merged_slot", 1);
    }

    pub(super) fn dropped(&self, slots: u64) {
        count(&self.observations, "dropped_slot", slots);
    }

    pub(super) fn fault(&self, fault: &Fault) {
        count(&self.faults, fault.kind.as_str(), 1);
        debug_assert!(fault.severity() != Severity::Bug, "{fault}");
    }

    pub(super) fn reorged(&self, stale: u64, deep: bool) {
        self.reorgs.inc();
        self.judged_again.inc_by(stale);
        self.deep.inc_by(u64::from(deep));
    }

    /// A change was written; `members` gives the size of a committee.
    pub(super) fn changed(&self, change: &Change, members: impl Fn(u32) -> usize) {
        for row in &change.rows {
            match &row.outcome {
                Outcome::NobodyDue => count(&self.slots, "nobody_due", 1),
                Outcome::NotJudged(reason) => count(&self.slots, reason.as_str(), 1),
                Outcome::Judged(filed) => {
                    count(&self.slots, "judged", 1);
                    count(&self.proposals, filed.judged.proposal.as_str(), 1);
                    let attested = filed.judged.attested.iter().count() as u64;
                    self.attested.inc_by(attested);
                    if filed.judged.expected {
                        let members = members(filed.committee) as u64;
                        self.attestations_missed.inc_by(members.saturating_sub(attested + 1));
                    }
                }
            }
        }
        for event in &change.events {
            let [inactive, withdrawn, contradicted] = EVENTS;
            let kind = match &event.what {
                What::Inactive { .. } => inactive,
                What::Withdrawn { .. } => withdrawn,
                What::Contradicted(_) => contradicted,
            };
            count(&self.events, kind, 1);
        }
    }

    pub(super) fn status(&self, status: &Status, waiting: usize) {
        let number = |slot: Option<crate::Slot>| slot.map_or(0, crate::Slot::get);
        let _ = self.passed.try_set(number(status.passed));
        let _ = self.processed.try_set(number(status.processed));
        let _ = self.epoch.try_set(status.epoch.map_or(0, crate::Epoch::get));
        let _ = self.in_step.try_set(u64::from(status.in_step));
        let _ = self.waiting.try_set(waiting as u64);
    }
}
