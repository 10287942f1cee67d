//! A real chain inside one process, for tests, demonstrations and measurements.
//!
//! # Overview
//!
//! Two ways to have an alto chain at hand without a deployment:
//!
//! | what | made of | for |
//! |---|---|---|
//! | [`Devnet`] | running validators (Simplex, BLS12-381 threshold certificates, authenticated p2p on loopback) and an indexer | a chain that grows by itself |
//! | [`readymade`] | a chain signed in advance, served by the same indexer, which can be told to lie | a chain that grows when the test says so, and hostile upstreams |
//!
//! Both serve what a public alto indexer serves (`alto_indexer::Api`, unchanged) over HTTP and
//! WebSocket on a loopback port that the system chooses, and both are signed by the same
//! [`Committee`]: with equal seeds, identity and genesis are those of one chain.
//!
//! # Limits
//!
//! The keys come from a number in the configuration, and everything is in one process: nothing here
//! keeps a secret or tolerates a fault of the machine. Never give it a value to protect.

mod committee;
mod devnet;
mod error;
mod host;
pub mod readymade;

pub use alto_types::CertificateMode;
pub use committee::{Certify, Committee, MEMBERS_MAX, MEMBERS_MIN};
pub use devnet::{Config, Devnet};
pub use error::Error;
