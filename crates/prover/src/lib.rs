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
//! | [`disk`] | what survives: inputs, proofs, and the table of jobs |
//! | [`scheduler`] | the actor that carries that out |
//! | [`Program`], [`Prover`], [`Prove`] | the ports: what is proven, who does it |
//! | [`pool`] | a prover in this process |
//! | [`epochs`] | proving whole epochs of a rollup: catch-up, sessions, publishing as decisions; the manager that carries them out; the expiry ticker |
//! | `sha256` | a real proof: a chain of SHA-256 digests (feature `prove`) |
//! | `remote` | a prover on another machine, over HTTP (feature `http`) |
//! | [`proven`] | the proven tier, laid over a source; what feeds the scheduler; ranges by finality |

pub mod disk;
pub mod epochs;
mod error;
mod job;
pub mod plan;
pub mod pool;
mod port;
pub mod proven;
#[cfg(feature = "http")]
pub mod remote;
pub mod scheduler;
#[cfg(feature = "prove")]
pub mod sha256;
mod stopwatch;

pub use error::Error;
pub use job::{Class, Failure, Handle, Key, NoHandle, Stored, Time};
pub use plan::Plan;
pub use pool::Pool;
pub use port::{Offer, Program, Progress, Prove, Prover, Released};
pub use scheduler::Scheduler;
pub use stopwatch::Stopwatch;
