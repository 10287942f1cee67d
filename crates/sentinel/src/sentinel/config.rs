//! Configuration of a sentinel.

use crate::Error;
use commonware_utils::NZUsize;
use std::{num::NonZeroUsize, time::Duration};
use tidewatch_core::ChainId;

/// Limits and intervals of a sentinel.
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain that is watched: a directory of another one is refused.
    pub chain: ChainId,
    /// Prefix of the storage partitions.
    pub partition: String,
    /// How often the chain is read where nothing rings. A quarter of a slot is a good choice.
    pub interval: Duration,
    /// A call of a port that takes longer is given up.
    pub call: Duration,
    /// Slots that must have passed after a slot before it is judged.
    pub lag: u64,
    /// Slots for which one that could be judged waits for what was seen to be in step, before it is recorded as
    /// not judged.
    pub patience: u64,
    /// Slots that must have passed after an epoch, beyond those that are recorded, before it is evaluated.
    pub buffer: u64,
    /// Slots that are kept.
    pub history: NonZeroUsize,
    /// Epochs that are kept.
    pub epochs: NonZeroUsize,
    /// Events that are kept.
    pub events: NonZeroUsize,
    /// Slots whose messages are kept for when they are judged again, on a chain that has no finalized tier or is
    /// slow to finalize. A deeper reorg is counted, and what was judged below it stays.
    pub reorg_max: NonZeroUsize,
    /// Slots that are recorded in one pass at the most.
    pub pass_max: NonZeroUsize,
    /// How many slots ahead of the chain messages are taken in.
    pub ahead: u64,
    /// The part of its duties that an inactive validator missed, at the least: above 0, up to 1.
    pub target: f64,
    /// Recorded epochs in a row in which a validator was inactive before that is a verdict; the newest counts.
    pub threshold: NonZeroUsize,
    /// What a verdict says that it costs.
    pub penalty: u64,
    /// Messages that wait for the sentinel before they merge in its overflow.
    pub mailbox_size: NonZeroUsize,
}

impl Config {
    /// A lag and a buffer of 2 slots, 24 epochs of `epoch_slots` each, a verdict at 90 % in one epoch.
    pub fn new(chain: ChainId, partition: impl Into<String>, epoch_slots: NonZeroUsize) -> Self {
        let history = epoch_slots.saturating_mul(NZUsize!(24));
        Self {
            chain,
            partition: partition.into(),
            interval: Duration::from_secs(1),
            call: Duration::from_secs(5),
            lag: 2,
            patience: 2,
            buffer: 2,
            history,
            epochs: NZUsize!(2_000),
            events: NZUsize!(1_000),
            reorg_max: history.min(NZUsize!(256)),
            pass_max: NZUsize!(64),
            ahead: 16,
            target: 0.9,
            threshold: NZUsize!(1),
            penalty: 0,
            mailbox_size: NZUsize!(1_024),
        }
    }

    /// Checks that the values make sense together.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] in words.
    pub fn check(&self) -> Result<(), Error> {
        if !(self.target > 0.0 && self.target <= 1.0) {
            return Err(Error::Config("the part that makes inactive is above 0 and at most 1"));
        }
        if self.threshold > self.epochs {
            return Err(Error::Config("a verdict needs more epochs than are kept"));
        }
        if self.reorg_max > self.history {
            return Err(Error::Config("more slots can be judged again than are kept"));
        }
        Ok(())
    }
}
