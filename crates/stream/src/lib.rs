//! The pass: the only place where tiers move.
//!
//! # Overview
//!
//! ```text
//!            doorbell, poll, sync()                     cursor ack
//!                    │                                      │
//!                    ▼                                      ▼
//!  Source ◀─────▶ Driver ──────Change──────▶ view + log ──▶ Delivery ──▶ Consumer
//!                    │      (one writer)                 (one each)
//!                    ▼
//!                 Head, Monitor: status, faults
//! ```
//!
//! [`pass`] holds one run of snapshot, ancestor search, prune, download and reconcile; what it
//! decides is in [`search`] and [`reconcile`], which are pure. [`Driver`] runs passes over one source,
//! when a doorbell rings, when time is up and when somebody asks. [`Delivery`] hands the events of a
//! log to one consumer at that consumer's pace.

pub mod delivery;
pub mod driver;
mod error;
mod flapping;
pub mod pass;
pub mod reconcile;
pub mod search;
mod status;

#[cfg(test)]
mod tests;

pub use delivery::Delivery;
pub use driver::{Driver, Mailbox, Stopped};
pub use error::{Error, Foreign};
pub use flapping::{FLAPPING_WINDOW, Forks};
pub use pass::{Cost, Ended, Guard, Mode, Pass, Report, Start, Unguarded};
pub use status::{Contact, Thresholds, assess};
pub use tidewatch_core::{Stopper, Stopping};
