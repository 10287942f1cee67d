//! What a driver may be told.

use crate::{Mode, Thresholds};
use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};

/// Settings of a driver.
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
    /// A source call that takes longer is given up.
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
