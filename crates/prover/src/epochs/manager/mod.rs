//! The actor that has epochs proven and published.
//!
//! # Overview
//!
//! ```text
//!  Mailbox::checkpointed, prune ─▶ ┌─────────┐ ──a piece, a whole──▶ attempt ──submit, poll──▶ Prover
//!  Mailbox::start ───────────────▶ │ Manager │ ◀──verified proof────────┘
//!  Expiry ──expired epochs───────▶ │  core   │ ──longest range first──▶ Publisher ──▶ the chain
//!  Mailbox::proven ──────────────▶ │  kept   │ ◀──landed, refused─────────┘
//!                                  └─────────┘
//! ```
//!
//! [`Thin`] is the consumer that hands it what a driver announced. It joins the decisions of [`epochs`](super): a thin event has the [catch-up](super::CatchUp) walk to the tip; each
//! checkpoint that it takes is proven from then on, in [pieces](super::Pieces); [sessions](super::Sessions) wait for
//! their checkpoints, and have one proof made of all the pieces; [publishing](super::Publishing) has it submitted in
//! its turn. Provers are those of a scheduler, asked for ranges: [`Key::first`](crate::Key).
//!
//! # Messages
//!
//! | message | when the mailbox is full |
//! |---|---|
//! | a report of an attempt or a submission | it waits: reports are never dropped |
//! | the proven tip, an offer of a prover | the newest stays |
//! | a request | it waits, unless its caller has left |
//!
//! # Faults
//!
//! Trouble of a prover, of the publisher or of the chain ends nothing: it is tried again, and the one who asked is
//! notified. A write that fails ends the manager with a fault, as what the disk holds is known only to a restart.
//!
//! # Restart safety
//!
//! | what | after a restart |
//! |---|---|
//! | the cursor, checkpoints | walked again, from the last epoch that the chain says is proven as a whole |
//! | a proof of a piece, or of a session | on disk before it counts: not made again |
//! | a range that was split | its halves that are proven; what is missing of it is one piece |
//! | a job at a prover | submitted again, which is the same job there |
//! | an epoch that somebody asked for | begun again, until it is over or has expired |
//! | a submission whose end was not seen | looked up, then submitted if it has not landed |
//!
//! # Reorg safety
//!
//! A prune reads what it needs before it changes anything. Proofs are kept by the last block of their range and where
//! it begins: where the blocks come back they count again, and for other blocks never.
//!
//! # Limits
//!
//! Reads of the chain are made in the loop, one after the other, each with a deadline: a chain that does not answer
//! holds reports up, and loses none. Content is in memory for as many checkpoints as could be proven
//! ([`Geometry::cap`](super::Geometry::cap)); proofs below the lowest of them are removed with the epoch before it.
//!
//! # Cost
//!
//! Four reads of the chain for each poll, and a few for each event. Two barriers for each proof that is kept, and two
//! when somebody asks for an epoch.
//!
//! # Shutdown
//!
//! Nothing new is submitted. The submission at hand is waited for as long as [`grace`](crate::scheduler::Config)
//! allows; what provers work on goes on there.

mod actor;
mod attempt;
mod config;
mod core;
mod ingress;
mod kept;
mod material;
mod metrics;
mod reports;
mod requests;
#[cfg(test)]
mod tests;
mod thin;
mod timely;

pub use actor::Manager;
pub use config::{Config, Parts};
pub use ingress::{Listed, Mailbox, Status, not_started};
pub use thin::Thin;
