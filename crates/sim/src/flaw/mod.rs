//! Parts that are wrong: for each checker one that it detects, and no other checker does.
//!
//! # Overview
//!
//! A checker that has never failed may be unable to fail. So a world can have a [`Flaw`]: a wrapper at one port of
//! the follower that breaks one rule. The follower itself is the production code, without a switch in it: what it
//! would do if it broke the rule itself is done by the wrapper, between it and the recorders of
//! [`watch`](crate::watch).
//!
//! ```text
//!  Driver ──▶ View ──▶ Kept ──▶ View ──▶ Store        Delivery ──▶ Log ──▶ Heard ──▶ Log ──▶ Store
//!     │        above             below                     │       above             below
//!     ├─────▶ Source ──▶ Spied ──▶ RpcSource               └──▶ Taker ──▶ Reader
//!     └─────▶ Voice ──▶ Told
//! ```
//!
//! Without a flaw every wrapper passes on what it is told, and nothing else. The test `mutants` has a world for each.

mod log;
mod source;
mod view;
mod words;

pub(crate) use log::Log;
pub(crate) use source::Source;
pub(crate) use view::View;
pub(crate) use words::{Taker, Voice};

/// A rule that a part of the follower breaks. Each variant's doc says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A view that forgets where proposed stands.
    ForgottenTip,
    /// A disk that says that it synced, and did not.
    LostSync,
    /// A log that hands out another event than it recorded.
    OtherEvent,
    /// A view that announces the tiers in the order in which they break the ladder.
    OrderOfTiers,
    /// A log that announces another chain's block for a tier in the middle.
    OtherChain,
    /// A log that announces that finalized moved back.
    FinalizedBack,
    /// A log that announces every move back as an advance.
    NoRegress,
    /// A view that commits when there is nothing to commit.
    EmptyCommit,
    /// A source that answers a second look with what it said at the first one.
    OneLook,
    /// A view that goes back to the fork and up again.
    BackAndForth,
    /// A view that does not announce where a prune left proposed.
    SilentPrune,
    /// A source that makes up the last block of a range, after it was asked for it.
    MadeUpBlock,
    /// A log that leaves out an event.
    SkippedEvent,
    /// A consumer whose every acknowledgement is taken for a durable one.
    AcceptedIsDurable,
    /// A log that keeps positions in memory.
    PositionInMemory,
    /// A log that announces the steps of a bridge in reverse.
    BridgeInReverse,
    /// A source that takes more heights in one request than the one behind it.
    LongQuestion,
    /// A connection that hands over certificates which nobody sent.
    MadeUpCertificate,
    /// A source that goes on with a call that its caller has given up.
    CallWithoutEnd,
    /// A monitor that hears `Live` whatever is said.
    AlwaysLive,
    /// A source that calls its own failures bugs of the follower.
    OurFault,
    /// A source that never has blocks to give.
    NoBlocks,
    /// A doorbell that nobody hears.
    Deaf,
    /// A source that looks up what it was not asked for.
    NeedlessQuestion,
    /// A source that keeps it to itself that finality is contradicted.
    Discreet,
    /// A task that nobody ends.
    LeftTask,
}

impl Flaw {
    /// This flaw if it is one of a part below the recorders: what the part says is recorded as it says it.
    pub(crate) fn below(self) -> Option<Self> {
        let below = [
            Self::ForgottenTip,
            Self::OtherChain,
            Self::FinalizedBack,
            Self::NoRegress,
            Self::PositionInMemory,
        ];
        below.contains(&self).then_some(self)
    }

    /// This flaw if it is one of a part above the recorders: what reaches them is what the part makes of it.
    pub(crate) fn above(self) -> Option<Self> {
        self.below().is_none().then_some(self)
    }
}
