//! Following a chain whose blocks are certified by its validators.
//!
//! # Overview
//!
//! Bytes come in through a [`Transport`], which is not trusted. Only the [`Verifier`] turns them into
//! [`Verified`] values, and everything that this crate reports about the chain is made of those.
//!
//! ```text
//!             pushes                                    ┌── doorbell ──▶
//!  Transport ────────▶ Upstream ──┐                     │
//!      │                          ├──▶ Verifier ──▶ what is known ──▶ CertifiedSource ──▶ Source
//!      └── answers ── requests ───┘   Verified<T>                        snapshot, blocks
//! ```
//!
//! A block is accepted for one of two reasons, and for no other:
//!
//! 1. a certificate over its digest that verifies under the scheme that *our* table of [`Epochs`]
//!    gives for its height, or
//! 2. an accepted child that names its digest as the parent.
//!
//! The second one makes catching up cheap: a verified tip vouches for its parent by digest, the parent for
//! its own, and so on. A range of history is fetched by concurrent requests and checked by hashing alone,
//! under a single certificate.
//!
//! # Tiers
//!
//! [`Ladder::Certified`](tidewatch_core::Ladder::Certified). Finalized is the block of the newest
//! finalization certificate. Proposed is the newest notarized or finalized block whose ancestors down to
//! the finalized block are available. Checkpointed and proven are not known here. Before the first
//! finalization the finalized tier is at genesis, once a notarization verified. Before any certificate
//! verified there is no snapshot but a fault (`Unavailable`): a server that has nothing is not a chain.
//!
//! # Limits
//!
//! Every request, connection attempt and wait for a push has a deadline; requests in flight, blocks and
//! bytes of an answer, cached blocks, repairs, waiting signature checks and refused pushes in a row each
//! have a limit, in [`Config`] and [`checker::Config`]. No input from outside causes a panic. What is
//! refused becomes a [`Fault`](tidewatch_core::Fault) made of an [`Error`], counted by kind.
//!
//! # Epochs
//!
//! A chain whose validators change is followed under [`Schemes`], a table that grows by the last blocks of
//! epochs; see [`Epochs`] and the types beside it. A certificate of an epoch that is not known is skipped
//! (`UnknownEpoch`) until the boundaries on the way were fetched and verified: nothing shows that it is
//! wrong. A chain that keeps one key for ever is followed under [`OneEpoch`].
//!
//! # Marshal
//!
//! Whoever runs commonware's marshal follows with it ([`follow`]), or follows one that runs already in the same
//! process ([`MarshalSource`]).

mod block;
mod config;
pub mod epochs;
mod error;
mod failover;
pub mod follow;
mod known;
mod marshal;
mod metrics;
mod requests;
mod source;
mod transport;
pub mod upstream;
mod verifier;
mod watched;

#[cfg(test)]
mod mocks;

pub use block::CertifiedBlock;
pub use config::Config;
pub use epochs::{
    Boundary, CertificateCodec, EpochScheme, Epochs, Keeper, Known, OneEpoch, Scheme, Schemes,
    SchemesParts, Step, Walk,
};
pub use error::Error;
pub use failover::Failover;
pub use follow::{FollowDriver, MarshalMailbox};
pub use marshal::{MarshalBell, MarshalSource};
pub use metrics::{Check, Metrics, Work};
pub use source::{CertifiedSource, Opened, Parts, open};
pub use transport::{Feed, Key, Push, Transport};
pub use upstream::Upstream;
pub use verifier::{
    CertificateKind, Certified, Claim, Finality, Finalized, Verified, Verifier,
    checker::{self, Checker},
};
pub use watched::Watched;
