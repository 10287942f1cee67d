//! A sequencer in a hostile environment.
//!
//! # Overview
//!
//! ```text
//!  callers ──▶ DiskPool ──▶ Coordinator ──▶ Spied ──▶ Network: personalities
//!  under load    on a Host   production      │          │
//!                Chain, Published ◀──────────┘          │
//!                            PreblockMonitor ◀──────────┘
//! ```
//!
//! [`Network`] is a network of key holders that a test scripts, or that misbehaves at random as its [`Habits`] say. It
//! outlives the sequencer's crashes, and can be restarted without its memory. [`spied`] holds recorders around the
//! ports, which fail as they are told. [`world`] draws a world from a seed and runs it, with one rule switched off where
//! a test says so ([`Mutant`]).

mod guarded;
mod ledger;
mod network;
pub mod spied;
pub mod world;

pub use guarded::Mutant;
pub use ledger::Objection;
pub use network::{Habits, Memory, Network, Reaction, Submission};
