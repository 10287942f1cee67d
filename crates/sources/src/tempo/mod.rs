//! A Tempo network, followed from its nodes over JSON-RPC.
//!
//! # Overview
//!
//! ```text
//!  tempo+http://HOST:PORT?network=mainnet  ──parse──▶ Endpoint
//!  tempo+ws://HOST:PORT?genesis=FILE                     │
//!  genesis: epochs' length, first key ──▶ Network        │ open
//!                                            └──▶ CertifiedSource ──▶ TempoTransport ──▶ rpc
//! ```
//!
//! Trust begins with genesis: by its file, or by the name of a network that is known here. It says how long an epoch is, and
//! its extra data holds the outcome of the first key ceremony. The last block of each epoch holds the next one's. A reshare
//! keeps the group's key, a full ceremony makes another; both are followed by what the boundaries say
//! (see [`epochs`](tidewatch_certified::epochs)).
//!
//! # What is asked
//!
//! | [`Key`](tidewatch_certified::Key) | call | answer |
//! |---|---|---|
//! | `LatestFinalization` | `consensus_getFinalization("latest")` | certificate and block; error 503 before the first |
//! | `Height` | `consensus_getFinalization({"height": N})` | likewise; error 503 if that height has none |
//! | `Certificate` | the same, of the highest height; where it has none, of the next lower ones, of the end of an epoch, of the next higher ones | likewise |
//! | `Digest` | `eth_getBlockByHash` | header |
//! | `Blocks` | batches of `eth_getBlockByNumber` | headers |
//! | the first of every connection | `eth_chainId` and block 0, in one batch | a node of another chain is refused |
//!
//! Error 204 is a node whose archive of certificates is not ready: [`TempoError::NotReady`]. A block comes with its
//! transactions where it comes with its certificate, and nowhere else. Older nodes give a height in place of the block, which
//! is asked for by its digest then.
//!
//! Over a WebSocket `consensus_subscribe` is the doorbell. It is no log: a subscriber that is slow loses events in silence,
//! so each event, or several at once, has the newest finalization asked for.
//!
//! # What is proven
//!
//! | what | by |
//! |---|---|
//! | which block is final | its finalization: a BLS12-381 threshold certificate with the round's seed, under the namespace `TEMPO` and the key of its height's epoch |
//! | a header | its hash, by Tempo's rule ([`TempoHeader`]) |
//! | history | the hash chain down from a certificate |
//! | the key of an epoch | the last block of the epoch before, or that the key was kept |
//!
//! Which finalization is the newest is the node's word: it can withhold. Bodies are not looked at.
//!
//! # Tiers
//!
//! Finalized, and proposed with it: nodes tell of nothing that is not final. So there is no reorg.
//!
//! # Cost
//!
//! | situation | requests |
//! |---|---|
//! | a quiet pass, asked over HTTP | 1 |
//! | a quiet pass while a subscription is open | 0, and 1 every [`ask_interval`](tidewatch_certified::Config::ask_interval) |
//! | a new block | 1: it comes with its certificate |
//! | `n` blocks behind | one for each 100, and 1 |
//! | the same with `n` above [`blocks_max`](tidewatch_certified::Config::blocks_max) | for each full range 2 more, and one certificate check |
//! | a reorg | there is none |
//!
//! # Limits
//!
//! A header is at most 64 KiB. Answers, deadlines and rates are bounded as of every node ([`rpc`]). A range is
//! at most 32,768 blocks, or what came in 20 seconds.

mod address;
mod block;
mod error;
mod family;
mod header;
mod network;
mod outcome;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

pub use address::{Endpoint, Genesis};
pub use block::{TempoBlock, Unfit};
pub use error::TempoError;
pub(crate) use family::FAMILY;
pub use header::{ConsensusContext, TempoHeader};
pub use network::{Name, Network};
pub use outcome::{Identity, Outcome, TempoBoundary, identity};
pub use transport::{TempoFeed, TempoTransport};

use crate::{
    error::fault,
    rpc::{self, Call, Node, Rpc},
};
use commonware_consensus::{
    simplex::scheme::bls12381_threshold::vrf,
    types::{Epoch, FixedEpocher},
};
use commonware_cryptography::{bls12381::primitives::variant::MinSig, ed25519};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::NZUsize;
use rand::CryptoRng;
use std::{sync::Arc, time::Duration};
use tidewatch_certified::{CertifiedSource, Failover, Parts, Schemes, SchemesParts, Upstream};
use tidewatch_core::{Fault, Monitor};

/// Namespace of everything that validators sign.
pub const NAMESPACE: &[u8] = b"TEMPO";

/// The certificate scheme.
pub type Scheme = vrf::Scheme<ed25519::PublicKey, MinSig>;

