//! The removal of what is past retention, at the end of a commit, when everything is durable.
//!
//! What goes is chosen while no pin can be made, and refused to readers from then on; only then is it
//! removed. So a reader that pinned a block and then read it keeps it, whatever a trim is doing meanwhile.
//! Blocks go after the height that they are trimmed up to is durable: a restart tells them from lost ones.

use super::proofs::HISTORY;
use super::{
    committer::Committer,
    layout::EVENTS_PER_SECTION,
    meta::Key,
    moment::{Log, Moment},
    positions::Positions,
};
use crate::{
    Part, Retention, limits,
    retention::{events_from, file_start, held_from},
};
use commonware_codec::varint::UInt;
use commonware_runtime::{
    Metrics,
    telemetry::metrics::{EncodeLabelSet, Gauge, GaugeExt as _, MetricsExt as _, Registered, raw},
};
use commonware_storage::{Context, journal::contiguous::Contiguous as _};
use std::sync::atomic::{AtomicU64, Ordering};
use tidewatch_core::{Fault, Height, Pins, Tier};

/// The pins, and what trims have chosen so far. Both are shared with readers.
#[derive(Debug, Default)]
pub(super) struct Floors {
    pub(super) pins: Pins,
    /// The height that blocks are removed below.
    blocks: AtomicU64,
    /// The position that proofs are removed below, in the order of [`Tier::ALL`], and that of [`HISTORY`].
    proofs: [AtomicU64; HISTORY + 1],
}

// The orderings are relaxed: a floor is raised under the lock of the pins, and matters to a reader that
// holds a pin, which it made under the same lock.
impl Floors {
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    pub(super) fn proofs(&self, log: usize) -> u64 {
        self.proofs[log].load(Ordering::Relaxed)
    }
}

impl<E: Context> Committer<E> {
    /// The oldest event that can be read: by the limits, and by what consumers have not acknowledged.
    pub(super) fn oldest(&self) -> u64 {
        let Retention { events, unacknowledged_max, .. } = &self.layout.retention;
        let kept = self.events.bounds();
        let limit = self.event_files.limit(events, self.context.current());
        let slowest = self.positions.slowest(kept.end).map(|slowest| slowest.handled);
        let from = events_from(limit, slowest, *unacknowledged_max);
        self.oldest.max(limits::oldest(kept.start, kept.end, from))
    }

    /// Removes whole files of what is past retention.
    pub(super) async fn trim(mut self, log: &Log<E>) -> Result<Self, Fault> {
        let (events, blocks, proofs);
        (self, events) = self.trim_events().await?;
        (self, blocks) = self.trim_blocks().await?;
        (self, proofs) = self.trim_proofs().await?;
        if events || blocks || proofs { self.publish(log).await } else { Ok(self) }
    }

    async fn trim_events(mut self) -> Result<(Self, bool), Fault> {
        // The published one, not one of now: what readers were offered stays until the next moment.
        let from = file_start(self.oldest.saturating_sub(1), EVENTS_PER_SECTION);
        if from <= self.events.bounds().start {
            return Ok((self, false));
        }
        let trimmed = self.events.prune(from).await;
        (self.events, _) = trimmed.map_err(|error| Part::Events.failed(error))?;
        self.event_files.trim(self.events.bounds().start);
        Ok((self, true))
    }

    fn finalized(&self) -> Option<Height> {
        self.watermarks.tips.block(Tier::Finalized).map(|block| block.height)
    }

    async fn trim_blocks(mut self) -> Result<(Self, bool), Fault> {
        let Some(run) = self.run.take() else { return Ok((self, false)) };
        let start = run.blocks.bounds().start;
        let limit = run.files.limit(&self.layout.retention.blocks, self.context.current());
        let (finalized, per_file) = (self.finalized(), self.layout.blocks_per_section);
        let from = self.floors.pins.decide(|pinned| {
            let from = file_start(limit.min(held_from(pinned, finalized)), per_file);
            self.floors.blocks.fetch_max(from, Ordering::Relaxed);
            from
        });
        if from <= start {
            self.run = Some(run);
            return Ok((self, false));
        }
        self.meta = self.meta.put(Key::Trimmed, &UInt(from)).await?;
        let run = run.trim(from).await?;
        debug_assert!(run.blocks.bounds().start == from && from < run.end(), "trimmed too much");
        self.run = Some(run);
        Ok((self, true))
    }

    async fn trim_proofs(mut self) -> Result<(Self, bool), Fault> {
        let (keep, now) = (self.layout.retention.proofs, self.context.current());
        let held = Height::new(held_from(self.floors.pins.lowest(), self.finalized()));
        let mut any = false;
        for tier in 0..self.proofs.len() {
            let Some((from, last)) = self.proofs[tier].past(&keep, held, now).await? else {
                continue;
            };
            let free = self.floors.pins.decide(|pinned| {
                let free = pinned.is_none_or(|pinned| last < pinned);
                if free {
                    self.floors.proofs[tier].fetch_max(from, Ordering::Relaxed);
                }
                free
            });
            // Where a pin came in between, the next commit looks again.
            if free {
                let proofs = self.proofs.remove(tier).trim(from).await?;
                self.proofs.insert(tier, proofs);
                any = true;
            }
        }
        Ok((self, any))
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    tier: &'static str,
}

/// What [`Retained`](crate::Retained) says, as of the last commit.
pub(super) struct Gauges {
    event: Gauge,
    block: Gauge,
    proofs: Registered<raw::Family<Label, raw::Gauge>>,
    pins: Gauge,
    pinned: Gauge,
    behind: Gauge,
    behind_max: Gauge,
}

impl Gauges {
    pub(super) fn new(context: &impl Metrics) -> Self {
        Self {
            event: context.gauge("oldest_event", "Sequence of the oldest event that can be read"),
            block: context.gauge("oldest_block", "Height of the oldest block that is held"),
            proofs: context.family("oldest_proof", "Height of the oldest proof of each tier"),
            pins: context.gauge("pins", "Pins that hold blocks and proofs"),
            pinned: context.gauge("lowest_pin", "Height of the lowest pin, -1 without one"),
            behind: context
                .gauge("unacknowledged", "Events that the slowest consumer did not acknowledge"),
            behind_max: context.gauge(
                "unacknowledged_max",
                "Events kept past the limits for consumers that did not acknowledge them",
            ),
        }
    }

    pub(super) fn show<E: Context>(
        &self,
        moment: &Moment<E>,
        positions: &Positions<E>,
        retention: &Retention,
    ) {
        let pins = &moment.floors.pins;
        let behind = positions.slowest(moment.end).map_or(0, |slowest| slowest.behind);
        let _ = self.event.try_set(moment.oldest);
        let _ = self.block.try_set(moment.oldest_block().map_or(0, |oldest| oldest.get()));
        let _ = self.pins.try_set(pins.list().len());
        let pinned = pins.lowest().map_or(-1, |pinned| saturated(pinned.get()));
        let _ = self.pinned.set(pinned);
        let _ = self.behind.try_set(behind);
        let _ = self.behind_max.try_set(retention.unacknowledged_max);
        for (tier, oldest) in Tier::ALL.iter().zip(moment.oldest_proofs) {
            if let Some(oldest) = oldest {
                let gauge = self.proofs.get_or_create(&Label { tier: tier.as_str() });
                gauge.set(saturated(oldest.get()));
            }
        }
    }
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
