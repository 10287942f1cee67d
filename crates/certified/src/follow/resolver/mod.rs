//! Serves what a marshal asks for: from the execution layer, or from an upstream.
//!
//! # Overview
//!
//! A marshal fills its gaps through a resolver. This one has no peers: it asks the execution layer beside it
//! for a block first, which costs no network, and a [`Transport`](crate::Transport) if that does not have it.
//!
//! ```text
//!  marshal ── fetch, retain ──▶ Resolver ── by digest ──▶ execution layer
//!     ▲                            │    └── by digest, height ──▶ upstream
//!     └───────── bytes ────────────┘
//! ```
//!
//! The bytes go to the marshal as they came. It decodes them, once, checks them, and says whether they were
//! good; nothing of that is repeated here.
//!
//! # Retries
//!
//! A key is asked for until it was delivered and found good, or until the marshal does not want it any more.
//! After each failure it waits: a quarter of a second, then twice as long each time, up to half a minute. A
//! good delivery starts that anew. A key that the marshal gave up and asks for again within a minute goes on
//! where it was, so that asking again is no way around the wait; after that its failures are forgotten.
//!
//! | failure | what |
//! |---|---|
//! | the execution layer fails | it is asked again: whether it has the block is not known, so the upstream is not asked |
//! | no answer in time, no connection, a refusal | the upstream is asked again |
//! | the upstream does not have it | it is asked again: it may lag |
//! | the marshal finds the bytes bad | the upstream is asked again, and the execution layer, if they came from there, is not |
//!
//! Each is counted, by its reason.
//!
//! # Limits
//!
//! `concurrency` requests at once. What waits is what the marshal wants, which it bounds. A finalization of an
//! epoch that is not known is not asked for before it is: the marshal could not check it. A notarization is not
//! served: no upstream is asked for one by its round, and a marshal that follows wants none.

mod actor;
mod config;
mod fetch;
mod ingress;
mod metrics;
mod wanted;

#[cfg(test)]
mod tests;

pub use actor::Resolver;
pub use config::{Config, Parts};
pub use ingress::Mailbox;
