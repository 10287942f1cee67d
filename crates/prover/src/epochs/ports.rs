//! The ports to what is proven of ranges of blocks, to where it is published, and to who looks into failures.

use super::{Candidate, CheckpointId, Spec};
use crate::{Key, scheduler::NewBlock};
use bytes::Bytes;
use std::future::Future;
use tidewatch_core::{Digest, Fault};

/// The content of a checkpoint, with everything that proving it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which checkpoint.
    pub id: CheckpointId,
    /// Its blocks, each on the one before it: never none.
    pub blocks: Vec<NewBlock>,
}

/// A statement about consecutive blocks, and how a proof of it is checked. Pure computation.
///
/// A [`Program`](crate::Program) is about one block; this one is about a range that a [`Key`] names, and proofs of
/// ranges that follow each other can be joined into one of the whole.
pub trait RangeProgram: Send + Sync + 'static {
    /// Identifies the statement and its verification key: a proof under another one never counts.
    fn id(&self) -> Digest;

    /// What a prover needs to prove `blocks`.
    fn inputs(&self, blocks: &[NewBlock]) -> Bytes;

    /// What a prover needs to make one proof of consecutive ranges, from the proof of each; the first block of the
    /// first one stands on the block with digest `parent`.
    fn joined(&self, parent: Digest, proofs: &[(Key, Bytes)]) -> Bytes;

    /// Whether `proof` proves the statement about `key`, whose first block stands on the one with digest `parent`.
    /// It is hostile input.
    ///
    /// # Errors
    ///
    /// Why it does not.
    fn verify(&self, parent: Digest, key: &Key, proof: &[u8]) -> Result<(), String>;
}

/// The chain that proofs of epochs are published on.
pub trait Publisher: Send + Sync + 'static {
    /// Whether a proof of these blocks, or of more of that epoch, has landed. Asked before each submission: a crash
    /// may have taken along how an earlier one ended.
    ///
    /// # Errors
    ///
    /// It cannot be asked now: the candidate waits.
    fn landed(&self, candidate: &Candidate) -> impl Future<Output = Result<bool, Fault>> + Send;

    /// Submits a proof, and waits until it is known how that ended: whether it landed.
    ///
    /// # Errors
    ///
    /// Where the severity is that of a fault which ends nothing ([`Severity::is_fatal`](tidewatch_core::Severity)),
    /// how it ended is not known: the candidate waits, and is looked up before it is submitted again. Otherwise it
    /// has failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped at a deadline, it may land or not.
    fn submit(
        &self,
        candidate: &Candidate,
        proof: Bytes,
    ) -> impl Future<Output = Result<bool, Fault>> + Send;
}

/// Notified of what failed by itself, for whoever looks into it. Its calls must not block.
pub trait PostMortem: Send + Sync + 'static {
    /// A checkpoint that is on the chain cannot be proven. Once for each.
    fn checkpoint(&self, content: &Content, reason: &str);

    /// A whole epoch failed although every checkpoint of it is well. Once for each session.
    fn epoch(&self, spec: &Spec, checkpoints: &[CheckpointId], reason: &str);
}

/// Nobody looks.
impl PostMortem for () {
    fn checkpoint(&self, _: &Content, _: &str) {}

    fn epoch(&self, _: &Spec, _: &[CheckpointId], _: &str) {}
}
