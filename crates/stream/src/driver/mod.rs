//! Runs passes over one source, and is the single writer of one local view.
//!
//! # Overview
//!
//! ```text
//!  Source::doorbell ──┐
//!  Mailbox::ring ─────┤        ┌──────────┐
//!  Mailbox::sync ─────┼──wake─▶│   pass   │──▶ view, Monitor, metrics
//!  poll, back-off ────┘        └──────────┘──▶ Head: where it stands now
//!  Mailbox::stop, runtime stop ──▶ ends the wait at hand, completes the commit at hand
//! ```
//!
//! The first pass runs at once. After that a pass runs when a doorbell rings, when the poll interval
//! has passed, and when somebody asks. A doorbell carries nothing: however many ring, before or during
//! a pass, one pass follows. Passes are at least `pace` apart, so an upstream that flaps many times a
//! second makes one event per interval; `sync` does not wait for that.
//!
//! # State
//!
//! None that matters: all progress is in the view. The driver remembers when it last had contact, and
//! what it saw, to say how live it is (see [`assess`](crate::assess)).
//!
//! # Faults
//!
//! A fault ends its pass, is reported to the monitor and counted. Its severity decides whether the driver
//! tries again or ends: only trouble of this machine and of its configuration ends a driver. A source that
//! is behind is asked again after the poll interval, one that fails or answers what cannot be true after
//! a back-off; a doorbell shortens that to the poll interval. No wait on a source outlasts its deadline.
//!
//! A view that cannot say where it stands is asked again by the next pass, at the start too.
//!
//! Before its first pass it compares the source's chain with the view's, and ends with
//! [`WrongChain`](tidewatch_core::FaultKind::WrongChain) where they differ.
//!
//! # Shutdown
//!
//! Stopped by its mailbox or by the runtime, it gives up the source call at hand, completes the
//! commit at hand, and makes no other. A driver whose mailboxes were all dropped goes on.
//!
//! A conflict about finality that a pass found lasts as long as passes find it. One that the source
//! proved by itself, with two proofs that both verify, stays in the status until a restart.
//!
//! # Restart safety
//!
//! That of the view. A driver that is started on what another one left goes on there.

mod actor;
mod config;
mod ingress;
mod metrics;
#[cfg(test)]
mod tests;
mod tracker;

pub use actor::Driver;
pub use config::{Config, Parts};
pub use ingress::{Mailbox, Stopped, SyncError};
