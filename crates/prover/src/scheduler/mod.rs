//! The actor that has blocks proven.
//!
//! # Overview
//!
//! ```text
//!  Mailbox::add, prune ──▶ ┌───────────┐ ──claim──▶ attempt ──submit, poll──▶ Prover
//!  requeue, supply ──────▶ │ Scheduler │                │
//!                          │  plan     │ ◀──reports─────┘ verified proof, failure, sign of life
//!  Mailbox::proven ◀────── │  disk     │
//!                          └───────────┘
//! ```
//!
//! The [plan](crate::plan) decides; the scheduler carries it out, and is the one writer of the
//! [disk](crate::disk). Each attempt is a task that reports; a proof is verified there, beside the runtime, and
//! counts only then. Nothing that a prover does holds the scheduler up: no call of one is awaited in its loop.
//!
//! # Messages
//!
//! | message | when the mailbox is full |
//! |---|---|
//! | a report of an attempt | it waits: reports are never dropped; of two signs of life one stays |
//! | a request | it waits, unless its caller has left |
//!
//! # Faults
//!
//! Trouble of a prover ends nothing. A write that fails ends the scheduler with a fault, as what the disk holds
//! is known only to a restart; a supervisor starts it again. Provers outlive it, and keep a proof until they are
//! told that it is durable.
//!
//! # Signs of life
//!
//! A lease is renewed by the answer to a poll, and by nothing else: there is no thread at a prover that says that it
//! lives. So a worker whose runtime is blocked gives no sign, and cannot fake one; proofs are made on threads of
//! their own ([`Pool`](crate::Pool)), and do not block it. That the thread which proves is not stuck no heartbeat could
//! know: for that there is the deadline of an attempt. Where it is this process that stood still, time that it did
//! not see pass runs against nobody ([`Stopwatch`](crate::Stopwatch)), so that no lease ends by it.
//!
//! # Restart safety
//!
//! That of the disk. Jobs that were submitted are asked for by their handles and not submitted again; a proof
//! whose file was written is not made again.
//!
//! # Shutdown
//!
//! Stopped by its mailbox or by the runtime, it claims nothing new, takes in proofs that are there or are being
//! verified for as long as [`Config::grace`] allows, and ends. What provers work on goes on there, and is found
//! by its handle after the next start.

mod actor;
pub(crate) mod attempt;
mod config;
mod ingress;
mod metrics;
mod reports;
mod requests;
#[cfg(test)]
pub(crate) mod tests;

pub use actor::Scheduler;
pub use config::{Config, Parts};
pub use ingress::{Listed, Mailbox, NewBlock, Proven};
