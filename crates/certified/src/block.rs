//! What a certified chain's block must be able to say.

use commonware_codec::{Codec, Read};
use tidewatch_core::Block;

/// A block of a certified chain, as it goes over the wire.
///
/// Its [`reference`](Block::reference) must be computed from its content when it is decoded: the hash
/// chain stands on it.
pub trait CertifiedBlock: Block + Codec + Read<Cfg: Clone + Send + Sync> {
    /// The time that the block gives for itself, in milliseconds since the Unix epoch.
    fn time_ms(&self) -> Option<u64>;
}
