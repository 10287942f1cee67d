//! What a sentinel reports.

use crate::{Conflict, Contradiction, Epoch, Slot, ValidatorId};
use serde::Serialize;

/// One event. Of events with one sequence, the first says all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the history, from 1.
    pub sequence: u64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Validators were inactive for long enough: one event for each epoch that has such validators.
    Inactive {
        /// The epoch that completed it.
        epoch: Epoch,
        /// Who, in ascending order. Never empty.
        validators: Vec<Inactive>,
    },
    /// An earlier verdict was given on a chain that is gone, and does not hold.
    Withdrawn {
        /// Its epoch.
        epoch: Epoch,
        /// The sequence of the event that gave it.
        verdict: u64,
    },
    /// A validator contradicted itself.
    Contradicted(Conflict),
}

/// One validator of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inactive {
    /// Who.
    pub validator: ValidatorId,
    /// What it did in the epoch that completed it.
    #[serde(flatten)]
    pub performance: Performance,
    /// What the configuration says that this costs; zero is reported as well.
    pub penalty: u64,
}

/// What a validator missed of what it could have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Performance {
    /// Attestations and proposals that it missed.
    pub missed: u32,
    /// Attestations and proposals that it could have made, in slots that were judged.
    pub total: u32,
}

/// An event as a JSON line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line<'a> {
    /// [`What::Inactive`].
    Inactive {
        /// Position in the history.
        sequence: u64,
        /// The epoch that completed it.
        epoch: Epoch,
        /// Who.
        validators: &'a [Inactive],
    },
    /// [`What::Withdrawn`].
    Withdrawn {
        /// Position in the history.
        sequence: u64,
        /// The epoch of the verdict.
        epoch: Epoch,
        /// The sequence of the verdict.
        verdict: u64,
    },
    /// [`What::Contradicted`].
    Contradicted {
        /// Position in the history.
        sequence: u64,
        /// The slot.
        slot: Slot,
        /// Who.
        validator: &'a ValidatorId,
        /// In which way.
        kind: Contradiction,
        /// The message that was seen first, as signed, in hexadecimal.
        first: String,
        /// The other one.
        second: String,
    },
}

impl Event {
    /// The event as a JSON line.
    pub fn line(&self) -> Line<'_> {
        let sequence = self.sequence;
        match &self.what {
            What::Inactive { epoch, validators } => {
                Line::Inactive { sequence, epoch: *epoch, validators }
            }
            What::Withdrawn { epoch, verdict } => {
                Line::Withdrawn { sequence, epoch: *epoch, verdict: *verdict }
            }
            What::Contradicted(Conflict { kind, first, second }) => Line::Contradicted {
                sequence,
                slot: first.slot,
                validator: &first.validator,
                kind: *kind,
                first: commonware_formatting::hex(&first.bytes),
                second: commonware_formatting::hex(&second.bytes),
            },
        }
    }
}
