//! The proven tier of a chain whose proofs are made here.
//!
//! # Overview
//!
//! ```text
//!  Driver ──blocks──▶ store ──Delivery──▶ Feed ──inputs──▶ Scheduler
//!    ▲                                                        │ proven tip, with its proof
//!    └────── snapshot ◀── ProvenOverlay ◀─────────────────────┘
//!                              ▲
//!  source ─────────────────────┘ its own snapshot, under it
//! ```
//!
//! [`Feed`] is a consumer: it has every delivered block proven, and undoes what is pruned. Its position is durable
//! once the inputs are; until then the blocks are pinned in the archive. [`ProvenOverlay`] lays the proven tip over
//! the snapshot of the source that is followed, and the driver reconciles it like any other tier. [`range`] answers
//! a range of blocks up to a finality.
//!
//! # What the overlay says
//!
//! | situation | proven |
//! |---|---|
//! | the proven tip is on the snapshot's chain, and within its ladder | the tip, with its proof |
//! | it is above a tier that it may not pass (checkpointed, or finalized) | that tier's block: every ancestor of a proven block is proven |
//! | it is not on the snapshot's chain, above its tip, or the source cannot tell | unknown: no tier moves |
//! | it is below what the view has announced, on the same chain | unknown, until it is not: proven never goes back |
//! | it is below the source's finalized tier, on a rollup's ladder | unknown, until it is not |
//!
//! So proven is at most what is committed, always, and goes back with a prune alone.
//!
//! # Cost
//!
//! One call of [`Source::digests`](tidewatch_core::Source::digests) more for each snapshot whose proposed tip or
//! proven tip is new; none otherwise.

mod feed;
mod overlay;
mod query;
#[cfg(test)]
mod tests;

pub use feed::Feed;
pub use overlay::ProvenOverlay;
pub use query::{Finality, NoFinality, NotAnswered, Ranged, range};
