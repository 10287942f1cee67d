//! Answers to queries.

use crate::{Epoch, Performance, Slot, ValidatorId};
use serde::Serialize;
use std::ops::RangeInclusive;

/// What a proposer did in its slot, in falling order of confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proposal {
    /// It landed on the canonical chain.
    Mined,
    /// It is valid, stands on a checkpoint that landed, and enough attested to it; yet it did not land. The
    /// proposer did its part.
    Unpublished,
    /// It is valid, but what it stands on never landed.
    Orphaned,
    /// It is valid; nothing more is known.
    Valid,
    /// It was executed here and rejected.
    Invalid,
    /// It was seen and could not be executed.
    Unvalidated,
    /// There were blocks, but never the whole proposal.
    Missed,
    /// Nothing was seen.
    BlocksMissed,
}

impl Proposal {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Mined,
        Self::Unpublished,
        Self::Orphaned,
        Self::Valid,
        Self::Invalid,
        Self::Unvalidated,
        Self::Missed,
        Self::BlocksMissed,
    ];

    /// Name in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mined => "mined",
            Self::Unpublished => "unpublished",
            Self::Orphaned => "orphaned",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unvalidated => "unvalidated",
            Self::Missed => "missed",
            Self::BlocksMissed => "blocks_missed",
        }
    }

    /// Whether the proposer failed to do its part.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Invalid | Self::Unvalidated | Self::Missed | Self::BlocksMissed)
    }
}

/// What a validator did in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// It attested.
    Attested,
    /// It had to attest and did not.
    AttestationMissed,
    /// It had to propose.
    #[serde(untagged)]
    Proposed(Proposal),
}

/// Why nobody was judged in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotJudged {
    /// It was not watched from its beginning to its end: before the start, or while this was down.
    NotWatched,
    /// Messages may have been missed.
    Missed,
    /// What was seen was not in step with the canonical chain for too long.
    OutOfStep,
    /// What is canonical there cannot be told.
    Unknown,
    /// Who had to propose cannot be told.
    NoProposer,
}

impl NotJudged {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::NotWatched, Self::Missed, Self::OutOfStep, Self::Unknown, Self::NoProposer];

    /// Name in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotWatched => "not_watched",
            Self::Missed => "missed",
            Self::OutOfStep => "out_of_step",
            Self::Unknown => "unknown",
            Self::NoProposer => "no_proposer",
        }
    }
}

/// What is recorded of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// The slot.
    pub slot: Slot,
    /// Its epoch.
    pub epoch: Epoch,
    /// How it was judged.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// How a slot was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "judgement", rename_all = "snake_case")]
pub enum Judgement {
    /// It was judged.
    Judged {
        /// Who had to propose.
        proposer: ValidatorId,
        /// What it did.
        proposal: Proposal,
        /// Who attested.
        attested: Vec<ValidatorId>,
        /// Who had to attest and did not. Empty where nobody could be expected to.
        missed: Vec<ValidatorId>,
        /// Who contradicted itself.
        contradicted: Vec<ValidatorId>,
    },
    /// It was not.
    NotJudged {
        /// Why.
        reason: NotJudged,
    },
    /// Nobody was due.
    NobodyDue,
}

/// One kind of duty of one validator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Duties {
    /// How many it failed.
    pub missed: u64,
    /// How many there were.
    pub total: u64,
    /// The failed part; `None` of none at all.
    pub missed_rate: Option<f64>,
    /// How many it failed in a row, up to the newest.
    pub streak: u64,
    /// The newest slot in which it did its part.
    pub last: Option<Slot>,
}

/// What a validator did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValidatorReport {
    /// Who.
    pub validator: ValidatorId,
    /// Slots in which something of it is recorded.
    pub slots: u64,
    /// Its proposals.
    pub proposals: Duties,
    /// Its attestations.
    pub attestations: Duties,
    /// Slots in which it contradicted itself.
    pub contradictions: u64,
    /// The newest slot in which it did anything.
    pub last_seen: Option<Slot>,
}

/// One validator with its history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detailed {
    /// The statistics.
    #[serde(flatten)]
    pub report: ValidatorReport,
    /// What it did, slot by slot.
    pub history: Vec<(Slot, Did)>,
    /// The epochs that are kept.
    pub epochs: Vec<EpochPerformance>,
    /// Which slots this is of.
    pub window: Window,
}

/// Several validators.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// The validators.
    pub validators: Vec<ValidatorReport>,
    /// Which slots this is of.
    pub window: Window,
}

/// Which slots an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The first slot.
    pub from: Slot,
    /// The last slot.
    pub to: Slot,
    /// The newest slot that is recorded.
    pub processed: Option<Slot>,
    /// Slots up to here were not watched as a whole by this run.
    pub initial: Option<Slot>,
    /// How many slots are kept.
    pub kept: u64,
}

/// A validator in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EpochPerformance {
    /// The epoch.
    pub epoch: Epoch,
    /// What it missed.
    #[serde(flatten)]
    pub performance: Performance,
    /// Whether that is too much.
    pub inactive: bool,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochReport {
    /// The epoch.
    pub epoch: Epoch,
    /// Each validator with anything that it could have done, in ascending order.
    pub validators: Vec<EpochRow>,
    /// The verdict, where somebody was inactive for long enough: the sequence of its event.
    pub verdict: Option<u64>,
}

/// One validator in an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochRow {
    /// Who.
    pub validator: ValidatorId,
    /// What it missed.
    #[serde(flatten)]
    pub performance: Performance,
    /// Whether that is too much in this epoch.
    pub inactive: bool,
}

/// Where a sentinel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The newest slot that the chain has passed.
    pub passed: Option<Slot>,
    /// The newest slot that is recorded.
    pub processed: Option<Slot>,
    /// Slots up to here were not watched as a whole by this run.
    pub initial: Option<Slot>,
    /// Slots that are kept, first and last.
    pub kept: Option<(Slot, Slot)>,
    /// The newest epoch that was evaluated.
    pub epoch: Option<Epoch>,
    /// Whether what is seen was in step with what is canonical in the last pass.
    pub in_step: bool,
    /// The newest event.
    pub events: u64,
}

/// Which slots a query is about; without a bound, the newest ones that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The first slot.
    pub from: Option<Slot>,
    /// The last slot.
    pub to: Option<Slot>,
}

impl From<RangeInclusive<Slot>> for Asked {
    fn from(range: RangeInclusive<Slot>) -> Self {
        Self { from: Some(*range.start()), to: Some(*range.end()) }
    }
}
