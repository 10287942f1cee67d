//! What survives: the pool, the chain, and what was published.
//!
//! # Overview
//!
//! ```text
//!  PARTITION-pool        lines: accepted, reserved, released, settled
//!  PARTITION-chain       one line a block, from number 1
//!  PARTITION-published   one number, in two copies
//! ```
//!
//! # Restart safety
//!
//! | step | order | a crash before it leaves |
//! |---|---|---|
//! | a transaction is accepted | its line, then the answer | a caller without an answer: it submits again, and is told that the nonce is used |
//! | a proposal goes out | its line with its identity, then the network | nothing, or a proposal that is proposed again as it was |
//! | a preblock is applied | the block's line, then the answer | the same preblock comes again |
//! | its transactions leave the pool | the line `settled` | a block above the newest one that was settled: it is settled at the start |
//! | it is published | at the publisher, then the number | a block that is published again, which is one |
//!
//! Once most lines of a pool are out of date, those before the oldest transaction that waits are dropped, after what they
//! said otherwise was written once more: that is true wherever it is cut off. What waits is not written again, however much
//! that is. Only where the oldest one does not leave, and what came after it does, the pool is written anew as a whole. That
//! counts from its last line on: a crash before leaves the old lines to count, and one after it counts nothing twice.
//!
//! # Limits
//!
//! A pool remembers the next nonce of every sender that ever had a transaction accepted, in memory and on disk: some 40
//! bytes each, for ever. They cannot be forgotten here: the next transaction of a sender must go on where the last one
//! ended, and the chain, whose blocks say where that was, is not kept by sender. A chain with accounts knows it.

mod chain;
mod held;
#[cfg(test)]
mod in_time;
mod lines;
mod pool;
mod published;
mod record;

#[cfg(test)]
mod tests;

pub use chain::{Chain, Genesis};
pub use held::{Limits, NotAccepted};
pub use lines::Lines;
pub use pool::{DiskPool, Door};
pub use published::Published;
