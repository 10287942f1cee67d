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
    /// How long a stop waits for the consumer to take in the events at hand.
    pub grace: Duration,
}

impl Default for Config {
    /// 256 events at once; from 100 ms to 10 s after failures; 10 s to finish at a stop.
    fn default() -> Self {
        Self {
            batch_max: NZUsize!(256),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            grace: Duration::from_secs(10),
        }
    }
}
