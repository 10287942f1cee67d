//! Etherlink, followed from its nodes over JSON-RPC.
//!
//! # Overview
//!
//! ```text
//!  etherlink+http://HOST:PORT  etherlink+https://  ──parse──▶ Address ──open──▶ EtherlinkSource
//!  etherlink+ws://HOST:PORT    etherlink+wss://
//! ```
//!
//! | tier | tag | checkpoint |
//! |---|---|---|
//! | proposed | `latest`: what the sequencer made | |
//! | checkpointed | | |
//! | proven | | |
//! | finalized | `finalized`: what L1 has made final | the level of L1 that did, by number; the digest is the block's |
//!
//! Etherlink has no `safe`. A node that runs with `finalized_view` calls the final block `latest` as well: both tiers
//! are then one.
//!
//! # Levels of L1
//!
//! Which level of L1 made a block final is asked for with `tez_getFinalizedBlocksOfL1Level`, in the same request as the
//! tips. A node answers that for levels, and says nowhere which the newest is; so it is found in a few requests from one
//! that is known: the first that the subscription `tez_l1L2Levels` pushes, over a WebSocket of its own, or one that the
//! operator names (`?l1-level=LEVEL`, any that the node knows). Every later one costs a call in each request. Where
//! several levels come at once, they are searched for as the first one was. Without a level to begin with, and with a
//! node that lacks the method, final blocks have no checkpoint.
//!
//! # What is believed
//!
//! Every header is hashed here, by Etherlink's own rule (`ethereum::rule`): it covers neither the base fee nor the
//! mix hash. Everything else is as it is of [`ethereum`](crate::ethereum): what is final, and by which level, is the
//! node's word. No certificates and no proofs of Etherlink's commitments on L1 are read.

mod address;
mod family;
mod levels;
mod source;
mod wire;

#[cfg(test)]
mod tests;

pub use address::Address;
pub(crate) use family::FAMILY;
pub use source::EtherlinkSource;

pub use crate::ethereum::EthBlock;

use crate::rpc::{Call, Config, Node};
use commonware_runtime::{Clock, Metrics, Spawner};
use std::sync::Arc;
use tidewatch_core::{Fault, Monitor};

/// What these addresses begin with.
const PREFIX: &str = "etherlink";

/// Makes a source for the chain of `addresses`, which are endpoints of one chain: the next one is asked when one
/// fails. The first level of L1 that is named counts for all. Nothing is asked yet.
///
/// # Errors
///
/// `Setting`, with what to do about it: there is no address, or no TLS can be set up for one.
pub fn open<E: Clock + Metrics + Spawner>(
    context: E,
    addresses: &[Address],
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<EtherlinkSource<E, Node<E>>, Fault> {
    let level = addresses.iter().find_map(|address| address.level);
    let node = |address: &Address| Node::new(context.child("node"), &address.node, config);
    let nodes = addresses.iter().map(node).collect::<Result<_, _>>()?;
    let pushing = addresses.iter().filter(|address| address.node.is_websocket());
    let pushing = pushing.map(|address| {
        let levels = Call::new("eth_subscribe", vec!["tez_l1L2Levels".into()]);
        Node::pushing(context.child("levels"), &address.node, config, levels)
    });
    let pushing = pushing.collect::<Result<_, _>>()?;
    EtherlinkSource::new(context, nodes, pushing, level, monitor, config)
}
