//! Driver configuration.

use crate::{Mode, Thresholds};
use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// The collaborators of a driver.
#[derive(Debug)]
pub struct Parts<S, V, M> {
    /// What is followed.
    pub source: Arc<S>,
    /// What takes it in. The driver is its only writer, and the source must be of its chain.
    pub view: V,
    /// Observes what the driver does.
    pub monitor: M,
}

/// Limits and intervals of a driver.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to deliver.
    pub mode: Mode,
    /// A pass runs at least this often.
    pub poll: Duration,
    /// Passes are at least this far apart, however often the doorbell rings. After a failed pass it is
    /// `poll` that they are apart.
    pub pace: Duration,
    /// The wait after a failed pass grows from `poll` up to this. A source that is only behind is asked
    /// again after `poll`.
    pub backoff_max: Duration,
    /// A source call that takes longer fails.
    pub deadline: Duration,
    /// What counts as live.
    pub thresholds: Thresholds,
    /// Messages that wait for the driver before they are coalesced.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    /// Every block from genesis; a poll a second, 10 ms between passes, 30 s back-off at the most,
    /// and a minute for a source call (a whole range may be one).
    fn default() -> Self {
        Self {
            mode: Mode::GENESIS,
            poll: Duration::from_secs(1),
            pace: Duration::from_millis(10),
            backoff_max: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            thresholds: Thresholds::default(),
            mailbox_size: NZUsize!(64),
        }
    }
}
