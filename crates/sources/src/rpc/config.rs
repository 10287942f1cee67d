//! Limits of a source over JSON-RPC. Every one of them is a bound on what a node can cost.

use super::{Call, Rate};
use crate::rate::Limit;
use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

const fn count(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

const fn rate(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

/// Limits and rhythms of a source over JSON-RPC.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long one request, or one attempt to connect, may take. Several endpoints share it.
    pub request_timeout: Duration,
    /// The longest answer, in bytes. One to few calls is shorter ([`Call::answered_by`]), and requests that
    /// are on their way at once share it.
    pub answer_max: usize,
    /// Calls in one batch at the most. An endpoint that takes fewer is learned from its refusals.
    pub batch_max: NonZeroUsize,
    /// Batches of one question that are on their way at once.
    pub lanes: NonZeroUsize,
    /// The request budget: requests a second to each endpoint, unless its address says otherwise
    /// ([`Rate`]). What is beyond it waits.
    pub requests_per_second: NonZeroU32,
    /// Requests that may be made at once after a pause, as far as the budget is the usual one.
    pub requests_burst: NonZeroU32,
    /// The longest time that an endpoint is left alone because it asked for it.
    pub busy_max: Duration,
    /// Recent blocks kept, by digest, so that they are not asked for again. Aztec's are 100 at the least.
    pub recent_max: NonZeroUsize,
    /// How often a snapshot is taken again because its tips are of two moments.
    pub torn_max: u32,
    /// How often a snapshot is taken again because it is lower than the one before, which a node that
    /// lags behind another one shows as well as a chain that became shorter. Of three nodes behind one
    /// address, chosen at random, two that lag are asked as often in a row once in ten thousand times.
    pub lower_max: u32,
    /// Between two such snapshots.
    pub lower_pause: Duration,
    /// The longest first wait before a push connection is opened again. Each failure doubles it.
    pub backoff_base: Duration,
    /// The longest wait before a push connection is opened again.
    pub backoff_cap: Duration,
}

impl Config {
    /// The longest answer to `calls`, in bytes.
    pub(super) fn longest(&self, calls: &[Call]) -> usize {
        let sum = calls.iter().fold(0_usize, |sum, call| sum.saturating_add(call.answer_max));
        sum.min(self.answer_max)
    }

    /// How often an endpoint of this rate may be asked, if that is limited.
    pub(crate) fn limit(&self, rate: Rate) -> Option<Limit> {
        rate.limit(Some((self.requests_per_second, self.requests_burst)))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            answer_max: 16 * 1024 * 1024,
            batch_max: count(100),
            lanes: count(4),
            requests_per_second: rate(25),
            requests_burst: rate(50),
            busy_max: Duration::from_secs(300),
            recent_max: count(1_024),
            torn_max: 3,
            lower_max: 24,
            lower_pause: Duration::from_millis(250),
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(20),
        }
    }
}
