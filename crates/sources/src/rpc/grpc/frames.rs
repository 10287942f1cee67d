//! Frames of gRPC-web: messages, and the trailers that end an answer.
//!
//! ```text
//!  0x00, length (4 bytes, the highest first), message     as often as there are messages
//!  0x80, length, "grpc-status:0\r\n" ...                  once, and nothing after it
//! ```

use super::Status;
use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes before what is in a frame.
const HEAD: usize = 5;

/// The bit of a frame that holds trailers. No other bit means anything that is understood here: messages
/// are not compressed.
const TRAILERS: u8 = 0x80;

/// The longest trailers, in bytes.
const TRAILERS_MAX: usize = 16 * 1024;

/// What is wrong with frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A message that is longer than it may be.
    TooLarge,
    /// No frames of gRPC-web.
    Malformed(&'static str),
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Message(Bytes),
    /// How the call ended. Nothing follows.
    End(Status),
}

/// Frames out of bytes as they arrive.
#[derive(Debug)]
pub(super) struct Frames {
    /// The longest message, in bytes.
    max: usize,
    held: BytesMut,
    ended: bool,
}

impl Frames {
    pub(super) fn new(max: usize) -> Self {
        Self { max, held: BytesMut::new(), ended: false }
    }

    /// Takes in what arrived.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Whether there is a part of a frame, or something behind the last one.
    pub(super) fn is_torn(&self) -> bool {
        !self.held.is_empty()
    }

    /// The next frame, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Broken> {
        if self.ended && self.is_torn() {
            return Err(Broken::Malformed("bytes behind the trailers"));
        }
        let Some((head, _)) = self.held.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [flags, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        match flags {
            0 if length > self.max => return Err(Broken::TooLarge),
            TRAILERS if length > TRAILERS_MAX => return Err(Broken::TooLarge),
            0 | TRAILERS => {}
            _ => return Err(Broken::Malformed("a frame of another kind")),
        }
        if self.held.len() - HEAD < length {
            return Ok(None);
        }
        self.held.advance(HEAD);
        let content = self.held.split_to(length).freeze();
        if flags == 0 {
            return Ok(Some(Frame::Message(content)));
        }
        self.ended = true;
        let status = trailers(&content).ok_or(Broken::Malformed("trailers without a status"))?;
        Ok(Some(Frame::End(status)))
    }
}

/// The status in trailers: lines as in HTTP's headers.
fn trailers(text: &[u8]) -> Option<Status> {
    let (mut code, mut message) = (None, &b""[..]);
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"grpc-status") {
            code = Some(value);
        } else if name.eq_ignore_ascii_case(b"grpc-message") {
            message = value;
        }
    }
    Status::read(code?, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::grpc::Code;

    fn frame(flags: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[flags], &length[..], content].concat()
    }

    fn end(text: &str) -> Vec<u8> {
        frame(TRAILERS, text.as_bytes())
    }

    fn read(max: usize, bytes: &[u8], at_once: usize) -> Result<Vec<Frame>, Broken> {
        let (mut frames, mut found) = (Frames::new(max), Vec::new());
        for bytes in bytes.chunks(at_once) {
            frames.feed(bytes);
            while let Some(frame) = frames.next()? {
                found.push(frame);
            }
        }
        assert!(frames.held.len() <= max.max(TRAILERS_MAX) + HEAD);
        Ok(found)
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let bytes = [frame(0, b"one"), frame(0, b""), end("grpc-status:0\r\n")].concat();
        let ok = Status { code: Code::Ok, message: String::new() };
        let want = [
            Frame::Message(Bytes::from_static(b"one")),
            Frame::Message(Bytes::new()),
            Frame::End(ok),
        ];
        for at_once in 1..=bytes.len() {
            assert_eq!(read(3, &bytes, at_once).unwrap(), want, "{at_once}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let ends = end("grpc-status: 0\r\n");
        let table = [
            (frame(0, b"four"), Broken::TooLarge),
            (vec![0, 255, 255, 255, 255], Broken::TooLarge),
            (vec![TRAILERS, 255, 255, 255, 255], Broken::TooLarge),
            (frame(1, b"gz"), Broken::Malformed("a frame of another kind")),
            (b"<html>".to_vec(), Broken::Malformed("a frame of another kind")),
            (end("grpc-message:x\r\n"), Broken::Malformed("trailers without a status")),
            (end("grpc-status:ok\r\n"), Broken::Malformed("trailers without a status")),
            ([ends.clone(), ends].concat(), Broken::Malformed("bytes behind the trailers")),
        ];
        for (bytes, want) in table {
            assert_eq!(read(3, &bytes, bytes.len()).unwrap_err(), want, "{bytes:?}");
        }
    }

    #[test]
    fn trailers_say_how_a_call_ended() {
        let text = "Grpc-Status: 3\r\ngrpc-message:start%20block is%E2%82\r\nother: x\r\n";
        let found = read(0, &end(text), usize::MAX).unwrap();
        let [Frame::End(Status { code: Code::InvalidArgument, message })] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(message, "start block is\\xe2\\x82");
    }
}
