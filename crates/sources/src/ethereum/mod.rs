//! An Ethereum chain, followed from execution nodes over JSON-RPC.
//!
//! # Overview
//!
//! ```text
//!  eth+http://HOST:PORT  eth+https://  ──parse──▶ Endpoint ──open──▶ EthereumSource
//!  eth+ws://HOST:PORT    eth+wss://
//! ```
//!
//! | tier | tag | checkpoint |
//! |---|---|---|
//! | proposed | `latest` | |
//! | checkpointed | `safe` | the safe block itself: an execution node names no epochs |
//! | proven | | |
//! | finalized | `finalized` | the finalized block itself |
//!
//! A node without a tag (before the merge, on a network without a beacon chain) has no such tier: whatever
//! is answered for `safe` or `finalized` costs that tier alone. No depth is ever taken for finality.
//!
//! # What is asked
//!
//! | call of the source | request |
//! |---|---|
//! | `snapshot` | one batch of `eth_getBlockByNumber` with the three tags; again if the tips are of two moments, or lower than before |
//! | `digests` | one batch of `eth_getBlockByNumber`, and the height of the tip with it |
//! | `blocks` | likewise, for the blocks that are not remembered |
//! | `chain_info`, and the first of every connection | `eth_chainId` and block 0, in one batch |
//! | `doorbell` | `eth_subscribe` to `newHeads`, over a WebSocket; a head wakes, and is not believed |
//! | `doorbell`, and `snapshot` once an epoch | the consensus client beside the node, where the address names one: see `beacon` |
//!
//! # What is believed
//!
//! Every header is hashed here, and refused if it is not the one that was asked for. That a chain is the
//! one under a tip stands on its parent links, and on the node having that very tip at its height when it
//! answered. Which block is safe or finalized is the node's word: nothing in an execution node's answers
//! proves it. A consensus client beside it can only object: a tier that the two contradict each other about is
//! withheld, and reported as `disputed`. Of a range, what one request brings is hashed while the next ones are on their way.
//!
//! # Chains that this follows
//!
//! Those whose headers hash as Ethereum's do, and those that differ by a rule of `rule`: AuRa's seal, Celo
//! until it became a rollup, Avalanche, Istanbul's seals. A block that follows no known rule is refused with
//! `wrong_digest`, by its height and by the fields that are not known; what is below it is delivered.
//!
//! The block at height 0 only names the chain. It is called as the node calls it, whatever its header is. A
//! node that does not have it follows all the same, from the tip or from a height that it has; the chain is
//! then known by its number alone, unless it is one of the largest, whose first block is known here. A data
//! directory that was begun with such a node is refused with one that has the block: it is of another name.
//!
//! # Nodes without history
//!
//! Where a node's blocks begin is found in a few requests, once `blocks` asks for one that is missing, and
//! the fault says where to start instead. The node is not asked again for such a block before 5 seconds, a
//! time that doubles up to 5 minutes.

mod address;
mod aside;
mod beacon;
mod block;
mod body;
mod error;
mod family;
mod genesis;
pub(crate) mod headers;
mod history;
mod json;
pub(crate) mod rule;
mod source;
pub(crate) mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use address::{Address, AddressError};
pub use beacon::{BeaconError, Dispute};
pub use block::{EthBlock, TooLong};
pub use body::{EthBody, Transaction};
pub use error::EthereumError;
pub(crate) use family::FAMILY;
pub use json::Fields;
pub use source::EthereumSource;
pub use wire::{By, chain_of};

use crate::rpc::{Config, Endpoint, EndpointError, Node};
use beacon::Beacons;
use commonware_runtime::{Clock, Metrics, Spawner};
use std::sync::Arc;
use tidewatch_core::{Fault, Monitor};

/// What these addresses begin with.
pub(crate) const PREFIX: &str = "eth";

/// What may follow the prefix.
pub(crate) const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// Reads the address of an execution node.
///
/// # Errors
///
/// Why it is none, without what may be a secret.
pub fn endpoint(text: &str) -> Result<Endpoint, EndpointError> {
    Endpoint::parse(PREFIX, &SCHEMES, text)
}

/// Makes a source for the chain of `addresses`, whose nodes are asked one at a time: the next one when one
/// fails. Consensus clients that they name are a doorbell, and a second opinion on what is safe and final.
/// Nothing is asked yet.
///
/// # Errors
///
/// `Setting`, with what to do about it: there is no address, or no TLS can be set up for one.
pub fn open<E: Clock + Metrics + Spawner, A: Clone + Into<Address>>(
    context: E,
    addresses: &[A],
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<EthereumSource<E, Node<E>>, Fault> {
    let addresses: Vec<Address> = addresses.iter().cloned().map(Into::into).collect();
    let node = |address: &Address| Node::new(context.child("node"), &address.node, config);
    let nodes = addresses.iter().map(node).collect::<Result<_, _>>()?;
    let beacons: Vec<_> = addresses.iter().filter_map(|address| address.beacon.as_ref()).collect();
    let beside = (!beacons.is_empty())
        .then(|| Beacons::new(context.child("beacon"), &beacons, monitor.clone(), config))
        .transpose()?;
    let source = EthereumSource::new(context, nodes, monitor, config)?;
    Ok(match beside {
        Some(beacons) => source.beside(beacons),
        None => source,
    })
}
