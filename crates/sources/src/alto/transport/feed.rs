//! Pushes over a WebSocket.

use super::http::detached;
use crate::words::excerpt;
use bytes::Bytes;
use futures::StreamExt as _;
use tidewatch_certified::{Feed, Push};
use tidewatch_core::{Fault, FaultKind};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message},
};

/// An open WebSocket to an indexer. Dropping it closes the socket.
#[derive(Debug)]
pub struct HttpFeed {
    name: String,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
}

impl HttpFeed {
    pub(super) const fn new(
        name: String,
        socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ) -> Self {
        Self { name, socket: Some(socket) }
    }

    /// Closes the socket: what follows an error of the protocol cannot be told from noise.
    fn close(&mut self, kind: FaultKind, detail: impl std::fmt::Display) -> Fault {
        self.socket = None;
        kind.fault(&self.name, detail)
    }
}

impl Feed for HttpFeed {
    async fn next(&mut self) -> Result<Push, Fault> {
        loop {
            let Some(socket) = &mut self.socket else {
                return Err(self.close(FaultKind::Unreachable, "the push connection is closed"));
            };
            return match socket.next().await {
                Some(Ok(Message::Binary(frame))) => unframe(detached(&frame))
                    .map_err(|why| FaultKind::Malformed.fault(&self.name, why)),
                Some(Ok(Message::Text(text))) => {
                    let shown = excerpt(text.as_bytes());
                    let detail = format_args!("a pushed text instead of a frame: {shown}");
                    Err(FaultKind::UnexpectedContent.fault(&self.name, detail))
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => {
                    Err(self
                        .close(FaultKind::Unreachable, "the indexer closed the push connection"))
                }
                Some(Err(Error::Capacity(error))) => {
                    Err(self.close(FaultKind::Oversized, format_args!("a pushed frame: {error}")))
                }
                Some(Err(error)) => {
                    let detail = format_args!("the push connection was lost: {error}");
                    Err(self.close(FaultKind::Unreachable, detail))
                }
            };
        }
    }
}

const SEED: u8 = alto_types::Kind::Seed as u8;
const NOTARIZATION: u8 = alto_types::Kind::Notarization as u8;
const FINALIZATION: u8 = alto_types::Kind::Finalization as u8;

/// Takes the kind off a frame.
pub(in crate::alto) fn unframe(mut frame: Bytes) -> Result<Push, String> {
    if frame.is_empty() {
        return Err("an empty frame".into());
    }
    let body = frame.split_off(1);
    match frame[0] {
        SEED => Ok(Push::Irrelevant),
        NOTARIZATION => Ok(Push::Notarization(body)),
        FINALIZATION => Ok(Push::Finalization(body)),
        kind => Err(format!("a frame of unknown kind {kind} and {} bytes", body.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_first_byte_and_any_other_is_refused() {
        let body = Bytes::from_static(b"body");
        for kind in 0..=u8::MAX {
            let frame = Bytes::from([&[kind][..], &body].concat());
            match kind {
                0 => assert_eq!(unframe(frame), Ok(Push::Irrelevant)),
                1 => assert_eq!(unframe(frame), Ok(Push::Notarization(body.clone()))),
                2 => assert_eq!(unframe(frame), Ok(Push::Finalization(body.clone()))),
                _ => assert!(unframe(frame).unwrap_err().contains(&kind.to_string())),
            }
        }
        assert_eq!(unframe(Bytes::new()), Err("an empty frame".into()));
        assert_eq!(unframe(Bytes::from_static(&[2])), Ok(Push::Finalization(Bytes::new())));
    }
}
