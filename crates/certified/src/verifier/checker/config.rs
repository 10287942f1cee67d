//! Configuration of a checker.

use commonware_utils::NZUsize;
use std::num::NonZeroUsize;

/// Limits of a checker.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Requests that wait for a check. What comes beyond that is refused.
    pub waiting_max: NonZeroUsize,
    /// Certificates of one batch, and so the longest that a request waits for others.
    pub batch_max: NonZeroUsize,
    /// Certificates that verified and are not checked again. 256 are some minutes of a live chain.
    pub seen_max: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        let (waiting_max, batch_max, seen_max) = (NZUsize!(256), NZUsize!(32), NZUsize!(256));
        Self { waiting_max, batch_max, seen_max }
    }
}
