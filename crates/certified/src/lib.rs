//! Following a chain whose blocks are certified by its validators.
//!
//! # Overview
//!
//! Bytes come in through a [`Transport`], which is believed nothing. The [`Verifier`] alone turns them
//! into [`Verified`] values, and everything that this crate says about the chain is made of those.
//!
//! ```text
//!             pushes                                    ┌── doorbell ──▶
//!  Transport ────────▶ Upstream ──┐                     │
//!      │                          ├──▶ Verifier ──▶ what is known ──▶ CertifiedSource ──▶ Source
//!      └── answers ── requests ───┘   Verified<T>                        snapshot, blocks
//! ```
//!
//! Two things make a block true here, and nothing else does:
//!
//! 1. a certificate over its digest that verifies under the scheme that *our* table of [`Epochs`]
//!    gives for its height, or
//! 2. a child that is true, and names its digest as the parent.
//!
//! The second one is what makes catching up cheap: a verified tip vouches for its parent by digest,
//! that one for its own, and so on. A range of history is fetched by concurrent requests and checked
//! by hashing alone; one certificate pays for all of it.
//!
//! # Tiers
//!
//! [`Ladder::Certified`](tidewatch_core::Ladder::Certified). Finalized is the block of the newest
//! finalization certificate; proposed is the newest notarized or finalized block whose ancestry down to
//! the finalized one is at hand. Checkpointed and proven are not known here. Before the first
//! finalization both tiers are at genesis.
//!
//! # Limits
//!
//! Every request, connection attempt and wait for a push has a deadline; requests in flight, blocks and
//! bytes of an answer, remembered blocks, repairs and refused pushes in a row have a limit each, in
//! [`Config`]. Nothing that comes from outside panics, and what is refused is a
//! [`Fault`](tidewatch_core::Fault), counted by reason.
//!
//! A chain whose validators change needs a table of its [`Epochs`] from whoever opens it; the only one
//! here is [`OneEpoch`]. A height of an epoch that the table does not know is refused until it does.

mod block;
mod config;
mod epochs;
mod error;
mod failover;
mod known;
mod metrics;
mod requests;
mod source;
mod transport;
mod upstream;
mod verifier;

#[cfg(test)]
mod mocks;

pub use block::CertifiedBlock;
pub use config::Config;
pub use epochs::{EpochScheme, Epochs, OneEpoch, Scheme};
pub use error::Error;
pub use failover::Failover;
pub use metrics::{Check, Metrics, Work};
pub use source::{CertifiedSource, Opened, Parts, open};
pub use transport::{Feed, Key, Push, Transport};
pub use upstream::Upstream;
pub use verifier::{
    CertificateKind, Certified, Claim, Verified, Verifier,
    checker::{self, Checker},
};
