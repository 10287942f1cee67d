//! What a follower has durably taken in: local view, event log and block archive.
//!
//! # Overview
//!
//! [`Store`] keeps them on disk, [`Memory`] in memory. Each opens as two halves: a writer, which is the
//! [`LocalView`] that one driver commits to, and a reader, to be cloned, which is the [`EventLog`], the
//! [`Positions`] and the [`Archive`] of delivered blocks and proofs. One test suite runs against both.
//!
//! ```text
//!  driver ──Change──▶ writer ─┬─ 1 ─▶ blocks-0|1    block, at position = height          variable journal
//!                             │       digests-0|1   its digest, at the same position      fixed journal
//!                             │       proofs-TIER   proofs of each tier, rising heights   variable journal
//!                             │       proofs-history  certificates of delivered blocks    variable journal
//!                             └─ 2 ─▶ events        event, watermarks after it            variable journal
//!                                       │
//!  readers ◀── moment: snapshots of all ┘ published when durable
//!      └─Ack──▶ consumers   a cursor per name                                             metadata
//!               meta        chain, runs of blocks, anchors, evidence                      metadata
//! ```
//!
//! The events are the truth, and each record says where the view stood after it. The payload (1) is
//! durable before the event (2) that speaks of it, so that no event is ever without its blocks.
//!
//! A record is kept without its cursor, which is made when the record is read: its locators are looked up
//! in the chain that is there then, only as high as that is known to be the chain of the record. What a
//! later prune took away is missing from the cursor; the position that it names is the same.
//!
//! # State
//!
//! - *A run* is an unbroken stretch of delivered blocks. The first block, or one that leaves a gap
//!   above the delivered one, starts a run and ends the one before, whose blocks are dropped.
//! - *What is trimmed* is gone from below: the oldest files of events, blocks and proofs, as
//!   [`Config::retention`] says. Digests of trimmed blocks stay, 32 bytes each, so that cursors are located
//!   as before.
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
//! - *Certificates of history* are kept apart from the proofs of the finalized tier, whose events speak of them: a long
//!   history is taken in before any tier is announced in it. They are of delivered blocks, and go with them. A
//!   directory from before they were kept has none of what it holds already.
//!
//! # Reorg safety
//!
//! A prune is durable before the first block above it is dropped, and the drop is durable before
//! another block takes its place: after a crash, whatever lies above the delivered block is dropped
//! and nothing else. Proofs above a prune are dropped with the blocks, and those of a tier above where it
//! moved back to, before the event that says so: a crash in between leaves a tier without these proofs. A new run is written beside the old one (there are two slots), which is removed
//! once the first event of the new one is durable.
//!
//! A reader asks for blocks by [`BlockRef`](tidewatch_core::BlockRef) and gets the block that it asked
//! for, or a typed refusal. Snapshots outlive appends, new runs and removed files. A cut overwrites what
//! an older snapshot reads: it is announced before it is made, and a read that it overtakes is made again
//! of the moment after it.
//!
//! # Restart safety
//!
//! Opening reads the last event and makes everything else agree with it: blocks, digests and proofs
//! above it belong to a commit that did not end, and are dropped. The newest 64 prunes are found from the
//! last record, each of which names the prune before it; cursors of older records locate less. No event is replayed and no source
//! is asked; a consumer's durable position is read when it asks for it.
//!
//! Every page and every small value has a checksum. What fails it is a
//! [`CorruptRecord`](tidewatch_core::FaultKind::CorruptRecord) fault that names the part and the
//! position, at the restart or at the read that meets it; it is never taken for an absence. Repaired
//! are: digests (made again from blocks), blocks that are gone and not finalized (a
//! [`Pruned`](tidewatch_core::Event::Pruned) says so, and they are fetched again), and the end of
//! the last commit (as after a crash). Lost blocks that are finalized, and anything else, are refused.
//! Trimmed blocks are not lost ones: the height that they are trimmed up to is durable before the first
//! file goes. Digests that are gone below that height cannot be made again: the run then starts at its oldest
//! block, and cursors locate nothing below.
//!
//! A write that fails, or a commit that is dropped while it writes, closes the store: every later
//! call says so with a [`Disk`](tidewatch_core::FaultKind::Disk) fault, until it is opened again.
//! Another chain's directory is [`WrongChain`](tidewatch_core::FaultKind::WrongChain), another
//! format's [`InvalidConfig`](tidewatch_core::FaultKind::InvalidConfig).
//!
//! # Slow consumers
//!
//! They delay nobody. A reader takes the published moment and reads beside the writer: it does not wait
//! for a commit that is being synced, and a commit does not wait for it; the one exception is a read that
//! meets a cut, which waits until the cut is made.
//!
//! A consumer with a position holds the events that it has not acknowledged, up to
//! [`Retention::unacknowledged_max`] events past the retention (by default none), after which they are
//! trimmed anyway: [`forget`](tidewatch_core::Positions::forget) a consumer that is gone. One that falls
//! further behind is led on by a bridge, which announces every block since its position; where the blocks
//! are trimmed too, it gets [`TooOld`](tidewatch_core::ResumeError::TooOld), with the point to start again
//! from. A [pin](tidewatch_core::Archive::pin) holds blocks and proofs, without a limit, until it is
//! dropped; what was trimmed is answered [`Trimmed`](tidewatch_core::ArchiveError::Trimmed), with the oldest
//! height.
//! [`Reader::retention`] shows the oldest of each, the pins, and the slowest consumer; the gauges
//! `retention_*` show the same as of the last commit.
//!
//! A cursor of another server, or of a fork that is gone, is answered by content: see
//! [`resume`](tidewatch_core::resume()).
//!
//! # Limits
//!
//! | what | bound |
//! |---|---|
//! | events that can be read | [`Config::retention`], by default 65,536; removed from disk 4,096 at a time |
//! | blocks | [`Config::retention`], by default all; [`Config::blocks_per_section`] at a time, below finality and pins |
//! | proofs of a tier, certificates of history | [`Config::retention`], by default all; 4,096 at a time, below finality and pins |
//! | digests | all of the run |
//! | records in one answer | 1,024 |
//! | anchors without blocks | 64 |
//! | blocks in one range | 1,024 |
//! | consumers with a position | 256, each with a name of at most 128 bytes; they can be forgotten |
//! | contradictions kept as evidence | the first 64 |
//! | open files | 3 for each [`Config::blocks_per_section`] blocks of the run, 2 for each 4,096 events, proofs of a tier, or certificates of history |
//!
//! A trim is a part of the commit that finds something to trim: what gets older without a commit stays.
//! [`Memory`] keeps all proofs, and events and blocks by their number alone.
//!
//! # Cost
//!
//! A commit of blocks and tiers waits twice for the disk: once for the payload, all parts of it under
//! way together (5 barriers, and 3 for each tier with a proof), and once for the events (3). A prune adds such a round
//! for itself, and the cut; a commit that trims syncs the journal that it trims once more, and one small
//! value where blocks go. Publishing a moment waits for nothing: it takes snapshots of what changed.
//! Memory is the page cache, a write buffer for each file being written, and about 1,024 encoded blocks,
//! whatever the size of the commit.
//!
//! A restart reads the last two sections of each journal and looks at each older file once: with a
//! million blocks of 250 bytes behind it, it takes 0.1 to 0.2 s and 25 MB. The digests that the
//! cursors of a batch of records need, at most 24 each, are one read.
//!
//! [`LocalView`]: tidewatch_core::LocalView
//! [`EventLog`]: tidewatch_core::EventLog
//! [`Positions`]: tidewatch_core::Positions
//! [`Archive`]: tidewatch_core::Archive

mod anchors;
mod config;
mod error;
mod evidence;
mod known;
mod limits;
mod memory;
mod records;
mod retention;
mod rules;
mod store;
mod waiters;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::{Breach, Damage, Error, Part};
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use retention::{Keep, Retained, Retention, Slowest};
pub use store::{Reader, Store, Writer};
