//! An execution layer as the local view: the client itself keeps the chain.
//!
//! # Overview
//!
//! ```text
//!                    ┌───────────────── View ─────────────────┐
//!  Source ──▶ Driver │ commit ──▶ Mailbox ──▶ Executor ───────│──▶ Execution: give, point
//!                    │ watermarks, locate ────────────────────│──▶ Execution: standing, at
//!                    └────────────────────────────────────────┘         │
//!                                                                       └── Engine: the Engine API over HTTP
//! ```
//!
//! [`Execution`] is the port: a client that takes blocks, is pointed at a head, and says where it stands.
//! [`View`] is a [`LocalView`](tidewatch_core::LocalView) on it, for a `Driver` of its own. Its watermarks are
//! the client's own word, read again in every pass: after a restart of either, the pass compares the source
//! with what the client really has. Nothing is kept here that could disagree with it.
//!
//! [`Executor`] is the actor between the two: it makes one call at a time, in order, coalesces targets, repeats
//! the last one as a heartbeat, and publishes the floor.
//!
//! [`Durably`] keeps a source from learning of anything as durable before that floor has reached it.
//!
//! [`application`] (feature `marshal`) executes what commonware's marshal delivers, through the same executor.
//!
//! [`engine`] (feature `engine`) is the port over the Engine API of an Ethereum execution client.

#[cfg(feature = "marshal")]
pub mod application;
#[cfg(test)]
mod client;
mod durably;
#[cfg(feature = "engine")]
pub mod engine;
mod error;
mod evidence;
mod execution;
pub mod executor;
mod floor;
mod target;
pub mod view;

#[cfg(feature = "marshal")]
pub use application::Application;
pub use durably::Durably;
#[cfg(feature = "engine")]
pub use engine::Engine;
pub use error::ExecutionError;
pub use execution::{Aside, Execution, Payload, Standing, Verdict};
pub use executor::Executor;
pub use target::{Forkchoice, Order, Target};
pub use view::View;
