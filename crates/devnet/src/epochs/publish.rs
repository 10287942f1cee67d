//! The way of certificates from a validator to the indexer.
//!
//! ```text
//!  marshal ──Update::Tip──▶ Tips ─┐
//!                                 ├─▶ publish ──▶ Served
//!  peers ──certificates──▶ Tap ───┘
//! ```
//!
//! Finalizations are what a validator's marshal took in. Of notarizations marshal makes nothing known,
//! so they are taken from what the peers send each other, and verified as at any indexer.

use super::{
    block::Block,
    schemes::Schemes,
    served::{self, Archive, Served},
};
use crate::Certify;
use alto_types::{Notarization, Notarized};
use commonware_actor::Feedback;
use commonware_codec::Decode as _;
use commonware_consensus::{
    Heightable as _, Reporter, marshal::Update, simplex::types::Certificate,
};
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{Message, Receiver, utils::mux};
use commonware_parallel::Sequential;
use commonware_runtime::IoBuf;
use commonware_utils::Acknowledgement as _;
use std::{fmt, sync::Arc};
use tidewatch_core::Height;
use tokio::sync::{mpsc, watch};

/// Notarizations that may wait to be verified; others are dropped, because newer ones follow.
const WAITING: usize = 4;

/// Acknowledges finalized blocks, and passes on how high they are.
#[derive(Clone)]
pub(super) struct Tips {
    newest: Arc<watch::Sender<Height>>,
    delivered: Arc<watch::Sender<Height>>,
}

impl Tips {
    /// Height of the last block that the validator has taken in.
    pub(super) fn delivered(&self) -> watch::Receiver<Height> {
        self.delivered.subscribe()
    }
}

impl Reporter for Tips {
    type Activity = Update<Block>;

    fn report(&mut self, update: Update<Block>) -> Feedback {
        match update {
            Update::Tip(_, height, _) => {
                self.newest.send_replace(height);
            }
            Update::Block(block, acknowledgement) => {
                self.delivered.send_replace(block.height());
                acknowledgement.acknowledge();
            }
        }
        Feedback::Ok
    }
}

/// The receiver of a channel between peers; open if it is the one on which they exchange certificates.
pub(super) struct Tap<S: Certify, R> {
    inner: R,
    open: Option<Open<S>>,
}

struct Open<S: Certify> {
    served: Arc<Served<S>>,
    notarizations: mpsc::Sender<Notarization<S>>,
}

impl<S: Certify, R> fmt::Debug for Tap<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

impl<S: Certify, R> Tap<S, R> {
    pub(super) const fn closed(inner: R) -> Self {
        Self { inner, open: None }
    }
}

impl<S: Certify> Open<S> {
    fn observe(&self, message: IoBuf) {
        let Ok((_, body)) = mux::parse(message) else { return };
        if let Ok(Certificate::Notarization(notarization)) =
            Certificate::<S, Digest>::decode_cfg(body, &())
            && self.served.lacks(notarization.proposal.round)
        {
            let _ = self.notarizations.try_send(notarization);
        }
    }
}

impl<S: Certify, R: Receiver> Receiver for Tap<S, R> {
    type Error = R::Error;
    type PublicKey = R::PublicKey;

    async fn recv(&mut self) -> Result<Message<R::PublicKey>, R::Error> {
        let message = self.inner.recv().await?;
        if let Some(open) = &self.open {
            open.observe(message.1.clone());
        }
        Ok(message)
    }
}

/// What one validator has to publish.
pub(super) struct Publisher<S: Certify> {
    served: Arc<Served<S>>,
    heights: watch::Receiver<Height>,
    notarizations: mpsc::Receiver<Notarization<S>>,
}

/// The publisher of a validator, and what it hears of by.
pub(super) fn publisher<S: Certify, R>(
    served: Arc<Served<S>>,
    certificates: R,
) -> (Publisher<S>, Tips, Tap<S, R>) {
    let (newest, heights) = watch::channel(Height::zero());
    let tips =
        Tips { newest: Arc::new(newest), delivered: Arc::new(watch::Sender::new(Height::zero())) };
    let (sender, notarizations) = mpsc::channel(WAITING);
    let open = Open { served: served.clone(), notarizations: sender };
    let tap = Tap { inner: certificates, open: Some(open) };
    (Publisher { served, heights, notarizations }, tips, tap)
}

impl<S: Certify> Publisher<S> {
    /// Publishes until the validator's other parts have ended.
    pub(super) async fn run(mut self, archive: Archive<S>, schemes: Schemes<S>) {
        loop {
            tokio::select! {
                changed = self.heights.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let height = *self.heights.borrow_and_update();
                    if height > self.served.tip()
                        && let Some(finalized) = served::finalized(&archive, height).await
                    {
                        self.served.finalized(finalized);
                    }
                }
                notarization = self.notarizations.recv() => {
                    let Some(notarization) = notarization else { return };
                    self.notarized(notarization, &archive, &schemes).await;
                }
            }
        }
    }

    async fn notarized(
        &self,
        notarization: Notarization<S>,
        archive: &Archive<S>,
        schemes: &Schemes<S>,
    ) {
        // Other validators publish the same ones.
        if !self.served.lacks(notarization.proposal.round) {
            return;
        }
        let Some(block) = archive.get_block(&notarization.proposal.payload).await else { return };
        let notarized = Notarized::new(notarization, block.into_alto());
        if notarized.verify(schemes.verifier(), &Sequential) {
            self.served.notarized(notarized);
        }
    }
}
