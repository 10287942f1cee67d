//! The actor that checks signatures, on a thread of its own.
//!
//! # Overview
//!
//! A certificate check takes about a millisecond of pure computation: as long as hundreds of messages
//! take, which on a thread of the runtime would all wait for it. So checks are requested through a
//! [`Mailbox`], and this actor makes them on a thread that the runtime gives it alone.
//!
//! ```text
//!  Upstream, snapshots, ranges ──request──▶ [ waiting_max ] ──▶ one batch for each scheme ──▶ verdicts
//! ```
//!
//! # Batches
//!
//! Whatever waits when the actor becomes free is taken together, `batch_max` requests at the most. Those
//! under one scheme are verified as one batch, which costs about half of what they cost one by one. If
//! it fails, halves of it are verified until the bad certificates are found. A certificate that waits
//! alone is verified alone, without the cost of a batch.
//!
//! A certificate that verified lately, or waits twice in one batch, is verified once.
//!
//! # Overflow
//!
//! `waiting_max` requests wait. What comes beyond that is refused at once; the caller decides whether to
//! repeat it. Nothing is displaced: each request waits for an answer that no other request brings.
//!
//! # Shutdown
//!
//! The actor ends when all mailboxes are gone, or when the runtime is told to stop. Requests that wait
//! then are answered with [`Error::Stopped`](crate::Error::Stopped).
//!
//! # Determinism
//!
//! The deterministic runtime runs the actor as one task among the others, so that one seed gives one
//! history. The randomness of batches is drawn from the context once, at the start.

mod actor;
mod config;
mod ingress;
mod seen;

#[cfg(test)]
mod tests;

pub use actor::Checker;
pub use config::Config;
pub use ingress::Mailbox;
pub(super) use ingress::Unchecked;
