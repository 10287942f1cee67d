//! Why a view on an execution layer was refused something, or refuses it.

use crate::Forkchoice;
use std::time::Duration;
use tidewatch_core::{BlockRef, Digest, FaultKind, Height, Reason};

/// What goes wrong between this crate and an execution client, with the values that disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// The client says that a block is invalid which the source has on its chain.
    #[error("the client says that block {block} is invalid: {why}{}", kept(.evidence.as_deref()))]
    Invalid {
        /// The block.
        block: BlockRef,
        /// The newest valid block below it, if the client named one.
        valid: Option<Digest>,
        /// Its words.
        why: String,
        /// Where the payload was kept.
        evidence: Option<String>,
    },
    /// The client refuses a forkchoice.
    #[error("the client refuses {forkchoice}: {why}")]
    Rejected {
        /// What it was pointed at.
        forkchoice: Forkchoice,
        /// Its words.
        why: String,
    },
    /// The client says that another block is valid than the one that it was asked about.
    #[error("asked about {asked}, the client says that {said} is valid")]
    OtherHead {
        /// The block that it was asked about.
        asked: BlockRef,
        /// The block that it named.
        said: Digest,
    },
    /// The client has put a block or a head aside for too long.
    #[error("{about}: the client still says {said} after {limit:?}")]
    NotDone {
        /// The block, or the head.
        about: BlockRef,
        /// What it says: SYNCING or ACCEPTED.
        said: String,
        /// How long it was asked.
        limit: Duration,
    },
    /// No answer to a call within its deadline.
    #[error("no answer to {call} within {limit:?}")]
    NoAnswer {
        /// What was called.
        call: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// A change that would take the client below what is final.
    #[error("{to} is below the finalized block {finalized}")]
    BelowFinalized {
        /// Where it was to be pointed at.
        to: BlockRef,
        /// What is final.
        finalized: BlockRef,
    },
    /// A target that is older than one which was accepted or waits.
    #[error("there is a newer target than {0}")]
    Older(BlockRef),
    /// The client does not have a block that it says it has.
    #[error("the client says that it keeps everything up to {height}, and has no block there")]
    NoBlock {
        /// The height.
        height: Height,
    },
    /// The client lost a block that the marshal does not keep.
    #[error(
        "the client stands at {stands}, and the marshal does not keep block {height}, which comes next: bring \
         back a copy of the client's data, or begin anew with both"
    )]
    Lost {
        /// The block's height.
        height: Height,
        /// Where the client stands.
        stands: BlockRef,
    },
    /// The actor has ended.
    #[error("the executor has ended")]
    Ended,
    /// Evidence could not be written.
    #[error("cannot keep evidence in {path}: {error}")]
    Evidence {
        /// Where.
        path: String,
        /// What the system said.
        error: String,
    },
}

fn kept(evidence: Option<&str>) -> String {
    evidence.map_or_else(String::new, |path| format!(" (what it was given is in {path})"))
}

impl Reason for ExecutionError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Invalid { .. } | Self::Rejected { .. } => FaultKind::Rejected,
            Self::OtherHead { .. } => FaultKind::WrongDigest,
            Self::NotDone { .. } => FaultKind::Unavailable,
            Self::NoAnswer { .. } => FaultKind::Timeout,
            Self::BelowFinalized { .. } | Self::Older(_) => FaultKind::Behind,
            Self::NoBlock { .. } | Self::Lost { .. } => FaultKind::Missing,
            Self::Ended => FaultKind::Stopped,
            Self::Evidence { .. } => FaultKind::Disk,
        }
    }
}
