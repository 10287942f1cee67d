//! What a delivery may be told.

use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};

/// Settings of a delivery.
#[derive(Clone, Debug)]
pub struct Config {
    /// Events handed over at once, at the most.
    pub batch_max: NonZeroUsize,
    /// The first wait after a consumer failed; it doubles from there.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
}

impl Default for Config {
    /// 256 events at once; from 100 ms to 10 s after failures.
    fn default() -> Self {
        Self {
            batch_max: NZUsize!(256),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}
