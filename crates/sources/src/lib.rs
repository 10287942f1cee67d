//! Sources: one folder a chain family, each behind a feature.
//!
//! | feature (all on by default) | module | what is followed | what is proven, and what is taken on trust |
//! |---|---|---|---|
//! | `alto` | [`alto`] | an alto chain, from its indexer | every tier, by BLS12-381 threshold certificates |
//! | `ethereum` | [`ethereum`] | an Ethereum chain, from execution nodes | each header by its hash; the tiers are the node's word |
//! | `etherlink` | [`etherlink`] | Etherlink, from its nodes | each header by its hash; the tiers, and their levels of L1, are the node's word |
//! | `optimism` | [`optimism`] | an OP Stack chain, from a rollup node and an execution node | likewise; both nodes must have every tip |
//! | `aztec` | [`aztec`] | an Aztec chain, from its nodes | likewise, by Poseidon2; links by archive |
//! | `aztec-validators` | `aztec::validators` | who proposed and attested on an Aztec chain, for a sentinel | signatures, against what layer 1's contract has; layer 1's node is believed |
//! | `tempo` | [`tempo`] | a Tempo network, from its nodes | finality by BLS12-381 threshold certificates, each header by its hash |
//! | `miden` | [`miden`] | a Miden chain, from its nodes | each header by its commitment, and its validator's signature; what is proven is the node's word |
//! | `tide` | [`tide`] | any of these chains but Tempo, from another Tidewatch | as by the chain's own source where it is certified; else the tiers are its word |
//!
//! Sockets live here, and nothing that is decided about tiers: what comes in is bytes for the verifier of
//! [`tidewatch_certified`], or answers of nodes, which [`rpc`] asks and each source checks.

#[cfg(feature = "alto")]
pub mod alto;
#[cfg(feature = "aztec")]
pub mod aztec;
#[cfg(any(feature = "alto", feature = "rpc"))]
mod error;
#[cfg(feature = "ethereum")]
pub mod ethereum;
#[cfg(feature = "etherlink")]
pub mod etherlink;
#[cfg(feature = "miden")]
pub mod miden;
#[cfg(feature = "optimism")]
pub mod optimism;
#[cfg(any(feature = "alto", feature = "tempo"))]
mod pinned;
#[cfg(any(feature = "alto", feature = "rpc"))]
mod rate;
pub mod registry;
#[cfg(feature = "rpc")]
pub mod rpc;
#[cfg(any(feature = "alto", feature = "rpc"))]
mod secrets;
#[cfg(feature = "tempo")]
pub mod tempo;
#[cfg(feature = "tide")]
pub mod tide;
#[cfg(feature = "tls")]
mod tls;
#[cfg(any(feature = "alto", feature = "rpc"))]
mod words;

#[cfg(any(feature = "alto", feature = "rpc"))]
pub use error::Error;
#[cfg(any(feature = "alto", feature = "rpc"))]
pub use rate::{Rate, Toll};
