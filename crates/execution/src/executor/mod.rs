//! Gives blocks to a client and points it at a head, one call at a time.
//!
//! # Overview
//!
//! ```text
//!  Mailbox::give ──▶ ┌──────┐ next ┌────────┐ one call ┌───────────┐
//!  Mailbox::point ─▶ │ Plan │ ───▶ │ actor  │ ───────▶ │ Execution │
//!  Mailbox::aim ───▶ └──────┘ ◀─── └────────┘ ◀─────── └───────────┘
//!                    answers        heartbeat, pause, deadline
//! ```
//!
//! What is called next, and what an answer means, is decided by `plan`, which knows no clock and no client.
//! Blocks are given in the order in which they came, each batch is pointed at when all of its blocks are
//! valid, and acknowledged when the client stands there.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | start | the client is asked where it stands; nothing is sent before there is a target, or the heartbeat is due |
//! | several targets while a call is in flight | the one with the highest order is next, the others are never sent; each is acknowledged with it |
//! | a target with a lower order than the newest | `Older`, whatever its height |
//! | a client whose head has no order | any target is newer |
//! | a target below what is final, or beside it | `BelowFinalized`, nothing is sent; a batch that ends there is acknowledged once its blocks are valid |
//! | SYNCING, ACCEPTED | nothing is acknowledged; the same again after a pause, up to a limit, then `NotDone` |
//! | a target that was tried in vain | blocks that wait are given before it is tried again: the client may lack them |
//! | a target that was tried up to the limit | it waits for the heartbeat, for its blocks to be given again, or for a newer one; batches below it are acknowledged once their blocks are valid |
//! | INVALID, or a refused forkchoice | the payload is kept as evidence, everybody who waits gets the fault, and the actor ends with it |
//! | VALID for another block than was asked about | `OtherHead`, nothing is acknowledged |
//! | no answer within the deadline, no connection | whoever waits gets that fault; a target is tried again |
//! | nothing to do for as long as the heartbeat | the last target again; while a call is in flight it waits |
//! | the durable height cannot be read | the floor stays |
//!
//! # Floor
//!
//! Every block that was final when the client accepted a target is a candidate. After each accepted target, and
//! each heartbeat, the client is asked what it would have after a crash: the floor moves to the highest candidate
//! that is not above that. A source that forgets what is below the floor loses nothing that the client lacks.
//!
//! # Restart safety
//!
//! Nothing is kept. The client is the memory: it is asked where it stands, and targets are compared with that.

mod actor;
mod config;
mod ingress;
mod metrics;
mod plan;
#[cfg(test)]
mod tests;

pub use actor::Executor;
pub use config::Config;
pub use ingress::Mailbox;
