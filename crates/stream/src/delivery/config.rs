//! Delivery configuration.

use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};

/// The collaborators of a delivery.
#[derive(Debug)]
pub struct Parts<L, C, M> {
    /// Whose events are handed over, and where the consumer's position is kept.
    pub log: L,
    /// Who takes them in.
    pub consumer: C,
    /// Observes the consumer's failures.
    pub monitor: M,
}

/// Limits and intervals of a delivery.
#[derive(Clone, Debug)]
pub struct Config {
    /// Events handed over at once, at the most.
    pub batch_max: NonZeroUsize,
    /// Batches that may be out at once, handed over and not acknowledged. Only [`Ack::Later`] leaves any
    /// out.
    ///
    /// [`Ack::Later`]: tidewatch_core::Ack::Later
    pub in_flight_max: NonZeroUsize,
    /// The first wait after a consumer failed; it doubles from there.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How long a stop waits for the consumer to take in the events at hand.
    pub grace: Duration,
    /// Messages that wait for the delivery before they are coalesced.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    /// 256 events at once, 16 batches out; from 100 ms to 10 s after failures; 10 s to finish at a stop.
    fn default() -> Self {
        Self {
            batch_max: NZUsize!(256),
            in_flight_max: NZUsize!(16),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            mailbox_size: NZUsize!(64),
        }
    }
}
