//! The push connection: each newer certificate, as its block becomes durable here.

use super::lookup;
use crate::{routes::App, served::Served, server::connection::Peer, socket::admitted};
use axum::{
    extract::{
        Extension, State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::FutureExt as _;
use std::time::Duration;
use tidewatch_core::BlockRef;

/// Kinds of a frame.
const NOTARIZATION: u8 = 1;
const FINALIZATION: u8 = 2;

/// Longest message of a client, which has nothing to say.
const MESSAGE_MAX: usize = 1_024;

/// Bytes that are read at once.
const READ_BUFFER: usize = 1_024;

/// Time between two pings.
const PING: Duration = Duration::from_secs(20);

/// A client that says nothing for longer, not even to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn connect<E: Clock, L: Served>(
    State(app): State<App<E, L>>,
    Extension(peer): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let (upgrade, places) = match admitted(&app, peer, upgrade) {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    app.shared.metrics.opened();
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX);
    upgrade.on_upgrade(move |socket| async move {
        Pushes { app, socket, finalized: None, notarized: None }.run().await;
        drop(places);
    })
}

struct Pushes<E, L> {
    app: App<E, L>,
    socket: WebSocket,
    /// What was sent last.
    finalized: Option<BlockRef>,
    notarized: Option<BlockRef>,
}

impl<E: Clock, L: Served> Pushes<E, L> {
    /// Until the client leaves or says nothing, the follower has ended, or the server stops.
    async fn run(mut self) {
        let (context, mut beat) = (self.app.context.clone(), self.app.shared.tail.watch());
        let mut heads = self.app.shared.heads.clone();
        let mut heard = context.current();
        let mut ping = heard + PING;
        loop {
            if self.news().await.is_none() {
                return;
            }
            let drained = async { drop(beat.wait_for(|beat| beat.draining).await) };
            let going = select! {
                said = self.socket.recv() => {
                    heard = context.current();
                    matches!(said, Some(Ok(said)) if !matches!(said, Message::Close(_)))
                },
                changed = heads.changed() => changed.is_ok(),
                () = drained.boxed() => false,
                () = context.sleep_until(ping).boxed() => {
                    let now = context.current();
                    ping = now + PING;
                    now.duration_since(heard).unwrap_or_default() < SILENCE
                        && self.socket.send(Message::Ping(Bytes::new())).await.is_ok()
                },
            };
            if !going {
                let _ = self.socket.send(Message::Close(None)).await;
                return;
            }
        }
    }

    /// Sends what is newer than what was sent; `None` once the socket is of no more use.
    async fn news(&mut self) -> Option<()> {
        let shared = self.app.shared.clone();
        // What cannot be read now is sent with the next change.
        if let Ok(Some(proof)) = lookup::latest(&shared).await
            && self.finalized != Some(proof.block)
        {
            let block = proof.block;
            if let Ok(Some(bytes)) = lookup::with_block(&shared, proof).await {
                self.send(FINALIZATION, &bytes).await?;
                self.finalized = Some(block);
            }
        }
        if let Some(proof) = shared.observer.notarized()
            && self.notarized != Some(proof.block)
        {
            let block = proof.block;
            if let Ok(Some(bytes)) = lookup::with_block(&shared, proof).await {
                self.send(NOTARIZATION, &bytes).await?;
                self.notarized = Some(block);
            }
        }
        Some(())
    }

    async fn send(&mut self, kind: u8, bytes: &Bytes) -> Option<()> {
        let mut frame = BytesMut::with_capacity(1 + bytes.len());
        frame.put_u8(kind);
        frame.put_slice(bytes);
        self.socket.send(Message::Binary(frame.freeze())).await.ok()
    }
}
