//! Uploads from the validators to the indexer.
//!
//! Validators and indexer share a process, so an upload is a function call and not an HTTP request; the
//! `alto_indexer::Indexer` that followers read is the same. The slot in between is empty while the
//! indexer is stopped, and uploads then fail as they would against a dead server.

use super::rounds::Rounds;
use crate::Certify;
use alto_chain::indexer::Client;
use alto_indexer::{Api, Indexer};
use alto_types::{Block, Finalized, Notarized, Seed};
use axum::Router;
use commonware_parallel::Sequential;
use futures::lock::Mutex as Turn;
use std::sync::{Arc, Mutex, PoisonError};
use tidewatch_core::Height;
use tokio::sync::watch;

type Current<S> = Option<Arc<Indexer<S, Sequential>>>;

/// Holds the current indexer, if it is running.
pub(super) struct Slot<S: Certify> {
    verifier: S,
    block_size: u32,
    current: Mutex<Current<S>>,
    /// Serializes uploads. All validators upload everything, and the indexer verifies a certificate
    /// before it looks for a concurrent duplicate: without the lock it would verify most of them several
    /// times.
    turn: Turn<()>,
    tip: watch::Sender<Height>,
    rounds: Rounds,
}

impl<S: Certify> Slot<S> {
    pub(super) fn new(
        verifier: S,
        block_size: u32,
        tip: watch::Sender<Height>,
        rounds: Rounds,
    ) -> Self {
        Self { verifier, block_size, current: Mutex::new(None), turn: Turn::new(()), tip, rounds }
    }

    fn set(&self, indexer: Current<S>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = indexer;
    }

    fn get(&self) -> Result<Arc<Indexer<S, Sequential>>, Refused> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Refused::Stopped)
    }
}

/// A slot, independent of the certificate scheme.
pub(super) trait Indexed: Send + Sync {
    /// Installs an empty indexer and returns its router.
    fn renew(&self) -> Router;

    /// Removes the indexer.
    fn clear(&self);
}

impl<S: Certify> Indexed for Slot<S> {
    fn renew(&self) -> Router {
        let indexer = Indexer::new(self.verifier.clone(), Sequential);
        let indexer = Arc::new(indexer.with_block_size(self.block_size));
        self.set(Some(indexer.clone()));
        Api::new(indexer).router()
    }

    fn clear(&self) {
        self.set(None);
    }
}

/// Error of an upload.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the indexer is stopped")]
    Stopped,
    #[error("{0}")]
    Invalid(&'static str),
}

/// The upload client of a validator.
pub(super) struct Uploader<S: Certify>(pub(super) Arc<Slot<S>>);

impl<S: Certify> Clone for Uploader<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Certify> Client<S> for Uploader<S> {
    type Error = Refused;

    async fn seed_upload(&self, seed: Seed) -> Result<(), Refused> {
        // Of a certificate that consensus has verified, in this process.
        self.0.rounds.certified(&seed);
        let _turn = self.0.turn.lock().await;
        self.0.get()?.submit_seed(seed).map_err(Refused::Invalid)
    }

    async fn notarized_upload(&self, notarized: Notarized<S>) -> Result<(), Refused> {
        let _turn = self.0.turn.lock().await;
        self.0.get()?.submit_notarization(notarized).map_err(Refused::Invalid)
    }

    async fn finalized_upload(&self, finalized: Finalized<S>) -> Result<(), Refused> {
        let _turn = self.0.turn.lock().await;
        let height = finalized.block.height;
        let result = self
            .0
            .get()
            .and_then(|indexer| indexer.submit_finalization(finalized).map_err(Refused::Invalid));
        // The chain grows even while the indexer is stopped.
        if !matches!(result, Err(Refused::Invalid(_))) {
            self.0.tip.send_if_modified(|tip| {
                let newer = height > *tip;
                *tip = height.max(*tip);
                newer
            });
        }
        result
    }

    async fn block_upload(&self, block: Block) -> Result<(), Refused> {
        self.0.get()?.submit_block(block);
        Ok(())
    }
}