/// The scheme that verifies certificates of the group with this key.
pub(crate) fn scheme(identity: Identity) -> Scheme {
    Scheme::certificate_verifier(NAMESPACE, identity)
}

/// The epochs of a network.
pub type TempoSchemes = Schemes<FixedEpocher, TempoBoundary, TempoBlock>;

/// Nodes of a network, as one.
pub type Nodes<E, R> = Failover<TempoTransport<E, R>>;

/// A network as a source, over nodes of type `R`.
pub type SourceOver<E, R> = CertifiedSource<E, Nodes<E, R>, TempoSchemes, TempoBlock>;

/// The push connection of a [`SourceOver`].
pub type UpstreamOver<E, R> = Upstream<E, Nodes<E, R>, TempoSchemes, TempoBlock>;

/// A source and its upstream, over nodes of type `R`.
pub type OpenedOver<E, R> = (SourceOver<E, R>, UpstreamOver<E, R>);

/// A network as a source.
pub type TempoSource<E> = SourceOver<E, Node<E>>;

/// The push connection of a [`TempoSource`].
pub type TempoUpstream<E> = UpstreamOver<E, Node<E>>;

/// Limits of a source for a Tempo network.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits that do not depend on the chain.
    pub certified: tidewatch_certified::Config,
    /// Limits towards the nodes.
    pub rpc: rpc::Config,
}

impl Default for Config {
    fn default() -> Self {
        let blocks_max = NZUsize!(32_768);
        let certified = tidewatch_certified::Config {
            // A question for headers is several requests, which may wait for their turn.
            request_timeout: Duration::from_secs(20),
            finds_certificates: true,
            certificate_at_end: true,
            blocks_max,
            gap_max: blocks_max,
            range_time_max: Duration::from_secs(20),
            ..tidewatch_certified::Config::default()
        };
        Self { certified, rpc: rpc::Config::default() }
    }
}

/// The epochs of `network`, of which the first key is known. Everything else is learned from the last blocks of epochs.
pub fn schemes(network: &Network) -> TempoSchemes {
    let parts = SchemesParts {
        epocher: FixedEpocher::new(network.epoch_length()),
        boundary: TempoBoundary,
        blocks: (),
        certificates: (),
    };
    Schemes::new(parts, Epoch::zero(), scheme(network.outcome().identity))
}

/// Makes a source for `network`, under the epochs of [`schemes`], and the upstream that brings it pushes once it is started:
/// where no endpoint is asked over a WebSocket it never does. Several endpoints are asked in turn (see [`Failover`]). What
/// is refused on the way to an answer is told to `monitor`.
///
/// # Errors
///
/// `InvalidConfig`, with what to do about it: there is no endpoint, or no TLS can be set up for one.
pub fn open<E>(
    context: E,
    endpoints: &[Endpoint],
    network: &Network,
    schemes: TempoSchemes,
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<OpenedOver<E, Node<E>>, Fault>
where
    E: Clock + Metrics + Spawner + CryptoRng,
{
    let node = |endpoint: &Endpoint| {
        let rpc = node(context.child("node"), endpoint, &config.rpc)?;
        Ok((rpc, endpoint.node().is_websocket()))
    };
    let nodes = endpoints.iter().map(node).collect::<Result<Vec<_>, _>>()?;
    over(context, nodes, network, schemes, monitor, config)
}

/// The node at an address.
fn node<E: Clock>(context: E, endpoint: &Endpoint, config: &rpc::Config) -> Result<Node<E>, Fault> {
    Node::pushing(context, endpoint.node(), config, Call::new("consensus_subscribe", vec![]))
}

/// [`open`] over `nodes` of your own, each with whether it pushes.
///
/// # Errors
///
/// `InvalidConfig`: there is no node.
pub fn over<E, R>(
    context: E,
    nodes: Vec<(R, bool)>,
    network: &Network,
    schemes: TempoSchemes,
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<OpenedOver<E, R>, Fault>
where
    E: Clock + Metrics + Spawner + CryptoRng,
    R: Rpc,
{
    // A silent node must leave time for the others within the deadline of one request.
    let mut each = config.rpc.clone();
    each.request_timeout /= u32::try_from(nodes.len().max(1)).unwrap_or(u32::MAX);
    let transports = nodes.into_iter().map(|(rpc, pushes)| {
        let context = context.child("rpc");
        TempoTransport::new(context, rpc, pushes, network, monitor.clone(), &each)
    });
    let mut transports = transports.collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = transports.next().ok_or_else(|| fault("tempo", TempoError::NoEndpoint))?;
    let parts = Parts {
        chain: network.id(),
        genesis: network.genesis().clone(),
        codec: (),
        epochs: schemes,
        transport: Failover::new(first, transports.collect()),
        monitor,
    };
    Ok(tidewatch_certified::open(context, parts, config.certified.clone()))
}
