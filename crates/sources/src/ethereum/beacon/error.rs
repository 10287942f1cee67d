//! Why an opinion, or a push, of a consensus client is none.

use super::judge::Dispute;
use std::time::Duration;
use tidewatch_core::{FaultKind, Tier};

/// What is refused of a consensus client beside an execution node, besides what is refused of any node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeaconError {
    /// The two clients contradict each other.
    #[error(
        "the execution node has {} where the consensus client has {}, which stands for {}: at most one of \
         them is right, and the tier is withheld until they agree",
        dispute.execution, dispute.consensus, tier
    )]
    Disputed {
        /// The tier that the consensus client's block stands for.
        tier: Tier,
        /// Both blocks.
        dispute: Dispute,
    },
    /// A line of its event stream is longer than any should be.
    #[error("a line of its events is longer than {max} bytes")]
    LongLine {
        /// The limit.
        max: usize,
    },
    /// The event stream ended.
    #[error("its event stream ended")]
    Ended,
    /// Nothing came over the event stream.
    #[error("nothing came over its event stream for {limit:?}")]
    Silent {
        /// The deadline.
        limit: Duration,
    },
    /// There is no client to ask.
    #[error("there is no consensus client to ask")]
    NoClient,
}

impl BeaconError {
    pub(crate) const fn kind(&self) -> FaultKind {
        match self {
            Self::Disputed { .. } => FaultKind::Disputed,
            Self::LongLine { .. } => FaultKind::Oversized,
            Self::Ended => FaultKind::Unreachable,
            Self::Silent { .. } => FaultKind::Timeout,
            Self::NoClient => FaultKind::Bug,
        }
    }
}
