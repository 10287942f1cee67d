//! An Aztec chain, followed from its nodes over JSON-RPC.
//!
//! # Overview
//!
//! ```text
//!  aztec+http://HOST:PORT  aztec+https://  ──parse──▶ Endpoint ──open──▶ AztecSource
//! ```
//!
//! | tier | what the node calls it | checkpoint |
//! |---|---|---|
//! | proposed | `proposed` | |
//! | checkpointed | `checkpointed` | the node's, number and hash |
//! | proven | `proven` | likewise |
//! | finalized | `finalized` | likewise |
//!
//! Every tier is the node's own word for it, and never made up from another one.
//!
//! # What is asked
//!
//! | call of the source | request |
//! |---|---|
//! | `snapshot` | `node_getL2Tips`, answered at one moment; again if they are lower than before |
//! | `digests` | one batch of `node_getBlockHeader`, and the header at the tip's height with it |
//! | `blocks` | `node_getBlocks`, for what is not remembered |
//! | `chain_info`, and the first of every connection | `node_getChainId`, `node_getVersion` and the header at height 0, in one batch |
//!
//! Nodes of version 5 and later call `getL2Tips` and `getBlockHeader` by other names (`getChainTips`, `getBlock`),
//! and some have all of them under `aztec_`: on an error that says so a node is asked by another name, and by that
//! one from then on. No header of these versions was at hand: one that hashes otherwise is refused.
//!
//! A node gives 50 blocks at once; one that gives fewer says so in its refusal, and is asked for no more
//! from then on. There are no pushes: a driver polls.
//!
//! # What is believed
//!
//! A block's digest is the hash of its header, computed here. A header does not name its parent: it names
//! the archive, the tree of all hashes before it, that it stands on. So the parent is the block that left
//! that archive, and every link is checked by it; the archive that genesis left is computed. The hashes
//! that a node calls its tips are claims until a header hashes to them: no block is given out on the way
//! to another one. What the tiers below proposed are at is the node's word.
//!
//! A tip that is lower than the one before is asked for again for some seconds before it is given out: a
//! node that lags behind another one at the same address shows the same as a chain whose unproven epoch
//! was taken back.
//!
//! # Genesis
//!
//! The digest of genesis is the hash of its header, like that of every block. Nodes call it by a
//! constant of the protocol instead, which is not that hash: at height 0 both mean the same here, and
//! anything else is refused.
//!
//! # Cost
//!
//! In requests: a quiet pass 1; one new block 2, and its download alone; catching up `n` blocks
//! `n / 50 + 2`; a reorg `d` blocks deep at most `ceil(log2 d) + 3`, where it ends on a chain
//! that is longer than before, and is a single block deep, 4; a chain that became shorter
//! [`Config::lower_max`] more. A block that was fetched is not fetched again, and the search for a fork
//! brings the two highest blocks with it.
//!
//! # Limits
//!
//! A node sends whole blocks, 100 to 400 KB each, of which the header is kept, 1 KB. An answer that is
//! larger than [`Config::answer_max`] halves the length of ranges, which grows again with many that are answered.

mod block;
mod calls;
mod error;
mod family;
mod field;
mod header;
mod memory;
mod names;
mod source;
mod tips;
#[cfg(feature = "aztec-validators")]
pub mod validators;

#[cfg(test)]
mod tests;

pub use block::AztecBlock;
pub use error::AztecError;
pub(crate) use family::FAMILY;
pub use field::Field;
pub use header::{Header, Tree};
pub use source::AztecSource;

use crate::rpc::{Config, Endpoint, EndpointError, HttpRpc};
use commonware_runtime::{Clock, Metrics};
use std::sync::Arc;
use tidewatch_core::{Fault, Monitor};

/// What these addresses begin with.
const PREFIX: &str = "aztec";

/// Reads the address of a node.
///
/// # Errors
///
/// Why it is none, without what may be a secret.
pub fn endpoint(text: &str) -> Result<Endpoint, EndpointError> {
    Endpoint::parse(PREFIX, &["http", "https"], text)
}

/// Makes a source for the chain of `endpoints`, which are asked one at a time: the next one when one
/// fails. Nothing is asked yet.
///
/// # Errors
///
/// `Setting`, with what to do about it: there is no endpoint, or no TLS can be set up for it.
pub fn open<E: Clock + Metrics>(
    context: E,
    endpoints: &[Endpoint],
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<AztecSource<E, HttpRpc>, Fault> {
    let node = |endpoint| HttpRpc::new(endpoint, config);
    let nodes = endpoints.iter().map(node).collect::<Result<_, _>>()?;
    AztecSource::new(context, nodes, monitor, config)
}
