//! The ports to what is proven, and to who proves it.

use crate::{Failure, Handle, Key};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{BlockRef, Digest};

/// A statement about a block, and how a proof of it is checked. Pure computation.
pub trait Program: Send + Sync + 'static {
    /// Identifies the statement and its verification key: a proof under another one never counts.
    fn id(&self) -> Digest;

    /// Whether `inputs` are those of `block`: checked before a prover is asked.
    ///
    /// # Errors
    ///
    /// Why they are not.
    fn check(&self, block: BlockRef, inputs: &[u8]) -> Result<(), String>;

    /// Whether `proof` proves the statement about `block`, whose parent's digest is `parent`. It is hostile
    /// input.
    ///
    /// # Errors
    ///
    /// Why it does not.
    fn verify(&self, parent: Digest, block: BlockRef, proof: &[u8]) -> Result<(), String>;
}

/// Says that nobody waits for a computation any more. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Released(Arc<AtomicBool>);

impl Released {
    /// Whether the computation may end where it stands.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, released: bool) {
        self.0.store(released, Ordering::Relaxed);
    }
}

/// Makes proofs, here: what a [`Pool`](crate::Pool) runs. Pure computation, on a thread of its own.
pub trait Prove: Send + Sync + 'static {
    /// A proof of `key` from its inputs. One that looks at `released` now and then frees its slot early.
    ///
    /// # Errors
    ///
    /// Why there is none. A panic counts as one failure.
    fn prove(&self, key: &Key, inputs: &[u8], released: &Released) -> Result<Bytes, String>;
}

/// What a prover offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Jobs that it works on at once.
    pub slots: usize,
    /// When it gives a job up by itself, if it does.
    pub deadline: Option<Duration>,
}

/// How far a prover is with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It works on it.
    Running,
    /// The proof, not verified. It is kept until the job is released.
    Proved(Bytes),
}

/// Somebody who makes proofs: a [`Pool`](crate::Pool) in this process, or another machine.
///
/// Nothing that a prover answers is believed: a proof counts once it verifies, and a failure costs the prover
/// or the block one of a few attempts. Calls are given up at a deadline.
///
/// # Cancel safety
///
/// Every call may be dropped at any await, and made again.
pub trait Prover: Send + Sync + 'static {
    /// Names it in faults, lists and metrics, and on disk: handles belong to it. Without credentials.
    fn name(&self) -> &str;

    /// What it offers now.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked.
    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>>;

    /// Hands a job over. A job that is there already, whatever became of it, is the same job: its handle is
    /// returned.
    ///
    /// # Errors
    ///
    /// [`Failure::Full`] if there is no free slot now; otherwise why it cannot be asked.
    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>>;

    /// How far it is. It may wait for `patience` for news.
    ///
    /// # Errors
    ///
    /// How the job ended without a proof, or why it cannot be asked: [`Failure::Unavailable`] alone leaves the
    /// job where it is.
    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>>;

    /// The job is not needed any more: it may be stopped, and its proof forgotten. Safe to call again.
    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()>;
}
