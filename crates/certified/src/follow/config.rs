//! Configuration and collaborators of a follow driver.

use std::{fmt, num::NonZeroUsize, time::Duration};

/// Intervals and limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether the marshal may skip to the boundary of an epoch, because the execution layer gets the blocks
    /// below it elsewhere. Otherwise every block is delivered.
    pub skip: bool,
    /// How often the upstream is asked for its newest finalization. Pushes only make it faster.
    pub poll: Duration,
    /// Upper bound of the first wait before an upstream that failed at the start is asked again. It doubles.
    pub backoff_base: Duration,
    /// Upper bound of every such wait.
    pub backoff_cap: Duration,
    /// Messages that wait before they overflow.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            skip: false,
            poll: Duration::from_secs(10),
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(20),
            mailbox_size: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// What a follow driver works with.
pub struct Parts<M, X, L, P> {
    /// The marshal.
    pub marshal: M,
    /// The table of epochs, which the marshal has as its provider too.
    pub epochs: X,
    /// What executes the blocks.
    pub execution: L,
    /// What proves boundaries: a [`CertifiedSource`](crate::CertifiedSource).
    pub upstream: P,
}

impl<M, X, L, P> fmt::Debug for Parts<M, X, L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}
