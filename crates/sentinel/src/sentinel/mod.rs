//! The actor that judges.
//!
//! # Overview
//!
//! ```text
//!  Mailbox::observe ──▶ messages by slot ─┐
//!  Canonical: standing ──▶ what is stale? ├──▶ one change, durable ──▶ Output: events
//!            at, on demand ──▶ judge ─────┘           │
//!  Committees: epoch, committee, proposer             └──▶ queries
//! ```
//!
//! A pass runs at an interval, and soon after a ring. It reads where the canonical chain stands, once, and asks
//! everything else about that standing; nothing of the answers outlives it.
//!
//! # When a slot is judged
//!
//! In order, each once, when the chain has passed it by [`Config::lag`] slots, and where the observer's own chain has
//! passed it by as many and is the canonical one. A slot that waits for that for longer than [`Config::patience`] is recorded as
//! not judged; so is one of which the source cannot tell what is there for as long, one that was not watched as a whole, and
//! one of which messages may have been missed. Nobody is absent in those. A wait begins with the first pass that finds the slot due:
//! while the chain cannot be read nothing waits, and what a reorg made stale waits anew.
//!
//! Watching begins with the slot after everything that the chain, the observer or any message had reached when the
//! first of them were known: a slot that was under way is no evidence. A chain that jumps further than
//! [`Config::ahead`] makes it begin once more, as messages beyond that are not taken in.
//!
//! # Epochs
//!
//! Evaluated in order, once all slots are recorded and [`Config::buffer`] more have passed, from the first one that began
//! while this run was watching. What was missed is counted of what was judged. A verdict names those that were inactive
//! now and in each of the epochs recorded of them before, [`Config::threshold`] in all.
//!
//! # Reorg safety
//!
//! Each slot is recorded with the tip that it was judged on. While that is on the chain, so is everything that the
//! judgement stands on. Slots whose tip is gone are stale from that pass on, and are judged again with the messages that
//! were seen; epochs over them are evaluated again, and so are later ones. Of a verdict that comes out different, or
//! cannot come out yet, the withdrawal is an event of its own, written together with what replaces it.
//!
//! # Messages
//!
//! | message | when the mailbox is full |
//! |---|---|
//! | an observation | it merges with what waits of its slot; beyond 256 slots the highest is dropped, and counted |
//! | a ring | one is as good as many |
//! | a request | it waits, unless its caller has left; beyond 256 it is dropped, and its caller learns so |
//!
//! Nobody who observes ever waits.
//!
//! # Restart safety
//!
//! That of the history: see there. Messages of slots that were not judged are gone after a crash, and the slots are recorded as not
//! watched. Events that the output did not take are given again.
//!
//! # Faults
//!
//! A port that fails or does not answer in time ends the pass, is counted, and is asked again in the next one. A fault
//! that no retry can help, and a disk that fails, end the sentinel.

mod actor;
mod config;
mod heard;
mod ingress;
mod metrics;
mod pass;
#[cfg(test)]
mod tests;

pub use actor::{Parts, Sentinel};
pub use config::Config;
pub use ingress::Mailbox;
