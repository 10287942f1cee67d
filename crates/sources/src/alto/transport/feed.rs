//! Pushes over a WebSocket.

use super::http::detached;
use crate::{alto::AltoError, error::fault, words::excerpt};
use bytes::Bytes;
use futures::StreamExt as _;
use tidewatch_certified::{Feed, Push};
use tidewatch_core::Fault;
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
    fn close(&mut self, error: AltoError) -> Fault {
        self.socket = None;
        fault(&self.name, error)
    }
}

impl Feed for HttpFeed {
    async fn next(&mut self) -> Result<Push, Fault> {
        loop {
            let Some(socket) = &mut self.socket else {
                return Err(self.close(AltoError::Closed));
            };
            return match socket.next().await {
                Some(Ok(Message::Binary(frame))) => {
                    unframe(detached(&frame)).map_err(|error| fault(&self.name, error))
                }
                Some(Ok(Message::Text(text))) => {
                    let shown = excerpt(text.as_bytes());
                    Err(fault(&self.name, AltoError::Text { shown }))
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => Err(self.close(AltoError::ClosedByPeer)),
                Some(Err(Error::Capacity(error))) => {
                    Err(self.close(AltoError::FrameTooLarge(error.to_string())))
                }
                Some(Err(error)) => Err(self.close(AltoError::Lost(error.to_string()))),
            };
        }
    }
}

const SEED: u8 = alto_types::Kind::Seed as u8;
const NOTARIZATION: u8 = alto_types::Kind::Notarization as u8;
const FINALIZATION: u8 = alto_types::Kind::Finalization as u8;

/// Takes the kind off a frame.
pub(in crate::alto) fn unframe(mut frame: Bytes) -> Result<Push, AltoError> {
    if frame.is_empty() {
        return Err(AltoError::EmptyFrame);
    }
    let body = frame.split_off(1);
    match frame[0] {
        SEED => Ok(Push::Irrelevant),
        NOTARIZATION => Ok(Push::Notarization(body)),
        FINALIZATION => Ok(Push::Finalization(body)),
        kind => Err(AltoError::UnknownFrame { kind, bytes: body.len() }),
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
                0 => assert_eq!(unframe(frame).unwrap(), Push::Irrelevant),
                1 => assert_eq!(unframe(frame).unwrap(), Push::Notarization(body.clone())),
                2 => assert_eq!(unframe(frame).unwrap(), Push::Finalization(body.clone())),
                _ => assert!(unframe(frame).unwrap_err().to_string().contains(&kind.to_string())),
            }
        }
        assert!(matches!(unframe(Bytes::new()), Err(AltoError::EmptyFrame)));
        let empty = unframe(Bytes::from_static(&[2])).unwrap();
        assert_eq!(empty, Push::Finalization(Bytes::new()));
    }
}
