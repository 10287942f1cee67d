//! Transactions that nobody can read before their order is fixed.
//!
//! # Overview
//!
//! ```text
//!  sender          sequencer           key holders                         validators
//!  seal to R ────▶ proposal ─────────▶ attest the order before round F ◀── certify rounds
//!                                      open with the seed of R, R >= F  ◀── R is certified
//!                  verify, apply ◀──── preblock: opened + evidence
//! ```
//!
//! The validators of a chain with VRF certificates sign each round: that signature, the round's *seed*, is in each
//! certificate of the round. It also is the key to what was encrypted to the round with timelock encryption
//! (`commonware_cryptography::bls12381::tle`). A sender encrypts a fresh key to a round that is to come, and the
//! transaction with that key, its sender and its nonce: nobody reads it before a quorum has voted in that round,
//! and everybody can afterwards.
//!
//! # Fixing an order
//!
//! Key holders attest the content of a number *as of a round* F: "I have seen no certificate of F or of a later
//! round". What is sealed to F or later was secret when its order was fixed. What is sealed to a round below F was
//! open to everybody already: it is dropped, because its place may have been chosen by who had read it. What is
//! sealed to a round more than [`AHEAD_MAX`] above F would hold up the others: it is dropped too. Which of them a
//! transaction is follows from F and its payload alone.
//!
//! # Being in time
//!
//! F is not known when a transaction is accepted. [`Ahead`] says which rounds will do, from what is ordered before: what
//! is sealed to another one is refused at the door, with a [`NotInTime`], and not dropped later. What was accepted and is
//! late all the same, because the network or the sequencer stood still, keeps its place in a proposal: it is dropped
//! there, and its nonce is used on the chain, so that what its sender has sent after it counts. Dropped from the pool it
//! would leave a gap on a chain that counts nonces. It holds up nobody: no round is awaited for it.
//!
//! # Verification
//!
//! [`Keys::verify`] is pure. It checks the identity against the content, a quorum of attestations, and the seed of
//! each round that has to be open, and opens every transaction once more. So a preblock whose evidence verifies
//! says of each transaction what its ciphertext says, or why that is nothing.
//!
//! # Limits
//!
//! As many validators as a certificate needs can read everything at any time: they only have to sign a round
//! early. The envelope hides what a transaction says, and neither its length, nor its sender, nor its nonce. Holders
//! that attest one content as of two rounds give two preblocks of it, which can differ in what is dropped: the
//! network keeps the first, and a sequencer applies one.
//!
//! # Cost
//!
//! One pairing for each transaction, at the network and at the sequencer, and two for each round.

mod evidence;
mod keys;
mod sealed;
#[cfg(test)]
pub(crate) mod tests;
mod window;

pub use evidence::{Evidence, HOLDERS_MAX};
pub use keys::{Keys, NotVerified, Seed, Statement};
pub(crate) use sealed::named;
pub use sealed::{AHEAD_MAX, NotSealed, OVERHEAD_MAX, Unopened, seal, sealed_to};
pub use window::{Ahead, MARGIN, NotInTime, OPENED_A_ROUND, SPREAD, Window};
