//! Limits of a certified source. Every one of them is a bound on what an endpoint can cost.

use std::{num::NonZeroUsize, time::Duration};

const fn count(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

/// Limits and rhythms of a certified source and its upstream.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long one request, or one attempt to connect, may take.
    pub request_timeout: Duration,
    /// Requests in flight at once.
    pub concurrency: NonZeroUsize,
    /// Blocks that one answer of the source holds at most.
    pub blocks_max: NonZeroUsize,
    /// Bytes of blocks, as they came over the wire, after which a range is not made longer.
    pub range_bytes_max: usize,
    /// Time after which a range is not made longer.
    pub range_time_max: Duration,
    /// Heights in a row that may have to be asked for by digest. An alto chain has a finalization of its
    /// own for almost every height, a run of misses is as long as the views that were skipped.
    pub gap_max: NonZeroUsize,
    /// Refused answers, and blocks that the hash chain rejects, which one range repairs before it is
    /// cut there.
    pub repairs_max: NonZeroUsize,
    /// Certificates tried, from the top of a range downwards, until one verifies.
    pub range_certificates_max: NonZeroUsize,
    /// Notarized ancestors that are fetched for a proposed tip, and recent notarizations kept.
    pub ancestors_max: NonZeroUsize,
    /// Time that a snapshot may spend on fetching notarized ancestors. Finality waits no longer for them.
    pub ancestors_time_max: Duration,
    /// Recent blocks kept, by digest, so that what was pushed is not asked for again. 1,024 blocks are
    /// 8 minutes of a chain that makes two a second.
    pub recent_max: NonZeroUsize,
    /// How long memory may answer for the tip, while the push connection is up, before it is asked for
    /// again.
    pub ask_interval: Duration,
    /// How long to wait before asking again for a tip that could not be asked for, while pushes come.
    pub ask_retry: Duration,
    /// How long the push connection may bring nothing new that verifies, before it is replaced: several
    /// times the time that the chain takes for a block.
    pub silence: Duration,
    /// Refused frames in a row after which the push connection is replaced.
    pub refused_frames_max: NonZeroUsize,
    /// The longest first wait before connecting again. Each attempt that brings nothing doubles it.
    pub backoff_base: Duration,
    /// The longest wait before connecting again.
    pub backoff_cap: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            concurrency: count(64),
            blocks_max: count(32_768),
            range_bytes_max: 32 * 1024 * 1024,
            range_time_max: Duration::from_secs(2),
            gap_max: count(1_024),
            repairs_max: count(64),
            range_certificates_max: count(16),
            ancestors_max: count(64),
            ancestors_time_max: Duration::from_secs(1),
            recent_max: count(1_024),
            ask_interval: Duration::from_secs(10),
            ask_retry: Duration::from_secs(1),
            silence: Duration::from_secs(10),
            refused_frames_max: count(16),
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(20),
        }
    }
}
