//! Configuration of a keeper.

use tidewatch_core::ChainId;

/// What a keeper works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain that the directory belongs to.
    pub chain: ChainId,
    /// The storage partition.
    pub partition: String,
}
