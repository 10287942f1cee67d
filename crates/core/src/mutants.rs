//! Rules that a test can switch off, to see that somebody notices. For tests only: no interface.
//!
//! # Overview
//!
//! A checker that has never objected may be blind. So the code asks, where it keeps to one of these
//! rules, whether it is to: `Rule::kept`. That is the constant `true`, and costs nothing, unless this
//! crate is built with the feature `mutants`, which nobody turns on but the test of that name in
//! `tidewatch-sim`. There, `Rule::off` switches one rule off, everywhere it is kept (a rule that the
//! stream keeps to and the store checks at its door is off in both), for the thread that calls it, on
//! which the deterministic runtime runs everything.

use std::time::Duration;

/// A rule that the code keeps to. Each is described by what it demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A block stands on the block before it.
    ParentLink,
    /// A tier moves only to a block of the delivered chain, and a download ends at the tip.
    OwnChain,
    /// A prune brings every tier down with it.
    Clamp,
    /// What a prune says of the tiers was read after the divergence was found.
    SecondLook,
    /// Two blocks at one height are the same block only if their digests are.
    Digest,
    /// A digest that the source does not give is no disagreement.
    Missing,
    /// The ancestor is not looked for below what is finalized, and nothing is pruned to there.
    Floor,
    /// A snapshot with tiers in an order that cannot be is refused.
    Order,
    /// No event leaves the tiers in an order that cannot be.
    Ladder,
    /// Finalized never moves back, and never to another chain.
    Finality,
    /// A tier that moves back says so.
    Back,
    /// After a prune, proposed is announced again where it does not come back to its old place.
    Baseline,
    /// A certificate counts if it verifies.
    Certificate,
    /// A certificate that was checked is not checked again.
    CheckedOnce,
    /// Another genesis ends a follower only if the source says that it is of another chain.
    OtherGenesis,
    /// Blocks that stand on the head tell for themselves that the chain goes on.
    ParentTells,
    /// A question names no more heights than the source takes.
    Question,
    /// A doorbell wakes a pass.
    Doorbell,
    /// Whoever asks while a pass runs is served by the next one.
    Requery,
    /// A pass runs without a reason, when the poll interval is over.
    Poll,
    /// A call to the source is given up at its deadline.
    Deadline,
    /// A live follower has little to take in.
    Lag,
    /// A contradiction of what is finalized shows in the status.
    Conflicted,
    /// An actor that is told to stop ends.
    Stop,
    /// Only what a consumer calls durable moves its position.
    DurableAck,
    /// Events that a consumer failed over come again.
    Again,
    /// A consumer that fell behind the history is asked to start again.
    NoHole,
    /// A consumer's position is durable when its acknowledgement returns.
    PositionSynced,
    /// Events are durable before anybody is told of them.
    EventsSynced,
    /// Blocks are durable before the event that speaks of them.
    PayloadFirst,
    /// A restart begins where the last event says.
    LastEvent,
}

impl Rule {
    /// Whether the code keeps to this rule.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub const fn kept(self) -> bool {
        true
    }

    /// Whether the code keeps to this rule.
    #[cfg(feature = "mutants")]
    pub fn kept(self) -> bool {
        OFF.get() != Some(self)
    }

    /// `wait`, or, where this rule is off, so long that nobody sees the end of it.
    pub fn bounds(self, wait: Duration) -> Duration {
        if self.kept() { wait } else { wait.saturating_mul(1_000) }
    }

    /// Switches this rule off on this thread, and the one that was off before on, until what is
    /// returned is dropped.
    #[cfg(feature = "mutants")]
    pub fn off(self) -> Off {
        OFF.set(Some(self));
        Off(std::marker::PhantomData)
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Some rule is off on this thread. Dropped, all are kept again.
#[cfg(feature = "mutants")]
#[derive(Debug)]
#[must_use]
pub struct Off(std::marker::PhantomData<*const ()>);

#[cfg(feature = "mutants")]
impl Drop for Off {
    fn drop(&mut self) {
        OFF.set(None);
    }
}
