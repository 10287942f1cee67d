//! A presigned chain, and an indexer that serves it and whose responses can be tampered with.
//!
//! # Overview
//!
//! ```text
//!  Chain ──finalize / notarize──▶ alto_indexer::Indexer ◀── alto_indexer::Api ◀── Tamper ◀── followers
//!  (signed by a Committee)        (stores and pushes)        (responds)           (rewrites HTTP
//!                                                                                  responses, counts)
//! ```
//!
//! A [`Chain`] consists of linked blocks, each with a finalization that verifies under the committee's
//! identity: a follower cannot distinguish it from a chain that validators built. A [`Server`] publishes
//! the chain height by height, so that a test controls when the chain grows. [`Tamper`] rules replace
//! responses on their way out; every other response is that of the real indexer.
//!
//! # Cost
//!
//! Signing takes one signature per block in standard mode and two in VRF mode, on all cores. The indexer
//! of a [`Server`] does not verify submissions (see [`Server`]), so that a long chain is served
//! immediately.

mod chain;
mod requests;
mod server;
mod tamper;
#[cfg(test)]
mod tests;
mod unchecked;

pub use chain::{Chain, ChainConfig};
pub use requests::Kind;
pub use server::{Server, ServerConfig};
pub use tamper::{Tamper, Target};
