//! Configuration and collaborators of an application.

use crate::{Execution, Order, executor};
use commonware_utils::NZUsize;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

/// Limits and intervals of an application.
#[derive(Clone, Debug)]
pub struct Config {
    /// Blocks that are given together, and acknowledged together.
    pub batch_max: NonZeroUsize,
    /// Upper bound of the first wait before blocks are given again. It doubles.
    pub backoff_base: Duration,
    /// Upper bound of every such wait.
    pub backoff_cap: Duration,
    /// Messages that wait before they overflow. Blocks are never dropped; the marshal delivers no more than its own
    /// limit without an acknowledgement.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    /// 16 blocks at once; waits of up to half a second, growing to 20 s.
    fn default() -> Self {
        Self {
            batch_max: NZUsize!(16),
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(20),
            mailbox_size: NZUsize!(64),
        }
    }
}

/// What an application works with.
pub struct Parts<X: Execution, M> {
    /// The client.
    pub execution: Arc<X>,
    /// What makes its calls.
    pub executor: executor::Mailbox<X::Payload>,
    /// The marshal, which keeps the blocks that it delivered.
    pub marshal: M,
    /// Where a block stands among targets: the round that it was finalized in.
    pub order: fn(&X::Block) -> Order,
}

impl<X: Execution, M> fmt::Debug for Parts<X, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("client", &self.execution.name()).finish_non_exhaustive()
    }
}
