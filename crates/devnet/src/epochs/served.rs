//! What the indexer serves: the validators' own archives, and the newest certificates.
//!
//! Alto's indexer knows one epoch: it verifies with one scheme, and keeps finalizations by their view,
//! which begins anew in each epoch. So this one is our own. It answers by height and by digest from the
//! archives of the validators, which survive a restart; the newest certificates are compared by epoch
//! and view.

use super::block::Block;
use crate::Certify;
use alto_types::{Finalized, Kind, Notarized};
use axum::{
    Router,
    extract::{Path, State, WebSocketUpgrade, ws},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::Encode;
use commonware_consensus::{
    marshal::{core::Mailbox, standard::Standard},
    types::Round,
};
use commonware_cryptography::sha256::Digest;
use commonware_formatting::from_hex;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidewatch_core::Height;
use tokio::sync::{broadcast, watch};

/// Frames that a slow subscriber may be behind before it misses some, as with alto's indexer.
const FRAMES: usize = 1024;
const LATEST: &str = "latest";

/// Blocks and certificates of one validator.
pub(super) type Archive<S> = Mailbox<S, Standard<Block>>;

/// What is served.
pub(super) struct Served<S: Certify> {
    state: Mutex<Newest<S>>,
    frames: broadcast::Sender<Bytes>,
    tip: watch::Sender<Height>,
}

struct Newest<S: Certify> {
    /// By the validators' index.
    archives: BTreeMap<usize, Archive<S>>,
    finalized: Option<Finalized<S>>,
    notarized: Option<Notarized<S>>,
}

impl<S: Certify> Served<S> {
    pub(super) fn new(tip: watch::Sender<Height>) -> Self {
        let (archives, finalized, notarized) = (BTreeMap::new(), None, None);
        let state = Mutex::new(Newest { archives, finalized, notarized });
        Self { state, frames: broadcast::channel(FRAMES).0, tip }
    }

    fn state(&self) -> MutexGuard<'_, Newest<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the archive of the validator at `index`, in place of the one before it.
    pub(super) fn attach(&self, index: usize, archive: Archive<S>) {
        self.state().archives.insert(index, archive);
    }

    /// The marshal of the validator at `index`, if it was attached.
    pub(super) fn archive(&self, index: usize) -> Option<Archive<S>> {
        self.state().archives.get(&index).cloned()
    }

    /// Height of the newest finalized block; 0 before the first.
    pub(super) fn tip(&self) -> Height {
        *self.tip.borrow()
    }

    /// Whether a notarization of `round` would be news.
    pub(super) fn lacks(&self, round: Round) -> bool {
        self.state().notarized.as_ref().is_none_or(|newest| newest.proof.proposal.round < round)
    }

    /// Publishes a finalization that a validator verified, if it is news.
    pub(super) fn finalized(&self, finalized: Finalized<S>) {
        let height = finalized.block.height;
        let mut state = self.state();
        if state.finalized.as_ref().is_some_and(|newest| newest.block.height >= height) {
            return;
        }
        let _ = self.frames.send(frame(Kind::Finalization, &finalized));
        state.finalized = Some(finalized);
        self.tip.send_replace(height);
    }

    /// Publishes a notarization that was verified, if it is news.
    pub(super) fn notarized(&self, notarized: Notarized<S>) {
        let round = notarized.proof.proposal.round;
        let mut state = self.state();
        if state.notarized.as_ref().is_some_and(|newest| newest.proof.proposal.round >= round) {
            return;
        }
        let _ = self.frames.send(frame(Kind::Notarization, &notarized));
        state.notarized = Some(notarized);
    }

    fn archives(&self) -> Vec<Archive<S>> {
        self.state().archives.values().cloned().collect()
    }

    /// The block at `height` with a finalization of its own. Blocks that were finalized through a
    /// descendant have none in most archives, so all of them are asked.
    async fn at(&self, height: Height) -> Option<Finalized<S>> {
        for archive in self.archives() {
            if let Some(finalized) = finalized(&archive, height).await {
                return Some(finalized);
            }
        }
        None
    }

    async fn block(&self, digest: &Digest) -> Option<alto_types::Block> {
        for archive in self.archives() {
            if let Some(block) = archive.get_block(digest).await {
                return Some(block.into_alto());
            }
        }
        None
    }

    /// The routes of alto's indexer that followers read.
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/health", get(|| async { "ok" }))
            .route("/finalization/{query}", get(finalization::<S>))
            .route("/notarization/{query}", get(notarization::<S>))
            .route("/block/{query}", get(block::<S>))
            .route("/consensus/ws", get(subscribe::<S>))
            .with_state(self)
    }
}

/// What `archive` holds at `height`, if it holds both the block and a finalization of it.
pub(super) async fn finalized<S: Certify>(
    archive: &Archive<S>,
    height: Height,
) -> Option<Finalized<S>> {
    let proof = archive.get_finalization(height).await?;
    let block = archive.get_block(height).await?;
    Some(Finalized::new(proof, block.into_alto()))
}

fn frame(kind: Kind, body: &impl Encode) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + body.encode_size());
    frame.put_u8(kind as u8);
    body.write(&mut frame);
    frame.freeze()
}

fn respond(found: Option<impl Encode>) -> Response {
    match found {
        Some(found) => found.encode().to_vec().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// By view there is nothing: a view alone names no certificate of a chain with epochs.
async fn finalization<S: Certify>(
    State(served): State<Arc<Served<S>>>,
    Path(query): Path<String>,
) -> Response {
    respond((query == LATEST).then(|| served.state().finalized.clone()).flatten())
}

async fn notarization<S: Certify>(
    State(served): State<Arc<Served<S>>>,
    Path(query): Path<String>,
) -> Response {
    respond((query == LATEST).then(|| served.state().notarized.clone()).flatten())
}

async fn block<S: Certify>(
    State(served): State<Arc<Served<S>>>,
    Path(query): Path<String>,
) -> Response {
    if query == LATEST {
        return respond(served.state().finalized.clone());
    }
    let Some(bytes) = from_hex(&query) else { return StatusCode::NOT_FOUND.into_response() };
    if let Ok(height) = <[u8; 8]>::try_from(bytes.as_slice()) {
        return respond(served.at(Height::new(u64::from_be_bytes(height))).await);
    }
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(digest) => respond(served.block(&Digest::from(digest)).await),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn subscribe<S: Certify>(
    State(served): State<Arc<Served<S>>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let frames = served.frames.subscribe();
    upgrade.on_upgrade(|socket| push(socket, frames))
}

async fn push(mut socket: ws::WebSocket, mut frames: broadcast::Receiver<Bytes>) {
    loop {
        let frame = match frames.recv().await {
            Ok(frame) => frame,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "a subscriber is slow");
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if socket.send(ws::Message::Binary(frame)).await.is_err() {
            return;
        }
    }
}
