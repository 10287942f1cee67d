//! A real chain inside one process, for tests, demonstrations and measurements.
//!
//! # Overview
//!
//! Two ways to run an alto chain without a deployment:
//!
//! | type | components | use |
//! |---|---|---|
//! | [`Devnet`] | running validators (Simplex, BLS12-381 threshold certificates, authenticated p2p on loopback) and an indexer | a chain that grows by itself |
//! | [`readymade`] | a presigned chain, served by the same indexer, whose responses can be forged | a chain that grows under the control of the test, and hostile upstreams |
//!
//! Both serve the API of a public alto indexer (`alto_indexer::Api`, unchanged) over HTTP and WebSocket
//! on a loopback port, and both are signed by a [`Committee`]: with equal seeds, they have the same
//! identity and genesis.
//!
//! # Limits
//!
//! All keys are derived from a seed in the configuration, and all validators share one process: there is
//! neither secrecy nor fault tolerance. Never use it to protect anything of value.

mod committee;
mod devnet;
mod error;
mod host;
pub mod readymade;

pub use alto_types::CertificateMode;
pub use committee::{Certify, Committee, MEMBERS_MAX, MEMBERS_MIN};
pub use devnet::{Config, Devnet};
pub use error::Error;
