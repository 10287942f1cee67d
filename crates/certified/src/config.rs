//! Limits of a certified source. Each bounds what an endpoint can cost.

use std::{num::NonZeroUsize, time::Duration};

const fn count(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

/// Limits and intervals of a certified source and its upstream.
#[derive(Clone, Debug)]
pub struct Config {
    /// Deadline of one request, and of one attempt to connect.
    pub request_timeout: Duration,
    /// Maximum number of requests in flight.
    pub concurrency: NonZeroUsize,
    /// Maximum number of blocks in one answer of the source.
    pub blocks_max: NonZeroUsize,
    /// Bytes of blocks, as received, after which a range is not extended.
    pub range_bytes_max: usize,
    /// Time after which a range is not extended.
    pub range_time_max: Duration,
    /// Maximum number of consecutive heights that are requested by digest. On an alto chain almost every
    /// height has a finalization of its own; a run of misses is as long as the run of skipped views.
    pub gap_max: NonZeroUsize,
    /// Whether the endpoint finds certificates ([`Key::Certificate`](crate::Key::Certificate)) and gives blocks in
    /// ranges ([`Key::Blocks`](crate::Key::Blocks)): one that took its history in at once has few certificates, and
    /// is asked where they are.
    pub finds_certificates: bool,
    /// Whether a range is asked for with one certificate, near its end, and with none where the hash chain from what is
    /// known reaches it. For an endpoint that finds certificates, has one at almost every height, and gives blocks without
    /// them for less.
    pub certificate_at_end: bool,
    /// Whether a range comes with the certificate of every boundary in it. Those that nothing needed here are fetched
    /// and checked then, once for each epoch: whoever verifies the chain from what is held needs them.
    pub boundary_certificates: bool,
    /// Maximum number of refused answers, and of blocks that the hash chain rejects, that one range repairs
    /// before it is cut.
    pub repairs_max: NonZeroUsize,
    /// Maximum number of certificates tried, from the top of a range downwards, until one verifies.
    pub range_certificates_max: NonZeroUsize,
    /// Maximum number of notarized ancestors fetched for a proposed tip, and of notarizations kept.
    pub ancestors_max: NonZeroUsize,
    /// Maximum time that a snapshot spends fetching notarized ancestors; finality is not delayed further.
    pub ancestors_time_max: Duration,
    /// Maximum time that one answer spends on the walk to an epoch that is not known. The next one goes on
    /// from there.
    pub walk_time_max: Duration,
    /// Maximum number of boundaries that a walk requests at once.
    pub walk_ahead_max: NonZeroUsize,
    /// Recent blocks kept by digest, so that pushed blocks are not requested again. At two blocks a second,
    /// 1,024 blocks are 8 minutes.
    pub recent_max: NonZeroUsize,
    /// Maximum age of the cached tip while the push connection is open.
    pub ask_interval: Duration,
    /// Wait before the tip is requested again after a failed request, while pushes arrive.
    pub ask_retry: Duration,
    /// Time without a new push that verifies after which the push connection is replaced: several block
    /// times of the chain.
    pub silence: Duration,
    /// Consecutive refused frames after which the push connection is replaced.
    pub refused_frames_max: NonZeroUsize,
    /// Upper bound of the first wait before reconnecting. It doubles with each attempt that brings nothing.
    pub backoff_base: Duration,
    /// Upper bound of every wait before reconnecting.
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
            finds_certificates: false,
            certificate_at_end: false,
            boundary_certificates: false,
            repairs_max: count(64),
            range_certificates_max: count(16),
            ancestors_max: count(64),
            ancestors_time_max: Duration::from_secs(1),
            walk_time_max: Duration::from_secs(10),
            walk_ahead_max: count(16),
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
