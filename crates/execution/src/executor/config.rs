//! Configuration of an executor.

use commonware_utils::{NZU32, NZUsize};
use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

/// Limits and intervals of an executor.
#[derive(Clone, Debug)]
pub struct Config {
    /// A call that takes longer has failed.
    pub deadline: Duration,
    /// Between two tries of what the client has put aside, or could not be asked.
    pub retry: Duration,
    /// How often a block or a target is tried until whoever waits is refused.
    pub tries_max: NonZeroU32,
    /// The last target is repeated this long after the last call that pointed at one.
    pub heartbeat: Duration,
    /// The directory for payloads that the client says are invalid; `None` keeps none.
    pub evidence: Option<PathBuf>,
    /// Messages that wait before they overflow into a queue.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    /// 10 s for a call (the Engine API allows 8), 12 tries a second apart, a heartbeat each minute.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(1),
            tries_max: NZU32!(12),
            heartbeat: Duration::from_secs(60),
            evidence: None,
            mailbox_size: NZUsize!(64),
        }
    }
}
