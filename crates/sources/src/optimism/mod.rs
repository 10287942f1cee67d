//! An OP Stack chain, followed from a rollup node and the execution node beside it.
//!
//! # Overview
//!
//! ```text
//!  op+http://NODE:PORT?el=http://EL:PORT ──parse──▶ Address ──open──▶ OptimismSource
//!                                                                  rollup node ◀──┴──▶ execution node
//!                                                                  what is how final    the blocks
//! ```
//!
//! A parameter of the address is part of a URL: a `&` in the URL of the execution node is written `%26`.
//!
//! | tier | head of `optimism_syncStatus` | instead of it | checkpoint |
//! |---|---|---|---|
//! | proposed | `unsafe_l2` | `cross_unsafe_l2` by `proposed=cross-unsafe` | |
//! | checkpointed | `safe_l2` | `local_safe_l2` by `checkpointed=local-safe` | the L1 block that it was derived from |
//! | proven | | | |
//! | finalized | `finalized_l2` | | the L1 block that it was derived from |
//!
//! Without interop a block is safe as soon as it is local-safe, and the two heads are one. Every tier is
//! only ever its own head: where a node does not name the head that was chosen, there is no such tier. A
//! reference whose hash is zero is a head that the node has yet to find out about, and no block; genesis
//! is a block like any other.
//!
//! # What is asked
//!
//! | call of the source | request |
//! |---|---|
//! | `snapshot` | `optimism_syncStatus`; if a head moved, one batch to the execution node, which must have the same blocks |
//! | `digests`, `blocks`, `doorbell` | the execution node, as [`ethereum`](crate::ethereum) does |
//! | `chain_info`, and the first of every connection | `optimism_rollupConfig`; `eth_chainId` and block 0 |
//!
//! # When the two nodes disagree
//!
//! | the execution node, beside a head of the rollup node | what happens |
//! |---|---|
//! | agree: the block is there, and the highest | it is followed |
//! | behind: the block is there, and higher ones | it is followed |
//! | ahead: its own chain ends below the head | `Behind`: nothing is followed until it has caught up |
//! | diverged: another block at that height | `Torn`: nothing is followed, another endpoint is asked next |
//! | unknown: the rollup node knows no such head | there is no such tier |
//!
//! A head that merely has a number is never taken for a block.

mod address;
mod error;
mod family;
mod heads;
mod source;
mod standing;
mod wire;

#[cfg(test)]
mod tests;

pub use address::{Address, AddressError};
pub use error::OptimismError;
pub(crate) use family::FAMILY;
pub use heads::{Checkpointed, Heads, Proposed};
pub use source::OptimismSource;

pub use crate::ethereum::EthBlock;

use crate::{
    error::fault,
    rpc::{Config, Node},
};
use commonware_runtime::{Clock, Metrics, Spawner};
use std::sync::Arc;
use tidewatch_core::{Fault, Monitor};

/// What these addresses begin with.
const PREFIX: &str = "op";

/// Makes a source for the chain of `addresses`, which are endpoints of one chain: the next one is asked
/// when one fails. Nothing is asked yet.
///
/// # Errors
///
/// `Setting`, with what to do about it: there is no address, the addresses choose different heads, or no
/// TLS can be set up for one.
pub fn open<E: Clock + Metrics + Spawner>(
    context: E,
    addresses: &[Address],
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<OptimismSource<E, Node<E>>, Fault> {
    let heads = addresses.first().map(Address::heads).unwrap_or_default();
    if let Some(other) = addresses.iter().find(|address| address.heads() != heads) {
        return Err(fault(other.to_string(), OptimismError::OtherHeads));
    }
    let nodes = addresses.iter().map(|address| {
        let node = Node::new(context.child("rollup"), address.node(), config)?;
        Ok::<_, Fault>((node, Node::new(context.child("execution"), address.execution(), config)?))
    });
    let (nodes, execution) = nodes.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    OptimismSource::new(context, nodes, execution, heads, monitor, config)
}
