//! What a coordinator does, what is worth an event, and what the actor has to do.

use super::{ingress::Answer, judge::Judged};
use crate::{Block, Identity, Preblock, Proposal};
use std::time::Duration;
use tidewatch_core::{Fault, Height};

/// What a coordinator does, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// It asks for what the network fixed while it was away, or applies that.
    CatchingUp,
    /// Nothing is outstanding.
    Idle,
    /// A proposal is being built.
    Building,
    /// It goes out.
    Submitting,
    /// Its preblock is waited for.
    Awaiting,
    /// It goes out again, under the same number and with the same content.
    Reproposing,
    /// A preblock is being applied.
    Applying,
    /// A proposal that the network does not have is taken back.
    Releasing,
    /// It waits for a preblock, and there is no connection.
    Disconnected,
    /// It was asked to stop.
    Stopping,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 10] = [
        Self::CatchingUp,
        Self::Idle,
        Self::Building,
        Self::Submitting,
        Self::Awaiting,
        Self::Reproposing,
        Self::Applying,
        Self::Releasing,
        Self::Disconnected,
        Self::Stopping,
    ];

    /// Name in metrics and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Idle => "idle",
            Self::Building => "building",
            Self::Submitting => "submitting",
            Self::Awaiting => "awaiting",
            Self::Reproposing => "reproposing",
            Self::Applying => "applying",
            Self::Releasing => "releasing",
            Self::Disconnected => "disconnected",
            Self::Stopping => "stopping",
        }
    }
}

/// What is worth an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Submitted,
    MaybeSubmitted(Fault),
    Taken,
    NotTaken(String),
    TimedOut,
    Discarded(Judged, Identity),
    Applied(usize),
    Rejected(String),
    Failed(Fault),
    CatchUp(Height),
    CaughtUp,
    PoolLocked,
    Connected(bool),
    AnsweredLate,
}

impl Notice {
    /// Name in metrics and events.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::MaybeSubmitted(_) => "maybe_submitted",
            Self::Taken => "taken",
            Self::NotTaken(_) => "not_taken",
            Self::TimedOut => "timed_out",
            Self::Discarded(judged, _) => judged.as_str(),
            Self::Applied(_) => "applied",
            Self::Rejected(_) => "rejected",
            Self::Failed(_) => "failed",
            Self::CatchUp(_) => "catch_up",
            Self::CaughtUp => "caught_up",
            Self::PoolLocked => "pool_locked",
            Self::Connected(true) => "connected",
            Self::Connected(false) => "disconnected",
            Self::AnsweredLate => "answered_late",
        }
    }
}

/// What the actor has to do. At most one call is in flight: a new one takes its place.
#[derive(Debug)]
pub(super) enum Effect<W> {
    Select,
    Reserve(Proposal),
    Submit(Proposal),
    Apply(Box<Preblock>),
    Settle(Box<Block>),
    Release,
    Newest,
    Answer(W, Answer),
    /// The one timer: nothing, after that long, or after the pause of a failure.
    Rest,
    Wake(Duration),
    Retry,
    /// The pause is short again.
    Progress,
    /// Whoever waits is answered after `answer_max` at the latest.
    Patience,
    /// The next block is due an interval after the head.
    Interval,
    /// The monitor reads from the next number: on, or again.
    Want {
        again: bool,
    },
    Notice(Notice),
    End(Fault),
}
