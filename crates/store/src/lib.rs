//! What a follower has durably taken in: local view, event log and block archive.
//!
//! # Overview
//!
//! [`Store`] keeps them on disk, [`Memory`] in memory. Both are the [`LocalView`] that a driver
//! commits to and the [`EventLog`] that consumers read from; both also give back delivered blocks and
//! finality proofs. One test suite runs against both.
//!
//! ```text
//!  driver ──Change──▶ writer ─┬─ 1 ─▶ blocks-0|1    block, at position = height      variable journal
//!                             │       digests-0|1   its digest, at the same position  fixed journal
//!                             │       proofs        finality proofs, rising heights   variable journal
//!                             └─ 2 ─▶ events        event, watermarks after it, cursor     variable journal
//!                                       │
//!  consumers ◀─Record── snapshot ◀──────┘ published when durable
//!      └─Ack──▶ consumers   a cursor per name                                         metadata
//!               meta        chain, runs of blocks, anchors, evidence                  metadata
//! ```
//!
//! The events are the truth, and each record says where the view stood after it. The payload (1) is
//! durable before the event (2) that speaks of it, so that no event is ever without its blocks.
//!
//! # State
//!
//! - *A run* is an unbroken stretch of delivered blocks. The first block, or one that leaves a gap
//!   above the delivered one, starts a run and ends the one before, whose blocks are dropped.
//! - *Locators*: within the run, the digest at every height; also the block below its first, and, in
//!   a view that was given no blocks, genesis and [anchors](#limits): announced tips, spread like
//!   powers of two below the head.
//! - *Rules* that hold after every change, or the change is refused with a
//!   [`Bug`](tidewatch_core::FaultKind::Bug) and those before it stay: blocks link, to each other and
//!   to what they stand on; no tip is above the delivered block; finalized never moves back and never
//!   changes its digest; every other tier moves back only by an event that says so; a prune goes to a
//!   block that is here, not below finalized, and leaves no tip above it. A tip that is not on the
//!   delivered chain is [`Torn`](tidewatch_core::FaultKind::Torn): the source moved in between.
//!
//! # Reorg safety
//!
//! A prune is durable before the first block above it is dropped, and the drop is durable before
//! another block takes its place: after a crash, whatever lies above the delivered block is dropped
//! and nothing else. A new run is written beside the old one (there are two slots), which is removed
//! once the first event of the new one is durable.
//!
//! # Restart safety
//!
//! Opening reads the last event and makes everything else agree with it: blocks, digests and proofs
//! above it belong to a commit that did not end, and are dropped. No event is replayed and no source
//! is asked; a consumer's durable position is read when it asks for it.
//!
//! Every page and every small value has a checksum. What fails it is a
//! [`CorruptRecord`](tidewatch_core::FaultKind::CorruptRecord) fault that names the part and the
//! position, at the restart or at the read that meets it; it is never taken for an absence. Repaired
//! are: digests (made again from blocks), blocks that are gone and not finalized (a
//! [`Pruned`](tidewatch_core::Event::Pruned) says so, and they are fetched again), and the end of
//! the last commit (as after a crash). Lost blocks that are finalized, and anything else, are refused.
//!
//! A write that fails, or a commit that is dropped while it writes, closes the store: every later
//! call says so with a [`Disk`](tidewatch_core::FaultKind::Disk) fault, until it is opened again.
//! Another chain's directory is [`WrongChain`](tidewatch_core::FaultKind::WrongChain), another
//! format's [`Setting`](tidewatch_core::FaultKind::InvalidConfig).
//!
//! # Slow consumers
//!
//! delay nobody. A reader takes the published snapshot and reads beside the writer: it does not wait
//! for a commit that is being synced, and a commit does not wait for it. One that falls behind the
//! retention is told [`TooOld`](tidewatch_core::LogError::TooOld), with the point to start again
//! from. A cursor of another server, or of a fork that is gone, is answered by content: see
//! [`EventLog::resume`].
//!
//! # Limits
//!
//! | what | bound |
//! |---|---|
//! | events that can be read | [`Config::retention`], by default 65,536; removed from disk 4,096 at a time |
//! | records in one answer | 1,024 |
//! | anchors without blocks | 64 |
//! | consumers with a position | 256, each with a name of at most 128 bytes |
//! | contradictions kept as evidence | the first 64 |
//! | open files | 3 for each [`Config::blocks_per_section`] blocks of the run, 2 for each 4,096 events or proofs |
//!
//! Blocks and proofs of the run are kept for ever.
//!
//! # Cost
//!
//! A commit of blocks and tiers waits twice for the disk: once for the payload, all parts of it under
//! way together (5 barriers, 8 with a proof), and once for the events (3). A prune adds such a round
//! for itself. Memory is the page cache, a write buffer for each file being written, and about 1,024
//! encoded blocks, whatever the size of the commit.
//!
//! A restart reads the last two sections of each journal and looks at each older file once: with a
//! million blocks of 250 bytes behind it, it takes 0.1 to 0.2 s and 25 MB. What a record's cursor
//! needs is at most 24 digests, read in one batch.
//!
//! [`LocalView`]: tidewatch_core::LocalView
//! [`EventLog`]: tidewatch_core::EventLog
//! [`EventLog::resume`]: tidewatch_core::EventLog::resume

mod anchors;
mod config;
mod evidence;
mod known;
mod limits;
mod memory;
mod records;
mod rules;
mod store;
mod waiters;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use store::{Reader, Store, Writer};
