//! Starts, watches, restarts and stops actors.
//!
//! # Overview
//!
//! ```text
//!  add, remove, stop ──▶ Supervisor ──starts, stops──▶ member, member, member
//!                            │  ▲                            │
//!            Report ◀────────┘  └───────────ends─────────────┘
//! ```
//!
//! A member is an actor that already runs, or a factory that makes one. Members come and go at run time.
//!
//! # When a member ends
//!
//! | how it ended | a factory, within its limit | otherwise |
//! |---|---|---|
//! | [transient, behind, invalid](tidewatch_core::Severity) | is started again after a back-off | see below |
//! | corrupt, config, bug, or without a fault | see below | see below |
//!
//! The end of a *critical* member ends the node: it is the report's cause, everything else is stopped in
//! order, and what ends with a fault meanwhile follows the cause in the report. The end of an *optional*
//! member is reported, and the others go on.
//!
//! # Stop
//!
//! In the reverse order of the start, because later members depend on earlier ones: each is asked to stop
//! when the one before has ended or has used up its share of the limit. What still runs at the limit is
//! aborted and named. The stop of the runtime does the same.
//!
//! # Cost
//!
//! One task. Every event polls all members, of which there are tens.

mod actor;
mod config;
mod decide;
mod ingress;
mod member;
mod report;
#[cfg(test)]
mod tests;

pub use actor::Supervisor;
pub use config::Config;
pub use ingress::{Mailbox, RemoveError};
pub use member::{Id, Member, Restarts, Role};
pub use report::{Ended, Report, StillRunning};
