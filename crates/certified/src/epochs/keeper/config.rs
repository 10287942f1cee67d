//! Configuration of a keeper.

use tidewatch_core::ChainId;

/// Largest boundary that is kept, with its certificate, in bytes.
pub(super) const RECORD_MAX: usize = 16 * 1024 * 1024;

/// What a keeper works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain that the directory belongs to.
    pub chain: ChainId,
    /// The storage partition.
    pub partition: String,
}
