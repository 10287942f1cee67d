//! Settings of a durable store.

use crate::Retention;
use commonware_utils::{NZU64, NZUsize};
use std::num::{NonZeroU64, NonZeroUsize};
use tidewatch_core::ChainInfo;

/// Settings of a [`Store`](crate::Store).
#[derive(Clone, Debug)]
pub struct Config<C> {
    /// Prefix of every partition of this store. Letters, digits, `-` and `_`.
    pub partition: String,
    /// The chain that is followed. A directory that holds another one is refused.
    pub chain_info: ChainInfo,
    /// What is kept. A consumer that falls behind the events is given a bridge over the blocks, or
    /// [`TooOld`](tidewatch_core::ResumeError::TooOld) where these are trimmed too. The default keeps 65,536 events (at one block a
    /// second with two tiers moving, 6 hours), and every block and proof.
    pub retention: Retention,
    /// Blocks in one file. Fewer make a restart read less (the last file is checked from its
    /// beginning), more keep fewer files open: a million blocks of the default are 62 sections.
    /// Counts for a new directory only; an old one keeps what it was made with.
    pub blocks_per_section: NonZeroU64,
    /// How blocks decode.
    pub codec: C,
    /// Pages of 4 KiB that are kept in memory for reads, shared by everything in the store.
    pub page_cache_pages: NonZeroUsize,
    /// Bytes that are gathered before they are handed to the disk, per file being written.
    pub write_buffer_bytes: NonZeroUsize,
}

impl<C> Config<C> {
    /// Settings that suit a node: 65,536 events, 2 MiB of page cache.
    pub fn new(chain_info: ChainInfo, codec: C) -> Self {
        Self {
            partition: "tidewatch".into(),
            chain_info,
            retention: Retention::default(),
            blocks_per_section: NZU64!(16_384),
            codec,
            page_cache_pages: NZUsize!(512),
            write_buffer_bytes: NZUsize!(64 * 1024),
        }
    }
}
