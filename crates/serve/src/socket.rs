//! Whom a WebSocket is given.

use crate::{
    gate::Slot,
    problem::{Code, Problem},
    routes::{App, refused},
    served::Served,
    server::connection::Peer,
};
use axum::{
    extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    response::Response,
};
use commonware_runtime::Clock;
use tokio::sync::OwnedSemaphorePermit;

/// The places that a WebSocket takes: of a connection, and of a stream.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) room: OwnedSemaphorePermit,
    pub(crate) slot: Slot,
}

/// A WebSocket for `peer`, with its places, or why there is none.
pub(crate) fn admitted<E: Clock, L: Served>(
    app: &App<E, L>,
    Peer(peer): Peer,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<(WebSocketUpgrade, Places), Response> {
    let places = || {
        let upgrade =
            upgrade.map_err(|why| Problem::new(Code::UpgradeRequired, why.body_text()))?;
        let room = app.shared.room.clone().try_acquire_owned();
        let room = room.map_err(|_| Problem::new(Code::Full, "too many connections"))?;
        let slot = app.shared.gate.enter(peer.ip(), app.context.current());
        let slot = slot.map_err(|code| Problem::new(code, "too many streams"))?;
        Ok::<_, Problem>((upgrade, Places { room, slot }))
    };
    places().map_err(|problem| refused(&app.shared, problem))
}
