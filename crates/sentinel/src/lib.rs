//! Who did their part, judged on the canonical chain alone.
//!
//! # Overview
//!
//! ```text
//!  observers ──Observation──▶ Mailbox ─┐            ┌──▶ Output: verdicts, withdrawals, contradictions
//!  Canonical, by slot, on demand ──────┼─▶ Sentinel ┼──▶ history on disk
//!  Committees, by epoch ───────────────┘            └──▶ queries
//! ```
//!
//! | part | what |
//! |---|---|
//! | [`Observation`], [`Seen`] | what validators were seen to send, merged by slot |
//! | [`Canonical`], [`Committees`], [`Observer`], [`Output`] | the ports |
//! | [`FromSource`] | what is canonical, over a [`Source`](tidewatch_core::Source) |
//! | [`sentinel`] | the actor |
//! | [`anchor`] | one header to execute against, at a tier of your choice |
//! | [`evidence`] | what a validator must not have signed, as files that anybody can check |

pub mod anchor;
mod bits;
mod canonical;
mod epochs;
mod error;
mod event;
pub mod evidence;
mod history;
mod ids;
mod judge;
mod port;
mod report;
mod seen;
pub mod sentinel;
pub mod simplex;
mod stats;

pub use anchor::Anchor;
pub use canonical::{FromSource, Slotted};
pub use error::Error;
pub use event::{Event, Inactive, Line, Performance, What};
pub use ids::{Epoch, NoValidator, Slot, ValidatorId};
pub use port::{
    AtSlot, Canonical, Committee, Committees, Landed, Observer, Output, Position, Standing,
};
pub use report::{
    Asked, Detailed, Did, Duties, EpochPerformance, EpochReport, EpochRow, Judgement, NotJudged,
    Proposal, SlotReport, Statistics, Status, ValidatorReport, Window,
};
pub use seen::{Act, Conflict, Contradiction, Lineage, Observation, Seen, Sent, Signed, Verdict};
pub use sentinel::{Config, Mailbox, Parts, Sentinel};
