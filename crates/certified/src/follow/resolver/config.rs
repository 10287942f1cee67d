//! Configuration and collaborators of a resolver.

use std::{fmt, num::NonZeroUsize, time::Duration};

/// Deadlines and limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Deadline of one request.
    pub request_timeout: Duration,
    /// Maximum number of requests in flight.
    pub concurrency: NonZeroUsize,
    /// Wait after the first failure of a key. It doubles with each.
    pub retry_base: Duration,
    /// Upper bound of every wait.
    pub retry_cap: Duration,
    /// Time after which the failures of a key that is not wanted any more are forgotten.
    pub memory: Duration,
    /// Messages that wait before they overflow.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(2),
            concurrency: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            retry_base: Duration::from_millis(250),
            retry_cap: Duration::from_secs(30),
            memory: Duration::from_secs(60),
            mailbox_size: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// What a resolver works with.
pub struct Parts<T, L, X, C> {
    /// The upstream, such as
    /// [`CertifiedSource::shared_transport`](crate::CertifiedSource::shared_transport).
    pub transport: T,
    /// The execution layer, which is asked first.
    pub execution: L,
    /// The table of epochs that the marshal checks with.
    pub epochs: X,
    /// The marshal's handler, from `marshal::resolver::handler::init`.
    pub consumer: C,
}

impl<T, L, X, C> fmt::Debug for Parts<T, L, X, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}
