//! Another Tidewatch as the upstream, over the port that it serves at.
//!
//! # Overview
//!
//! ```text
//!  tide+http://HOST:PORT ──/v1/status──▶ which chain the upstream follows
//!        │                                   │
//!        │ with an identity                  └─ it must be the chain of that identity
//!        ├──────────────▶ CertifiedSource over the routes of an indexer, which the upstream serves
//!        │ without
//!        └──────────────▶ TideSource: /v1/tips, /v1/digests, /v1/range, /v1/events
//! ```
//!
//! # Trust
//!
//! Of a certified chain the upstream is an indexer like any other: every certificate is verified here, under the
//! identity that was given to this follower, at whatever depth it stands. So the upstream can withhold, and that
//! is all; trust does not add up over followers of followers. Such a chain is not followed without its identity.
//!
//! Of any other chain the tiers are the upstream's word, as they are a node's: the source is named with what the
//! upstream follows in turn, so that it can be seen whose word each tier is. Blocks are checked as the chain's own
//! source checks them: each has its digest by its content, and stands on the one before it.
//!
//! # Reorg safety
//!
//! Both questions name the tip that they are about, and the upstream answers them at one moment with it. A chain
//! that moved away is [`Torn`](tidewatch_core::FaultKind::Torn), or no blocks.
//!
//! # The doorbell
//!
//! Of a certified chain the upstream pushes certificates. Of any other one a page of its events is waited for, for each
//! driver: that some came is a ring, and what they say is asked for as always.
//!
//! # Limits
//!
//! One upstream: without certificates the word of one cannot be held against that of another. Answers are at most a block's size and 1 MiB; each has a deadline. A path in the address, user and password are
//! shown nowhere; the password is sent as the upstream's token.

mod bell;
mod error;
mod family;
mod source;
#[cfg(test)]
mod tests;

pub use error::TideError;
pub(crate) use family::FAMILY;
pub use source::TideSource;
