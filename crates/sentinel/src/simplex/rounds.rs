//! Which slot a round is.

use crate::{Epoch, Slot};
use commonware_consensus::types::{Epoch as ConsensusEpoch, Round, View};
use std::{collections::BTreeMap, num::NonZeroU64, ops::RangeInclusive};

/// Rounds as slots, and the other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// Consensus has one epoch for ever: a view is a slot, and so many of them are an epoch.
    Fixed {
        /// The epoch of consensus.
        epoch: ConsensusEpoch,
        /// Slots of an epoch.
        length: NonZeroU64,
    },
    /// Views begin anew in each epoch.
    Anew {
        /// For each epoch, how many slots there were before its first view.
        before: BTreeMap<u64, u64>,
        /// The highest round of a final block.
        reached: Round,
    },
}

/// Where a vote belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into a slot.
    At(Slot),
    /// That is not known yet: its epoch, or where that ends.
    NotYet,
    /// Nowhere: consensus goes on for some views after the last block of an epoch, and makes no block in them.
    Nowhere,
}

impl Rounds {
    /// Of a chain with epochs, of which nothing is known yet but that it begins with epoch 0.
    pub fn anew() -> Self {
        Self::Anew { before: BTreeMap::from([(0, 0)]), reached: Round::zero() }
    }

    /// The slot of `round`, of a block; `None` where it cannot be told yet, and for a round that is none of its epoch.
    pub fn slot(&self, round: Round) -> Option<Slot> {
        let view = round.view().get();
        match self {
            Self::Fixed { epoch, .. } => (*epoch == round.epoch()).then_some(Slot(view)),
            Self::Anew { before, .. } => {
                let slot = before.get(&round.epoch().get())?.saturating_add(view);
                let next = before.get(&round.epoch().get().saturating_add(1));
                next.is_none_or(|next| slot <= *next).then_some(Slot(slot))
            }
        }
    }

    /// Where a vote in `round` belongs. That its epoch has not ended before it is known by a final block of that round
    /// or of a later one of the epoch; a block of the next epoch does not say where this one ended.
    pub(super) fn place(&self, round: Round) -> Place {
        match (self, self.slot(round)) {
            (Self::Fixed { .. }, Some(slot)) => Place::At(slot),
            (Self::Fixed { .. }, None) => Place::Nowhere,
            (Self::Anew { before, reached }, slot) => {
                let ended = before.contains_key(&round.epoch().get().saturating_add(1));
                let goes_on = round.epoch() == reached.epoch() && round <= *reached;
                match slot {
                    Some(slot) if ended || goes_on => Place::At(slot),
                    None if ended => Place::Nowhere,
                    _ => Place::NotYet,
                }
            }
        }
    }

    /// There is a final block of `round`.
    pub fn reach(&mut self, round: Round) {
        if let Self::Anew { reached, .. } = self {
            *reached = (*reached).max(round);
        }
    }

    /// The round of `slot`, in the last known epoch if it is beyond that.
    pub fn round(&self, slot: Slot) -> Round {
        match self {
            Self::Fixed { epoch, .. } => Round::new(*epoch, View::new(slot.get())),
            Self::Anew { before, .. } => {
                // The slot that is as many as were before an epoch is the last one of the epoch before.
                let below = before.iter().rev().find(|(_, before)| **before < slot.get());
                let (epoch, before) = below.map_or((0, 0), |(epoch, before)| (*epoch, *before));
                Round::new(ConsensusEpoch::new(epoch), View::new(slot.get() - before))
            }
        }
    }

    /// The epoch of `slot`.
    pub fn epoch(&self, slot: Slot) -> Epoch {
        match self {
            Self::Fixed { length, .. } => Epoch(slot.get() / length.get()),
            Self::Anew { .. } => Epoch(self.round(slot).epoch().get()),
        }
    }

    /// The epoch of consensus that `epoch` belongs to.
    pub const fn consensus(&self, epoch: Epoch) -> ConsensusEpoch {
        match self {
            Self::Fixed { epoch, .. } => *epoch,
            Self::Anew { .. } => ConsensusEpoch::new(epoch.get()),
        }
    }

    /// The slots of `epoch`; `None` while its end is not known.
    pub fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        match self {
            Self::Fixed { length, .. } => {
                let first = epoch.get().checked_mul(length.get())?;
                Some(Slot(first)..=Slot(first.checked_add(length.get() - 1)?))
            }
            Self::Anew { before, .. } => {
                let first = match epoch.get() {
                    0 => 0,
                    later => before.get(&later)? + 1,
                };
                Some(Slot(first)..=Slot(*before.get(&epoch.get().checked_add(1)?)?))
            }
        }
    }

    /// `last` is the round of the last block of its epoch. Ignored if where the epoch begins is not known.
    pub fn ended(&mut self, last: Round) {
        let Self::Anew { before, .. } = self else { return };
        let epoch = last.epoch().get();
        if let (Some(begin), Some(next)) = (before.get(&epoch).copied(), epoch.checked_add(1)) {
            before.entry(next).or_insert(begin.saturating_add(last.view().get()));
        }
    }

    /// The newest epoch whose beginning is known.
    pub fn newest(&self) -> u64 {
        match self {
            Self::Fixed { epoch, .. } => epoch.get(),
            Self::Anew { before, .. } => before.last_key_value().map_or(0, |(epoch, _)| *epoch),
        }
    }
}
