//! Limits of a plan.

use commonware_utils::NZUsize;
use std::{
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    time::Duration,
};

/// Limits of a plan.
#[derive(Clone, Debug)]
pub struct Config {
    /// Attempts that run at once, at all provers together.
    pub running_max: NonZeroUsize,
    /// Failures of a block, [`Class::Logical`](crate::Class::Logical) ones, before it is poisoned.
    pub logical_max: NonZeroU32,
    /// Upper bound of the wait after the first failed attempt. It doubles with each failure after it, and is
    /// drawn from its upper half.
    pub backoff: Duration,
    /// The longest wait between two attempts at a block, and before a prover that is not available is asked
    /// again. So a block is attempted at most twice in this time, however long it fails.
    pub backoff_max: Duration,
    /// An attempt that takes longer is given up.
    pub attempt_max: Duration,
    /// An attempt whose prover gave no sign of life for this long is given up.
    pub lease: Duration,
    /// How many blocks above the proven tip may be attempted: the run-ahead window.
    pub ahead_max: NonZeroUsize,
    /// How many bytes of finished proofs may wait for a lower one. The lowest block is attempted even so.
    pub ahead_bytes_max: u64,
    /// A second attempt at the lowest block starts at another prover, at a slot that no other block wants, once the
    /// first takes this many times as long as nine of ten of the last proofs took at the most, and is given up where one
    /// wants it; `None` starts none. Under heavy tails (`cargo bench --bench day`) fewer than eight times cost slots more
    /// than one part in a hundred of what they make, and shorten the lag.
    pub hedge: Option<NonZeroU32>,
    /// How long a slot count that turned out too high is not tried again.
    pub probe: Duration,
    /// A block that has waited this long since it was first attempted is stalled: an alert.
    pub stalled_after: Duration,
    /// What follows where the proven tip is far behind.
    pub lag: Lag,
}

/// What follows where the proven tip is far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// Nothing but the alert of a stalled block: blocks are made as fast as ever.
    Alert,
    /// Whoever makes blocks is to wait, for each of them: see [`Mailbox::room`](crate::scheduler::Mailbox::room).
    Slow {
        /// From so many blocks on that are not proven.
        from: NonZeroU64,
        /// Until no more than so many are.
        until: u64,
        /// The longest wait for one block. It slows production and never stops it, whatever provers do.
        wait: Duration,
    },
}

impl Lag {
    /// Whether there is room for more blocks where `lag` blocks are not proven, and `room` was there so far.
    pub const fn room(self, room: bool, lag: u64) -> bool {
        match self {
            Self::Alert => true,
            Self::Slow { from, until, .. } => {
                // Between the two it stays as it is. Where they are the wrong way round, the first decides.
                if room { lag < from.get() } else { lag <= until && lag < from.get() }
            }
        }
    }

    /// The longest wait for one block.
    pub const fn wait(self) -> Duration {
        match self {
            Self::Alert => Duration::ZERO,
            Self::Slow { wait, .. } => wait,
        }
    }
}

impl Default for Config {
    /// Eight attempts at once; three logical failures; waits from 1 s to 60 s; 10 minutes for an attempt,
    /// 30 s without a sign of life; 64 blocks and 512 MiB ahead; a hedge at eight times what is typical; lag is an alert alone.
    fn default() -> Self {
        Self {
            running_max: NZUsize!(8),
            logical_max: NonZeroU32::MIN.saturating_add(2),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            attempt_max: Duration::from_secs(600),
            lease: Duration::from_secs(30),
            ahead_max: NZUsize!(64),
            ahead_bytes_max: 512 * 1024 * 1024,
            hedge: Some(NonZeroU32::MIN.saturating_add(7)),
            probe: Duration::from_secs(60),
            stalled_after: Duration::from_secs(300),
            lag: Lag::Alert,
        }
    }
}

/// Two deadlines in an order in which one of them makes the other useless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{inner} of {inner_is:?} must be shorter than {outer} of {outer_is:?}")]
pub struct NotNested {
    /// What must be shorter.
    pub inner: &'static str,
    /// How long it is.
    pub inner_is: Duration,
    /// What must be longer.
    pub outer: &'static str,
    /// How long it is.
    pub outer_is: Duration,
}

/// Checks that `inner` ends before `outer` does.
pub(crate) fn nested(
    (inner, inner_is): (&'static str, Duration),
    (outer, outer_is): (&'static str, Duration),
) -> Result<(), NotNested> {
    if inner_is < outer_is {
        return Ok(());
    }
    Err(NotNested { inner, inner_is, outer, outer_is })
}

impl Config {
    /// Checks that the deadlines nest: a lease ends before the attempt that it belongs to, and the first wait
    /// is not above the longest.
    ///
    /// # Errors
    ///
    /// [`NotNested`] with the first pair that does not.
    pub fn check(&self) -> Result<(), NotNested> {
        nested(("the lease", self.lease), ("an attempt", self.attempt_max))?;
        let longest = self.backoff_max.saturating_add(Duration::from_nanos(1));
        nested(("the first back-off", self.backoff), ("the longest back-off", longest))?;
        nested(("no back-off", Duration::ZERO), ("the first back-off", self.backoff))
    }
}
