//! What to do at a start, and with what comes in: decisions without I/O.

use crate::Epochs;
use commonware_consensus::types::{Epoch, Round};
use std::ops::RangeInclusive;
use tidewatch_core::Height;

/// Who has a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Marshal,
    Execution,
    /// Both have it. The marshal verified its own.
    Both,
}

/// What a start has to do before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Healing {
    /// The newest boundary that the execution layer has: what it says of it is verified.
    pub(super) baseline: Option<Height>,
    /// The boundary of the epoch that comes next, if that is not known, and who has it.
    pub(super) missing: Option<(Height, Holder)>,
    /// Whether the marshal is to go on from the baseline.
    pub(super) floor: bool,
    /// Blocks that were delivered and that the execution layer does not have.
    pub(super) lost: Option<RangeInclusive<Height>>,
    /// The epoch of the next block to be delivered, once that is done.
    pub(super) epoch: Epoch,
}

/// The newest boundary that is not above `height`.
fn boundary_below(epochs: &impl Epochs, height: Height) -> Option<Height> {
    epochs.boundary(epochs.epoch(height.next())?.previous()?)
}

/// What a start has to do, where the execution layer has blocks up to `durable`, the marshal has delivered them up
/// to `processed`, and `known` tells which epochs are known.
pub(super) fn heal(
    epochs: &impl Epochs,
    known: impl Fn(Epoch) -> bool,
    durable: Height,
    processed: Option<Height>,
) -> Healing {
    let delivered = processed.unwrap_or_default();
    let highest = durable.max(delivered);
    let has = |boundary: &Height| (*boundary <= delivered, *boundary <= durable);
    let missing = boundary_below(epochs, highest)
        .filter(|_| epochs.epoch(highest.next()).is_some_and(|epoch| !known(epoch)))
        .map(|boundary| match has(&boundary) {
            (true, true) => (boundary, Holder::Both),
            (true, false) => (boundary, Holder::Marshal),
            (false, _) => (boundary, Holder::Execution),
        });
    let baseline = boundary_below(epochs, durable);
    // A floor at the next height to be delivered would change nothing.
    let floor = baseline.is_some_and(|boundary| next(processed) < boundary);
    let lost = (delivered > durable).then(|| durable.next()..=delivered);
    let first = baseline.filter(|_| floor).unwrap_or_else(|| next(processed));
    Healing { baseline, missing, floor, lost, epoch: epochs.epoch(first).unwrap_or_default() }
}

/// The height that is delivered after `processed`.
fn next(processed: Option<Height>) -> Height {
    processed.map_or_else(Height::zero, Height::next)
}

/// What becomes of a finalization that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The marshal is given it.
    Report,
    /// It is not newer than one that the marshal was given.
    Stale,
    /// It waits until its epoch is delivered.
    Hold,
}

/// Where a driver stands.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The epoch of the next block that the marshal delivers.
    epoch: Epoch,
    /// The newest finalization that the marshal was given.
    reported: Option<Round>,
    /// The newest epoch that somebody claims the chain to be in.
    claimed: Option<Epoch>,
    /// The epoch whose last height was hinted at last.
    hinted: Option<Epoch>,
    /// The epoch at whose last height the floor was set last.
    floored: Option<Epoch>,
    skip: bool,
}

impl State {
    pub(super) const fn new(epoch: Epoch, skip: bool) -> Self {
        Self { epoch, reported: None, claimed: None, hinted: None, floored: None, skip }
    }

    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What becomes of a finalization of `round`.
    pub(super) fn finalized(&mut self, round: Round) -> Verdict {
        if Some(round) <= self.reported {
            return Verdict::Stale;
        }
        if round.epoch() > self.epoch {
            return Verdict::Hold;
        }
        self.reported = Some(round);
        Verdict::Report
    }

    /// Somebody claims that the chain is in `epoch`. One that lies behind says nothing.
    pub(super) fn claim(&mut self, epoch: Epoch) {
        self.claimed = self.claimed.max(Some(epoch));
    }

    /// The epoch whose last height is to be hinted at, now and not again.
    pub(super) fn hint(&mut self) -> Option<Epoch> {
        let later = self.claimed > Some(self.epoch);
        let fresh = self.hinted != Some(self.epoch);
        (later && fresh).then(|| *self.hinted.insert(self.epoch))
    }

    /// Whether the floor may be set to the `boundary` that ends this epoch, of which the marshal may have the
    /// finalization by now: `next` is the next height that it delivers.
    pub(super) fn may_skip(&self, boundary: Height, next: Height, tip: Height) -> bool {
        self.skip
            && self.hinted == Some(self.epoch)
            && self.floored != Some(self.epoch)
            && tip >= boundary
            && next < boundary
    }

    /// The floor was set to the last height of this epoch.
    pub(super) const fn skipped(&mut self) {
        self.floored = Some(self.epoch);
    }

    /// The boundary that leads to `epoch` is learned and durable.
    pub(super) fn entered(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }
}
