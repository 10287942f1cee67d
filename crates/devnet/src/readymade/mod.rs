//! A chain signed in advance, and an indexer that serves it and can be told to lie.
//!
//! # Overview
//!
//! ```text
//!  Chain ──finalize / notarize──▶ alto_indexer::Indexer ◀── alto_indexer::Api ◀── Tamper ◀── followers
//!  (signed by a Committee)        (keeps and pushes)         (answers)            (rewrites HTTP
//!                                                                                  answers, counts)
//! ```
//!
//! A [`Chain`] is blocks that link, each with a finalization that verifies under the committee's
//! identity: to a follower it cannot be told from one that validators made. A [`Server`] hands it out
//! height by height, so that a test decides when the chain grows, and what the upstream says about
//! it: [`Tamper`] replaces answers on their way out. Everything that is not replaced is the answer of
//! the real indexer.
//!
//! # Cost
//!
//! Signing is one signature a block in standard mode and two in VRF mode, on all cores. The indexer
//! of a [`Server`] does not verify what it is given (see [`Server`]), so that a long chain is served
//! at once.

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
