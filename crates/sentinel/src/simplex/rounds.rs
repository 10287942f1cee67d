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
    /// Views begin anew in each epoch: for each epoch, how many slots there were before its first view.
    Anew(BTreeMap<u64, u64>),
}

impl Rounds {
    /// Of a chain with epochs, of which nothing is known yet but that it begins with epoch 0.
    pub fn anew() -> Self {
        Self::Anew(BTreeMap::from([(0, 0)]))
    }

    /// The slot of `round`; `None` where it cannot be told yet.
    pub fn slot(&self, round: Round) -> Option<Slot> {
        let view = round.view().get();
        match self {
            Self::Fixed { epoch, .. } => (*epoch == round.epoch()).then_some(Slot(view)),
            Self::Anew(before) => {
                before.get(&round.epoch().get()).map(|before| Slot(before.saturating_add(view)))
            }
        }
    }

    /// The round of `slot`, in the last known epoch if it is beyond that.
    pub fn round(&self, slot: Slot) -> Round {
        match self {
            Self::Fixed { epoch, .. } => Round::new(*epoch, View::new(slot.get())),
            Self::Anew(before) => {
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
            Self::Anew(_) => Epoch(self.round(slot).epoch().get()),
        }
    }

    /// The epoch of consensus that `epoch` belongs to.
    pub const fn consensus(&self, epoch: Epoch) -> ConsensusEpoch {
        match self {
            Self::Fixed { epoch, .. } => *epoch,
            Self::Anew(_) => ConsensusEpoch::new(epoch.get()),
        }
    }

    /// The slots of `epoch`; `None` while its end is not known.
    pub fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        match self {
            Self::Fixed { length, .. } => {
                let first = epoch.get().checked_mul(length.get())?;
                Some(Slot(first)..=Slot(first.checked_add(length.get() - 1)?))
            }
            Self::Anew(before) => {
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
        let Self::Anew(before) = self else { return };
        let epoch = last.epoch().get();
        if let (Some(begin), Some(next)) = (before.get(&epoch).copied(), epoch.checked_add(1)) {
            before.entry(next).or_insert(begin.saturating_add(last.view().get()));
        }
    }

    /// The newest epoch whose beginning is known.
    pub fn newest(&self) -> u64 {
        match self {
            Self::Fixed { epoch, .. } => epoch.get(),
            Self::Anew(before) => before.last_key_value().map_or(0, |(epoch, _)| *epoch),
        }
    }
}
