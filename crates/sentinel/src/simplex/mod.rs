//! What the validators of a Simplex network do, as one of them sees it.
//!
//! # Overview
//!
//! Inside of a validator, beside the application's own reporter:
//!
//! ```text
//!  consensus ── Activity ──▶ Reporter ─┐ never waits        ┌─ Observation ──▶ Sentinel
//!                                      └──▶ Listener ───────┤
//!                                           verifies        └─ how far it has heard ──▶ Inside: Observer
//!  epochs begin and end ──▶ Electorate ──▶ Committees: who is due, who leads
//! ```
//!
//! In a validator of yours: `Reporters::from((own, reporter))` as the reporter of `simplex::Config`. Whoever cannot
//! choose the reporter of its engine feeds the votes of the channel between validators to [`Reporter::hear`], which
//! is what the devnet does.
//!
//! # Slots
//!
//! A slot is a round: a view of an epoch of consensus. Views begin anew in each epoch, slots do not: [`Rounds`] adds
//! up how many views the epochs before had. The last view of an epoch is that of its last block, so the slots of an
//! epoch are known once the one before it has ended. Consensus goes on for some views after the last block of an epoch,
//! with that block; those views are no slots. So votes wait until a final block shows that their epoch goes on so far.
//!
//! # What counts
//!
//! A `notarize` is an attestation, that of the leader is the proposal; a `finalize` is a commit, a `nullify` a skip.
//! Votes are verified here, in batches: consensus reports them unverified, and an observation accuses its sender.
//! A proposal counts as executed and valid if this validator voted for it, or a quorum did.
//!
//! # What was not heard
//!
//! Every view ends by the votes of a quorum. A slot that has passed although fewer than a quorum were heard in it was
//! not wholly heard, and is [`Missed`](crate::Observation::Missed): nobody is called absent because this validator was
//! cut off. The same is said of rounds whose votes were dropped.
//!
//! # The host is not held up
//!
//! [`Reporter`] enqueues and returns. If the listener falls behind, votes wait up to a limit and are dropped beyond
//! it; the rounds they were of are reported as missed, and the votes are counted.
//!
//! # Limits
//!
//! Votes of at most [`ROUNDS_MAX`] rounds are held, and [`VOTES_MAX`] of one round. Leaders that are drawn from
//! certificates cannot be told from the round alone: their slots are recorded as not judged.

mod electorate;
#[cfg(test)]
mod engine;
mod hearing;
mod ingress;
mod inside;
mod keeper;
mod listener;
mod metrics;
mod rounds;
#[cfg(test)]
mod tests;

pub use electorate::{Electorate, Leaders, Term};
pub use ingress::Reporter;
pub use inside::{Inside, Round, SlotBlock, Slots, slot_blocks};
pub use keeper::EvidenceKeeper;
pub use listener::{Config, HandIn, Listener, ROUNDS_MAX, VOTES_MAX};
pub use rounds::Rounds;
