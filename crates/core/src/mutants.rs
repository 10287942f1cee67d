//! Rules that a mutation test can disable, to prove that a checker detects the violation. Not part of
//! the public interface.
//!
//! # Overview
//!
//! A checker that has never failed may be unable to fail. Wherever the code enforces one of these rules,
//! it therefore consults `Rule::kept`. That is the constant `true`, and free, unless this crate is built
//! with the feature `mutants`, which only the test of that name in `tidewatch-sim` enables. There,
//! `Rule::off` disables one rule everywhere it is enforced (in the stream as well as in the store) on
//! the calling thread, which is the thread on which the deterministic runtime runs every task.

use std::time::Duration;

/// A rule that the code enforces. Each variant's doc states the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A delivered block's parent is the preceding block.
    ParentLink,
    /// A tier moves only to a block of the delivered chain, and a download ends at the tip.
    OwnChain,
    /// A prune clamps every tier to the block that it prunes to.
    Clamp,
    /// The tips of a prune were read after the divergence was found.
    SecondLook,
    /// What contradicts finality is looked at twice before it is evidence.
    Confirm,
    /// A source that goes back and forth between two forks is not followed.
    Flapping,
    /// A snapshot without a proposed tip is no contact.
    NoTip,
    /// A tier that the source does not know holds up no other.
    Unknown,
    /// A tip that lies ahead of the clock is not fresh.
    TipAhead,
    /// A source over several upstreams moves on where the view cannot use what one answers.
    Judged,
    /// The status turns whatever is awaited.
    Awaited,
    /// Two blocks at one height are equal only if their digests are.
    Digest,
    /// A digest that the source does not return is not a mismatch.
    Missing,
    /// The search for the ancestor stops at the finalized tip, and no prune goes below it.
    Floor,
    /// A snapshot whose tiers violate the ladder is rejected.
    Order,
    /// No event leaves the tiers in an order that violates the ladder.
    Ladder,
    /// The finalized tier never regresses, and never moves to another chain.
    Finality,
    /// A tier that moves down is announced as `Regressed`.
    Back,
    /// After a prune, the proposed tip is announced again unless it returns to its old block.
    Baseline,
    /// A certificate is accepted only if it verifies.
    Certificate,
    /// A certificate of an epoch that is not known has the boundaries on the way there fetched.
    Walk,
    /// Two finalizations of one height that both verify are reported.
    Contradiction,
    /// What was said of a chain's keys too long ago is not trusted.
    TrustAge,
    /// A boundary is durable before its delivery is acknowledged.
    BoundaryFirst,
    /// A marshal's floor skips no block that the execution layer does not get elsewhere.
    NoSkip,
    /// A start goes by what is durable in the execution layer: blocks that it lost are delivered again.
    Durable,
    /// A certificate is verified at most once.
    CheckedOnce,
    /// A different genesis ends a follower only if the source's chain info differs too.
    OtherGenesis,
    /// Blocks whose parent is the head extend the chain without a search for the ancestor.
    ParentTells,
    /// A request contains no more heights than the source's limit.
    Question,
    /// A doorbell wakes a pass.
    Doorbell,
    /// A request made during a pass is served by the next pass.
    Requery,
    /// A pass starts when the poll interval elapses, even without a doorbell.
    Poll,
    /// A call to the source is abandoned at its deadline.
    Deadline,
    /// A follower is live only if its lag is small.
    Lag,
    /// A finality conflict is reflected in the status.
    Conflicted,
    /// An actor ends when it is asked to stop.
    Stop,
    /// What an execution client has put aside is not acknowledged.
    PutAside,
    /// The floor of an execution layer is what the client would have after a crash.
    LayerFloor,
    /// Only a durable acknowledgement moves a consumer's position.
    DurableAck,
    /// Events that a consumer failed to handle are delivered again.
    Again,
    /// A consumer that fell behind the retained history is restarted, never given a gap.
    NoHole,
    /// A position whose event is not kept is judged by its blocks, not by its count.
    ByBlocks,
    /// No step of a bridge breaks the ladder.
    Steps,
    /// A bridge announces only blocks that are held.
    Held,
    /// A position that is ahead of the log waits for it.
    Ahead,
    /// A consumer's position is durable when its acknowledgement returns.
    PositionSynced,
    /// Events are durable before any reader can observe them.
    EventsSynced,
    /// Blocks are durable before the event that refers to them.
    PayloadFirst,
    /// A restart resumes at the watermarks of the last event.
    LastEvent,
    /// The lowest block that is not proven is attempted first.
    HeadFirst,
    /// A failure is believed only of an attempt that holds a slot.
    Fenced,
    /// A proof counts only if it verifies.
    VerifiedFirst,
    /// Proofs are committed in the order of their blocks.
    InOrder,
    /// Inputs are durable before their block counts as committed.
    InputsFirst,
    /// A proof is durable before the proven tip that it moves.
    ProofFirst,
    /// Proven does not pass the tier above it.
    ProvenBound,
    /// An epoch is skipped as a whole or not at all.
    WholeEpochs,
    /// A prune takes the cursor of the catch-up back.
    PruneClamp,
    /// Expired epochs are swept although nothing else happens.
    Ticker,
    /// A range is superseded only once the longer one has landed.
    Superseded,
    /// A range counts as proven only where no block of it is missing.
    Gapless,
    /// A submission whose end was not seen is looked up before it is made again.
    LookedUp,
}

impl Rule {
    /// Whether this rule is enforced.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub const fn kept(self) -> bool {
        true
    }

    /// Whether this rule is enforced.
    #[cfg(feature = "mutants")]
    pub fn kept(self) -> bool {
        OFF.get() != Some(self)
    }

    /// Returns `wait` or, if this rule is disabled, a duration that no test waits for.
    pub fn bounds(self, wait: Duration) -> Duration {
        if self.kept() { wait } else { wait.saturating_mul(1_000) }
    }

    /// Disables this rule on the current thread until the guard is dropped. At most one rule is
    /// disabled at a time: a rule that was disabled before is enforced again.
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

/// Guard of a disabled rule: when it is dropped, all rules are enforced again.
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
