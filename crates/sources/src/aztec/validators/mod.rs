//! Who proposed and who attested on an Aztec chain, for a sentinel.
//!
//! # Overview
//!
//! ```text
//!  layer 1: the rollup's contract ──▶ Rollup ─┬─▶ Chain: Canonical      what landed in a slot, and whose signatures
//!   checkpoints, committee, seed, time        ├─▶ Electorate: Committees who was due, who had to propose
//!                                             │
//!  an Aztec node ──────────────────▶ Node ────┴─▶ Listener ─┬─ Observation ──▶ Sentinel
//!   published attestations, what it heard                   └─ Position ────▶ Settled: Observer
//! ```
//!
//! # What is believed
//!
//! Layer 1's node is believed about layer 1, asked by the hash of one block for each pass. Its contract has, of
//! every checkpoint, its slot, the hash of its header, the archive that it leaves, the hash of its attestations, and
//! the digest that they sign. Nothing of the Aztec node is believed without that: a header, an archive or
//! attestations that are other ones are refused. Who signed is recovered from each signature (secp256k1, over
//! Keccak-256 with Ethereum's prefix for messages), never taken from an address beside it.
//!
//! So a "block" is a checkpoint here, which is what layer 1 has: its height is its number, its digest the archive that
//! it leaves. Finalized is what was proven in a final block of layer 1; anything else can be taken back.
//!
//! # What is seen
//!
//! A proposer publishes as many signatures as it needs, a quorum, and drops the others. So whoever is not among them
//! may have attested all the same. What else was sent is in the node's pool of messages
//! (`p2p_getCheckpointAttestationsForSlot`), if it serves that. What follows from both is a table in `hearing`. A slot
//! is read once another one has passed, so nothing of it comes later.
//!
//! # Who is due
//!
//! The committee that the contract draws for an epoch, asked once an epoch; who proposes is drawn from its seed here.
//! Nobody is due where a network has no committee, where it has fewer validators than one has to have, and while an
//! escape hatch is open.
//!
//! # Reorg safety
//!
//! That of the sentinel: a slot is judged on what layer 1 has at that moment. Of a checkpoint that another one
//! replaced nobody is absent, since what was heard was of the other one.
//!
//! # Limits
//!
//! A checkpoint's slot can be told while the contract keeps it, which is until its epoch can be proven no more.
//! Proposals of single blocks, and proposals that nobody attested to, are in no answer of a node: such a slot counts
//! as one in which nothing was proposed.
//!
//! # Cost
//!
//! A round of the listener: four or five requests to layer 1, two to the node. A pass of the sentinel: as many.

mod abi;
mod checkpoint;
mod error;
mod hearing;
mod listener;
mod node;
mod ports;
mod rollup;
mod signature;

#[cfg(test)]
mod tests;

pub use error::ValidatorsError;
pub use listener::Listener;
pub use ports::{Chain, Electorate, Settled};
pub use rollup::Constants;

use super::{calls, names::Renamed};
use crate::rpc::{Config, Endpoint, EndpointError, HttpRpc, Rpc, Upstreams};
use commonware_runtime::{Clock, Metrics, Spawner};
use node::{Identity, Node};
use rollup::Rollup;
use std::{fmt, sync::Arc, time::Duration};
use tidewatch_core::{ChainInfo, Fault, Monitor};
use tidewatch_sentinel::simplex::HandIn;

/// The longest time between two rounds of a listener.
const INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Everything that a sentinel of an Aztec chain needs.
pub struct Validators<E: Clock, R> {
    /// The chain, as a source of it names it.
    pub chain_info: ChainInfo,
    /// Its slots and epochs.
    pub constants: Constants,
    /// How often it is read: a quarter of a slot.
    pub interval: Duration,
    /// What is canonical.
    pub canonical: Chain<E, R>,
    /// Who was due.
    pub committees: Electorate<E, R>,
    /// How far the node is.
    pub observer: Settled,
    /// What hands in what was seen.
    pub listener: Listener<E, R>,
}

impl<E: Clock, R> fmt::Debug for Validators<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validators").field("chain", &self.chain_info.id).finish_non_exhaustive()
    }
}

/// Reads the address of an execution node of layer 1: `http://` or `https://`.
///
/// # Errors
///
/// Why it is none, without what may be a secret.
pub fn layer_1(text: &str) -> Result<Endpoint, EndpointError> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("http" | "https")) {
        return Err(EndpointError::Scheme("http://HOST:PORT or https://HOST:PORT".into()));
    }
    Endpoint::new("l1", url::Url::parse(text).map_err(EndpointError::Url)?)
}

/// Opens the validators of the chain of `node`, whose rollup lives on `l1`. What is seen goes to `hand_in`, which
/// returns at once.
///
/// # Errors
///
/// `InvalidConfig`: no TLS can be set up for an address, or the two are not of one chain. That of an endpoint that
/// does not answer.
pub async fn open<E: Clock + Metrics + Spawner>(
    context: E,
    node: &Endpoint,
    l1: &Endpoint,
    monitor: Arc<dyn Monitor>,
    config: &Config,
    hand_in: HandIn,
) -> Result<Validators<E, HttpRpc>, Fault> {
    let node = HttpRpc::new(node, config)?;
    let l1 = HttpRpc::new(l1, config)?;
    over(context, node, l1, monitor, config, hand_in).await
}

/// The same, over anything that answers JSON-RPC.
///
/// # Errors
///
/// As of [`open`].
pub async fn over<E: Clock + Metrics + Spawner, R: Rpc>(
    context: E,
    node: R,
    l1: R,
    monitor: Arc<dyn Monitor>,
    config: &Config,
    hand_in: HandIn,
) -> Result<Validators<E, R>, Fault> {
    let (nodes, l1s) = (vec![Renamed::new(node)], vec![l1]);
    let asked = calls::handshake();
    let node = Upstreams::new(context.child("node"), nodes, asked, monitor.clone(), config)?;
    let l1 = Upstreams::new(context.child("l1"), l1s, rollup::handshake(), monitor, config)?;
    let node = Arc::new(Node::new(node));
    let Identity { chain_info, l1: id, version, contract } = node.identity().await?;
    let rollup = Arc::new(Rollup::open(l1, contract, id, version).await?);
    let constants = *rollup.constants();
    let interval = (constants.slot_time() / 4).min(INTERVAL_MAX);
    let (parts, listens) = ((rollup.clone(), node.clone()), context.child("listener"));
    let (listener, position) = Listener::new(listens, parts.0, parts.1, interval, hand_in);
    Ok(Validators {
        chain_info,
        constants,
        interval,
        canonical: Chain::new(rollup.clone(), node),
        committees: Electorate(rollup),
        observer: Settled(position),
        listener,
    })
}
