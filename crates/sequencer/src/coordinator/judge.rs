//! Whether a preblock is the one that is waited for.

use crate::{Identity, Preblock, Proposal, Standing};

/// What does not agree with what was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mismatch {
    /// The identity does not name what is in it.
    Broken,
    /// It goes on another block than the head.
    Parent,
    /// It has other content than was proposed.
    Content,
    /// It answers an attempt that was not made.
    Attempt,
}

/// What becomes of a preblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Judged {
    /// It is applied.
    Accepted,
    /// Its number is below the head's.
    Late,
    /// It came before: it is the head, or is being applied.
    Doubled,
    /// Its number is above the next one.
    Future,
    /// It is not what was proposed.
    Foreign(Mismatch),
    /// Nothing was proposed.
    Unsolicited,
    /// The sequencer is stopping.
    Stopping,
}

impl Judged {
    /// Name in metrics and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Late => "late",
            Self::Doubled => "doubled",
            Self::Future => "future",
            Self::Foreign(Mismatch::Broken) => "broken",
            Self::Foreign(Mismatch::Parent) => "foreign_parent",
            Self::Foreign(Mismatch::Content) => "foreign_content",
            Self::Foreign(Mismatch::Attempt) => "foreign_attempt",
            Self::Unsolicited => "unsolicited",
            Self::Stopping => "stopping",
        }
    }
}

/// What a preblock is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// That of a proposal, in any attempt that was made.
    Proposed(&'a Proposal),
    /// Whatever the network fixed for the next number while we were away.
    Any,
    /// One is being applied.
    Applying(&'a Identity),
    /// None.
    Nothing,
}

/// Judges `preblock`, whose evidence was verified, over `head`, whose identity is `last` if it is no genesis.
pub fn judge(
    head: &Standing,
    last: Option<&Identity>,
    expected: Expected<'_>,
    preblock: &Preblock,
) -> Judged {
    let identity = &preblock.identity;
    let next = head.block.height.next();
    if identity.number <= head.block.height {
        let doubled = last.is_some_and(|last| last.same(identity));
        return if doubled { Judged::Doubled } else { Judged::Late };
    }
    if identity.number > next {
        return Judged::Future;
    }
    if !preblock.is_whole() || preblock.content.time_ms < head.time_ms {
        return Judged::Foreign(Mismatch::Broken);
    }
    if identity.parent != head.block.digest {
        return Judged::Foreign(Mismatch::Parent);
    }
    match expected {
        Expected::Any => Judged::Accepted,
        Expected::Nothing => Judged::Unsolicited,
        Expected::Applying(this) if this.same(identity) => Judged::Doubled,
        Expected::Applying(_) => Judged::Foreign(Mismatch::Content),
        Expected::Proposed(proposal) if !proposal.identity.same(identity) => {
            Judged::Foreign(Mismatch::Content)
        }
        Expected::Proposed(proposal) if identity.attempt > proposal.identity.attempt => {
            Judged::Foreign(Mismatch::Attempt)
        }
        Expected::Proposed(_) => Judged::Accepted,
    }
}
