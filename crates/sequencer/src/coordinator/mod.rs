//! Proposes, waits for the preblock, applies it, and goes on.
//!
//! # Overview
//!
//! ```text
//!            pool, due, asked     durable      taken, or maybe
//!   ┌▶ idle ───────▶ building ───▶ submitting ───▶ awaiting ◀──┐
//!   │   ▲               │              │ refused     │ │ timeout │ the same content, attempt + 1
//!   │   └── early, ◀────┘              ▼             │ └▶ reproposing
//!   │       locked                 releasing         │ preblock
//!   └── settled ◀── applied, durable ◀── applying ◀──┘
//! ```
//!
//! A start, and a number that the network says is taken, go through *catching up*: what the network fixed is applied
//! before anything is proposed. *Disconnected* is waiting without a connection, *stopping* the end.
//!
//! One task owns all of it. `plan` decides, without a clock, a disk or a network; `effect` is what it asks for; `judge` says whether a preblock is
//! the one that is waited for; `build` what is proposed. The actor makes one call at a time.
//!
//! # Situations
//!
//! | situation | what happens |
//! |---|---|
//! | a transaction comes, or a block is due, and nothing is outstanding | a proposal is built at once |
//! | somebody asks for a block while one is outstanding | `Busy`, with its number |
//! | no transaction waits and no block is due | `NothingToDo`; decided when it is built, not when it was asked for |
//! | the kernel is upgraded at the next number, or time | an empty block, whatever waits |
//! | the network refuses a first attempt | its transactions wait again, `Refused`, and a pause |
//! | nobody knows whether it was submitted | it counts as submitted: its transactions stay reserved |
//! | no preblock within the patience | the same content under the same number again; the stream is read again from there |
//! | a preblock of an earlier attempt | it counts, and the later one is `doubled` |
//! | a preblock of another parent, or content | dropped and counted; the right one is still waited for |
//! | a preblock that nothing was proposed for | dropped and counted, unless the network was ahead when it was asked |
//! | a number that the network says is taken | what the network fixed is applied, and ours waits again; if it fixed nothing, ours is proposed again as it was, after a pause |
//! | a block that the chain refuses as a whole | its transactions are dropped with that reason, and it is applied without them |
//! | a block that cannot be applied now | it is applied again after a pause; everything waits for it |
//! | a block that cannot be published | it is published again after a pause, and nothing waits for it |
//! | whoever asked has left | the block is made all the same |
//! | whoever asked has waited too long | `Refused`, and the block is waited for all the same |
//! | no block for too long | an alert, once, with the state, the number and the attempt |
//!
//! # Restart safety
//!
//! A proposal is durable before the network sees it, with each of its attempts, and a block before anybody is
//! notified of it. A start settles what was applied and not settled, publishes what was not published, catches up,
//! and proposes what was outstanding as it was.
//!
//! # Stopping
//!
//! New requests are refused, a block that is being applied is finished, and what was applied is published within the
//! grace. A proposal that the network has not seen is given back. One that it may have seen stays reserved: the next
//! start goes on with it.

mod actor;
mod build;
mod config;
mod effect;
mod ingress;
mod judge;
mod metrics;
mod plan;
mod publishing;
#[cfg(test)]
mod tests;

pub use actor::{Coordinator, Ports};
pub use config::{Config, Upgrade};
pub use effect::Stage;
pub use ingress::{Answer, Mailbox, Nothing, Refusal, Status, Wanted};
pub use judge::{Expected, Judged, Mismatch, judge};
