//! The vocabulary of Tidewatch and the ports between its parts.
//!
//! # Overview
//!
//! Tidewatch follows the tip of a chain and reports how final each block is. This crate defines the
//! value types and the traits (ports) that connect the other crates. It depends on no other Tidewatch
//! crate.
//!
//! ```text
//!  Source ──Snapshot──▶ stream::Driver ──Change──▶ LocalView, EventLog ──Record──▶ Consumer
//!     (ports in `source`)                 (ports in `view` and `log`)          (port in `consumer`)
//! ```
//!
//! | term | type |
//! |---|---|
//! | block, checkpoint, tip | [`BlockRef`], [`CheckpointRef`], [`Tip`] |
//! | tier, ladder, tip set | [`Tier`], [`Ladder`], [`TipSet`] |
//! | progress of a local view | [`Watermarks`] |
//! | event, record, cursor | [`Event`], [`Record`], [`Cursor`] |
//! | fault and its severity | [`Fault`], [`FaultKind`], [`Severity`] |
//!
//! # Formats
//!
//! Everything that is stored or sent has a binary codec (`commonware-codec`), and golden tests freeze
//! its encoding. A format change requires a new version byte; existing bytes never change meaning.

mod actor;
mod archive;
mod backoff;
mod bridge;
mod consumer;
mod contact;
mod cursor;
mod deadline;
mod doorbell;
mod dropped;
mod erased;
mod event;
mod fault;
mod head;
#[cfg(feature = "json")]
pub mod json;
mod log;
mod monitor;
mod pin;
mod reference;
mod resume;
mod source;
mod tier;
mod tips;
mod view;
pub mod watch;
mod watermarks;

#[cfg(test)]
mod formats;

pub use actor::{Actor, Running, Stopper, Stopping};
pub use archive::{Archive, ArchiveError};
pub use backoff::Backoff;
pub use bridge::{ladder_of, tiers as tier_moves, undo};
pub use commonware_consensus::types::Height;
pub use commonware_cryptography::sha256::Digest;
pub use consumer::{Ack, Acknowledgement, Canceled, Consumer, LeftBehind, Waiter};
pub use contact::{Asked, Contact};
pub use cursor::{CURSOR_TEXT_MAX, Cursor, Locator, Malformed};
pub use deadline::within;
pub use doorbell::{Bell, Doorbell};
pub use dropped::Dropped;
pub use erased::{AnyBlock, AnySource, BlockDecoder};
pub use event::{Event, Record};
pub use fault::{Conflict, Fault, FaultKind, Reason, Severity};
pub use head::{Head, HeadSender, Heads};
pub use log::{EventLog, History, LogError, Positions};
pub use monitor::{Cause, Monitor, State, Status, Verification};
pub use pin::{Pin, Pins};
pub use reference::{
    Block, BlockRef, ChainId, ChainIdError, CheckpointRef, HEIGHT_LIMIT, Timed, Tip,
};
pub use resume::{Locators, Records, Resume, ResumeError, newest, resume};
pub use source::{
    Anchor, BlockRange, ChainInfo, Limits, Snapshot, Source, TierProof, TierProofs, Trust,
};
pub use tier::{Ladder, Tier};
pub use tips::{LadderBroken, TipSet};
pub use view::{Change, LocalView};
pub use watermarks::Watermarks;
