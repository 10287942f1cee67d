//! The block of a certified chain.

use commonware_codec::{Codec, Read};
use tidewatch_core::{Block, Timed};

/// A block of a certified chain, as it goes over the wire.
///
/// Its [`reference`](Block::reference) must be computed from its content when it is decoded, because the
/// hash chain relies on it.
pub trait CertifiedBlock: Block + Timed + Codec + Read<Cfg: Clone + Send + Sync> {}

impl<B: Block + Timed + Codec + Read<Cfg: Clone + Send + Sync>> CertifiedBlock for B {}
