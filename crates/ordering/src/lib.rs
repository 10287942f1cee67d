//! What a network of key holders does to a proposal, and how a sequencer checks it.
//!
//! # Overview
//!
//! ```text
//!  sender ── seal(clear, round) ──▶ Sealed ──▶ pool ──▶ proposal ──▶ key holders: attest the order
//!                                                                     before the round opens
//!  validators ── certify the round ──▶ its seed ─────────────────────▶ open ──▶ preblock with Evidence
//!                                                                                 │
//!                                                      sequencer: Committee::verify ◀┘
//! ```
//!
//! A transaction is [`Sealed`] to a round of a chain whose certificates carry a seed: a threshold signature over the
//! round. Nobody can read it before enough validators have voted in that round, and anybody can after: timelock
//! encryption, as `commonware-cryptography` has it. What is sealed that way is a key of 32 bytes; the transaction is
//! encrypted with that key.
//!
//! [`Committee`] are the key holders. Each attests an order and the newest round that was open when it did. More than
//! four fifths of them make it final. What follows from the order and the seeds is a function of them
//! ([`open`]), so a sequencer computes it again, and takes nobody's word for it.
//!
//! # What a transaction comes to
//!
//! | transaction | in the preblock |
//! |---|---|
//! | sealed to a round that was not open when its order was attested | what it says |
//! | sealed to a round that was open by then | dropped: somebody could have read it before |
//! | sealed to a round too far ahead | dropped: it would hold everybody up |
//! | bytes that are not sealed, or do not open with the round's seed | dropped |
//! | of the delayed inbox | as it is: it never was sealed |

mod evidence;
mod sealed;
#[cfg(test)]
mod tests;

pub use evidence::{
    Attestation, Committee, Evidence, HOLDERS_MAX, NotVerified, Order, ROUNDS_AHEAD, SEEDS_MAX,
    open,
};
pub use sealed::{NotSealed, Sealed, seal};

use commonware_consensus::simplex::scheme::bls12381_threshold::vrf;
use commonware_cryptography::{
    bls12381::primitives::variant::{MinSig, Variant},
    ed25519,
};

/// A round of the chain that transactions are sealed to.
pub use commonware_consensus::types::Round;
/// The threshold signature that opens a round.
pub type Seed = vrf::Seed<MinSig>;
/// The key that seeds verify under: that of the chain's validators.
pub type Identity = <MinSig as Variant>::Public;

/// Says whether a seed is one of the chain with `identity` and `namespace`.
pub fn seeds_of(identity: Identity, namespace: &[u8]) -> impl Fn(&Seed) -> bool {
    type Scheme = vrf::Scheme<ed25519::PublicKey, MinSig>;
    let scheme = Scheme::certificate_verifier(namespace, identity);
    move |seed| seed.verify(&scheme)
}
