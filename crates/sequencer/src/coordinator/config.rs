//! Configuration of a coordinator.

use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};
use tidewatch_core::Height;

/// Where the chain changes its kernel: the block there must be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The block of this number.
    Number(Height),
    /// The first block of this time or a later one, in milliseconds since the Unix epoch.
    Time(u64),
}

/// Intervals and limits of a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// Without a transaction, a block this long after the last one. `None` makes blocks on demand alone.
    pub interval: Option<Duration>,
    /// Bytes of transactions in one block, at the most.
    pub block_bytes: usize,
    /// How long a preblock is waited for until the same content is proposed again.
    pub patience: Duration,
    /// A call to the network that takes longer has failed.
    pub deadline: Duration,
    /// How long whoever asked for a block waits for an answer. The block may come all the same.
    pub answer_max: Duration,
    /// The first pause after a failure; it doubles up to `retry_max`.
    pub retry: Duration,
    /// The longest pause after a failure.
    pub retry_max: Duration,
    /// No block for this long is an alert.
    pub stall: Duration,
    /// How long a stop waits for applied blocks to be published.
    pub grace: Duration,
    /// Where blocks must be empty.
    pub upgrades: Vec<Upgrade>,
    /// Messages that wait before they overflow into a queue.
    pub mailbox_size: NonZeroUsize,
}

impl Config {
    /// A block each `interval` at the least; an alert after three of them without one.
    pub fn every(interval: Duration) -> Self {
        Self { interval: Some(interval), stall: interval * 3, ..Self::on_demand() }
    }

    /// Blocks when somebody asks for one.
    pub const fn on_demand() -> Self {
        Self {
            interval: None,
            block_bytes: 512 * 1024,
            patience: Duration::from_secs(4),
            deadline: Duration::from_secs(2),
            answer_max: Duration::from_secs(30),
            retry: Duration::from_millis(250),
            retry_max: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            grace: Duration::from_millis(1500),
            upgrades: Vec::new(),
            mailbox_size: NZUsize!(64),
        }
    }
}
