//! A real chain inside one process, for tests, demonstrations and measurements.
//!
//! # Overview
//!
//! Three ways to run an alto chain without a deployment:
//!
//! | type | components | use |
//! |---|---|---|
//! | [`Devnet`] | running validators (Simplex, BLS12-381 threshold certificates, authenticated p2p on loopback) and an indexer | a chain that grows by itself |
//! | [`epochs::Devnet`] | likewise, with epochs: the validators reshare their key and rotate their committee | a chain whose certificates come from other committees as it grows |
//! | [`readymade`] | a presigned chain, served by the same indexer, whose responses can be forged | a chain that grows under the control of the test, and hostile upstreams |
//!
//! [`ordering`] adds a network of key holders to a [`Devnet`], which orders encrypted transactions for a sequencer.
//!
//! All serve the API of a public alto indexer over HTTP and WebSocket on a loopback port
//! (`alto_indexer::Api`, unchanged; that of a chain with epochs is our own). The first and the last are
//! signed by a [`Committee`]: with equal seeds, they have the same identity and genesis.
//!
//! # Limits
//!
//! All keys are derived from a seed in the configuration, and all validators share one process: there is
//! neither secrecy nor fault tolerance. Never use it to protect anything of value.

mod committee;
mod devnet;
pub mod epochs;
mod error;
mod host;
mod network;
pub mod ordering;
pub mod readymade;
mod runtime;

pub use alto_types::{CertificateMode, NAMESPACE};
pub use committee::{Certify, Committee, MEMBERS_MAX, MEMBERS_MIN};
pub use devnet::{Config, Devnet, Rounds};
pub use error::Error;
