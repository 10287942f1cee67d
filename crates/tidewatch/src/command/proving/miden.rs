//! What Miden's sequencers are answered.
//!
//! They ask for the proof of each block. In version 0.15 of their protocol there is none: a block's proof has no bytes, from
//! their own prover too, and a sequencer takes every answer for one. So it is answered here, once the request is one
//! that a block comes from. Versions with real proofs send other requests, or do not take an empty answer.

use commonware_cryptography::{Hasher as _, Sha256};
use tidewatch_core::{BlockRef, Digest};
use tidewatch_prover::Key;
use tidewatch_sources::miden::Proposed;

/// Names the statement, which says nothing.
pub(super) const PROGRAM: Digest = Digest(*b"miden 0.15: an empty block proof");

/// The job that a request's `payload` is. Its digest is that of the request: what the block's will be is not in it.
///
/// # Errors
///
/// Why it is none.
pub(super) fn key(payload: &[u8]) -> Result<Key, String> {
    let proposed = Proposed::read(payload).map_err(|error| error.to_string())?;
    let block = BlockRef::new(proposed.height(), Sha256::hash(&[payload]));
    Ok(Key::one(block, PROGRAM))
}
