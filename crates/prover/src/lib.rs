//! Proving behind the tip.
//!
//! # Overview
//!
//! Proving a block takes half a minute where making one takes seconds. So it runs behind the tip: out of order
//! inside, in order outside, for ever, across crashes, and never in the way of the node.
//!
//! | part | what |
//! |---|---|
//! | [`plan`] | what to attempt next, and what follows from how it ended: decisions without I/O |

mod job;
pub mod plan;

pub use job::{Class, Failure, Handle, Key, NoHandle, Stored, Time};
pub use plan::Plan;
