//! Proving whole epochs of a rollup: what to prove, over what, and when to publish it.
//!
//! # Overview
//!
//! ```text
//!  checkpointed tip ──▶ CatchUp ──registered──▶ Checkpoints ──▶ Sessions ──▶ Publishing ──▶ the chain
//!  prune ─────────────────┴──────────────────────────┴─────────────┘             ▲
//!  time ──▶ Expiry ──expired epochs──▶ Checkpoints                     proven tip ┘
//! ```
//!
//! Everything here but two actors and the walk's reads is a decision over values: the [`manager`] carries them
//! out, the ticker sweeps. An epoch is so many slots; a proof of it counts until [`Geometry::deadline`].
//!
//! | part | rule |
//! |---|---|
//! | [`CatchUp`] | every checkpoint from the cursor to the tip, light metadata first; epochs that are proven or past their deadline are skipped as a whole; the cursor moves by one, once the checkpoint was taken |
//! | [`Checkpoints`] | one for each slot; pruned by block, reaped by epoch; other content in a slot that is taken is refused |
//! | [`Sessions`] | a proof of a range of slots over a set of checkpoints that never changes: where the set does, the session ends and another begins |
//! | [`Pieces`] | a range in pieces that cover it exactly: one that fails too often is split, one block is poisoned; joined only without a gap |
//! | [`Publishing`] | one at a time, epochs in order, the longest range first; the others are superseded once it has landed |
//! | [`manager`] | joins all of these; proofs are durable before they count |
//! | [`Expiry`] | sweeps expired epochs on time, when nothing else happens too, and after the clock jumped either way |
//!
//! # Reorg safety
//!
//! A prune names its target block. What is known of the target is read before anything is changed; then every
//! checkpoint whose last block is above it goes, the cursor goes down to before the checkpoint that the target lies
//! in, and sessions over what went are cancelled.

mod catch_up;
mod checkpoints;
mod expiry;
mod geometry;
pub mod manager;
mod pieces;
mod ports;
mod publishing;
mod sessions;
#[cfg(test)]
mod tests;
mod work;

pub use catch_up::{CatchUp, Chain, Light, Progress, Take};
pub use checkpoints::{CheckpointId, Checkpoints, Entry, Occupied};
pub use expiry::{Expire, Expiry, Mailbox, Slots, Sweep};
pub use geometry::{EpochAt, Geometry, ProvenAt};
pub use pieces::{AfterFailure, Pieces, Range};
pub use ports::{Content, PostMortem, Publisher, RangeProgram};
pub use publishing::{Candidate, CandidateId, Decided, Outcome, Publishing};
pub use sessions::{
    Action, Kind, NotStarted, Session, SessionId, SessionState, Sessions, Spec, Trigger, View,
};
