//! The server's side of gRPC: calls of one message that is answered with one.
//!
//! ```text
//!  POST /SERVICE/METHOD      content-type: application/grpc      HTTP/2
//!  0x00, length (4 bytes, the highest first), message
//! ```
//!
//! The answer is 200 with a message in the same form and how the call ended in the trailers, or that alone in the
//! headers. Messages are not compressed.

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, Request, StatusCode, Version,
        header::{CONTENT_TYPE, HeaderName},
    },
    response::{IntoResponse, Response},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use hyper::body::Frame;
use std::{
    convert::Infallible,
    fmt::Write as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Bytes before a message.
const HEAD: usize = 5;
/// Longest text of a status that is sent, in bytes before it is encoded.
const TEXT_MAX: usize = 500;
const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ENCODINGS: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// How a call failed: those codes of gRPC that are answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// Name in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

/// How a call failed, and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Status {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, CONTENT);
        headers.insert(STATUS, HeaderValue::from(self.code as u16));
        if let Ok(text) = HeaderValue::try_from(encoded(&self.text)) {
            headers.insert(MESSAGE, text);
        }
        if self.code == Code::Unimplemented {
            headers.insert(ENCODINGS, HeaderValue::from_static("identity"));
        }
        response
    }
}

/// `text` as it stands in a header: what is not plain is written as `%` and two digits.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes().take(TEXT_MAX) {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// Whether `headers` are those of a call.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = content.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long the caller waits, if it says so. What is no duration counts as not said.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// What is no call of gRPC, as an answer of HTTP: none of gRPC would be understood.
pub(super) fn no_call(request: &Request<Body>) -> Option<Response> {
    if !is_call(request.headers()) {
        let text = "application/grpc is expected";
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response());
    }
    (request.version() != Version::HTTP_2).then(|| {
        (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC is spoken over HTTP/2").into_response()
    })
}

/// The one message of a call, of `max` bytes at the most. Nothing beyond that is read.
///
/// # Errors
///
/// `RESOURCE_EXHAUSTED`: it is longer. `UNIMPLEMENTED`: it is compressed. `INVALID_ARGUMENT`: it is none.
/// `UNAVAILABLE`: it broke off.
pub(super) async fn message(request: Request<Body>, max: usize) -> Result<Bytes, Status> {
    let encoding = request.headers().get(ENCODING);
    let plain = encoding.is_none_or(|encoding| encoding == "identity");
    let mut body = request.into_body().into_data_stream();
    let (mut held, mut whole) = (BytesMut::new(), false);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Status::new(Code::Unavailable, "the call broke off"))?;
        held.extend_from_slice(&chunk);
        whole = is_whole(&held, plain, max)?;
    }
    if !whole {
        return Err(Status::new(Code::InvalidArgument, "no whole message"));
    }
    Ok(held.split_off(HEAD).freeze())
}

/// Whether what has arrived is the message, and no less.
///
/// # Errors
///
/// As of [`message`].
fn is_whole(held: &[u8], plain: bool, max: usize) -> Result<bool, Status> {
    let invalid = |text| Err(Status::new(Code::InvalidArgument, text));
    let Some(([flags, length @ ..], rest)) = held.split_first_chunk::<HEAD>() else {
        return Ok(false);
    };
    match flags {
        0 => {}
        1 if !plain => {
            let text = "messages are not compressed here";
            return Err(Status::new(Code::Unimplemented, text));
        }
        _ => return invalid("no frame of gRPC"),
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > max {
        let text = format!("a message of {length} bytes, of {max} at the most");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    if rest.len() > length {
        return invalid("more than one message");
    }
    Ok(rest.len() == length)
}

/// A call that succeeded with `message`.
pub(super) fn answer(message: &[u8]) -> Response {
    let mut framed = BytesMut::with_capacity(HEAD + message.len());
    framed.put_u8(0);
    // What is answered is bounded far below that by whoever made it.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    let mut response = Response::new(Body::new(Answer(Some(framed.freeze()), false)));
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    response
}

/// One message and the trailers of success.
struct Answer(Option<Bytes>, bool);

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(None);
        }
        let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_timeout_is_read_in_each_unit_and_nothing_else_is() {
        for (text, want) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("10S", Some(Duration::from_secs(10))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("+1S", None),
            ("1s", None),
            ("1.5S", None),
            ("10", None),
        ] {
            assert_eq!(timeout(&headers(TIMEOUT, text)), want, "{text}");
        }
        let latin = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_bytes(b"1\xe9").unwrap())]);
        assert_eq!(timeout(&latin), None);
    }

    #[test]
    fn only_grpc_is_grpc() {
        for (text, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call(&headers(CONTENT_TYPE, text)), want, "{text}");
        }
    }

    #[test]
    fn a_text_is_plain_and_bounded_in_a_header() {
        assert_eq!(encoded("no: 100%\n\u{e9}"), "no: 100%25%0A%C3%A9");
        assert_eq!(encoded(&"\n".repeat(10_000)).len(), 3 * TEXT_MAX);
    }

    /// The message in chunks of a body, however they are cut.
    async fn read(bytes: &[u8], at_once: usize, encoding: Option<&str>) -> Result<Bytes, Code> {
        let chunks: Vec<_> = bytes.chunks(at_once).map(Bytes::copy_from_slice).collect();
        let chunks = futures::stream::iter(chunks.into_iter().map(Ok::<_, Infallible>));
        let mut request = Request::new(Body::from_stream(chunks));
        if let Some(encoding) = encoding {
            *request.headers_mut() = headers(ENCODING, encoding);
        }
        message(request, 3).await.map_err(|status| status.code)
    }

    #[test]
    fn one_message_is_read_and_what_is_none_refused() {
        futures::executor::block_on(async {
            for at_once in 1..=8 {
                let one = read(b"\0\0\0\0\x03one", at_once, None).await;
                assert_eq!(one.unwrap(), "one", "{at_once}");
            }
            assert_eq!(read(b"\0\0\0\0\0", 9, Some("identity")).await.unwrap(), "");
            for (bytes, encoding, code) in [
                (&b""[..], None, Code::InvalidArgument),
                (b"\0\0\0\0\x03on", None, Code::InvalidArgument),
                (b"\0\0\0\0\x03ones", None, Code::InvalidArgument),
                (b"\0\0\0\0\x03one\0\0\0\0\0", None, Code::InvalidArgument),
                (b"\0\0\0\0\x04four", None, Code::ResourceExhausted),
                (b"\0\xff\xff\xff\xff", None, Code::ResourceExhausted),
                (b"\x01\0\0\0\x01x", Some("gzip"), Code::Unimplemented),
                (b"\x01\0\0\0\x01x", None, Code::InvalidArgument),
                (b"\x80\0\0\0\x01x", Some("gzip"), Code::InvalidArgument),
                (b"GET / HTTP", None, Code::InvalidArgument),
            ] {
                assert_eq!(read(bytes, 1, encoding).await, Err(code), "{bytes:?}");
            }
        });
    }
}
