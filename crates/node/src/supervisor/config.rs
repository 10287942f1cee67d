//! Supervisor configuration.

use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};

/// Limits of a supervisor.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long all members together may take to end, where the stop names no limit of its own: when a
    /// critical member ended, and when the runtime stops.
    pub stop_limit: Duration,
    /// How long one member may take to end when it is removed.
    pub remove_limit: Duration,
    /// Optional members that ended which the report remembers: the newest ones.
    pub reported_max: NonZeroUsize,
    /// Messages that wait for the supervisor before they go to its overflow.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    /// 10 s for a stop and for a removal, 64 ended members in the report.
    fn default() -> Self {
        Self {
            stop_limit: Duration::from_secs(10),
            remove_limit: Duration::from_secs(10),
            reported_max: NZUsize!(64),
            mailbox_size: NZUsize!(64),
        }
    }
}
