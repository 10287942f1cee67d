//! What is refused of an HTTP answer before anybody parses it, and what is mended.
//!
//! The client sees a JSON-RPC answer or nothing: by itself it would drop the body of an answer whose
//! status is not a success, where nodes say what was wrong, and call an HTML page a parse error.

use super::NodeError;
use crate::words::excerpt;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jsonrpsee::{
    core::{BoxError, http_helpers::HttpError},
    http_client::{HttpBody, HttpRequest, HttpResponse, transport::Error as TransportError},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Why an answer was not let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub(super) struct Refused {
    pub(super) error: NodeError,
    /// The request as a whole was too much: a smaller one may be answered.
    pub(super) too_many: bool,
}

impl Refused {
    const fn new(error: NodeError) -> Self {
        Self { error, too_many: false }
    }

    fn status(status: StatusCode) -> Self {
        Self::new(NodeError::Status { status: status.to_string() })
    }

    fn too_many(self) -> Self {
        Self { too_many: true, ..self }
    }
}

/// One answer of JSON-RPC, as far as it matters here.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// An answer without a result, as some nodes answer for what they do not have.
#[derive(Serialize)]
struct Whole<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
}

impl<'a> Whole<'a> {
    fn of(reply: &Reply<'a>) -> Self {
        let Reply { id, result, error } = *reply;
        let result = result.or(if error.is_none() { Some(RawValue::NULL) } else { None });
        Self { jsonrpc: "2.0", id, error, result }
    }
}

impl Reply<'_> {
    const fn is_whole(&self) -> bool {
        self.result.is_some() || self.error.is_some()
    }
}

/// The bytes that the client is to parse of an answer.
pub(super) fn admit(
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Bytes, Refused> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Refused::new(NodeError::Denied { status: status.to_string() }));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            return Err(Refused::new(NodeError::Limited { status: status.to_string() }));
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Refused::status(status).too_many());
        }
        _ => {}
    }
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => one(status, body),
        Some(b'[') => many(status, body),
        _ if status.is_success() => {
            let content = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
            let content = content.map_or_else(|| "no content type".into(), excerpt);
            Err(Refused::new(NodeError::NotJson { content, shown: excerpt(&body) }))
        }
        _ => Err(Refused::status(status)),
    }
}

fn malformed(status: StatusCode, error: &serde_json::Error) -> Refused {
    if status.is_success() {
        // The error may repeat what it is about, at any length.
        let error = excerpt(error.to_string().as_bytes());
        Refused::new(NodeError::NotJsonRpc(error))
    } else {
        Refused::status(status)
    }
}

fn one(status: StatusCode, body: Bytes) -> Result<Bytes, Refused> {
    let reply: Reply<'_> = serde_json::from_slice(&body).map_err(|e| malformed(status, &e))?;
    if let (None, Some(error)) = (reply.id, reply.error) {
        // About the request, not about a call in it. Most often it was too large a batch.
        let (status, said) = (status.to_string(), excerpt(error.get().as_bytes()));
        return Err(Refused::new(NodeError::Request { status, said }).too_many());
    }
    if reply.is_whole() {
        return Ok(body);
    }
    mended(&Whole::of(&reply))
}

fn many(status: StatusCode, body: Bytes) -> Result<Bytes, Refused> {
    let replies: Vec<Reply<'_>> =
        serde_json::from_slice(&body).map_err(|error| malformed(status, &error))?;
    if replies.iter().all(Reply::is_whole) {
        return Ok(body);
    }
    let whole: Vec<_> = replies.iter().map(Whole::of).collect();
    mended(&whole)
}

fn mended(answer: &impl Serialize) -> Result<Bytes, Refused> {
    serde_json::to_vec(answer)
        .map(Bytes::from)
        .map_err(|error| Refused::new(NodeError::Params(error.to_string())))
}

/// Puts the guard around a client's connections. `answer_max` is in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuardLayer {
    pub(super) answer_max: u32,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, answer_max: self.answer_max as usize }
    }
}

/// Lets through answers that are JSON-RPC.
#[derive(Clone, Debug)]
pub(super) struct Guard<S> {
    inner: S,
    answer_max: usize,
}

impl<S, B> Service<HttpRequest> for Guard<S>
where
    S: Service<HttpRequest, Response = HttpResponse<B>, Error = TransportError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = HttpResponse;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<HttpResponse, TransportError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let (answer, answer_max) = (self.inner.call(request), self.answer_max);
        Box::pin(async move {
            let (parts, body) = answer.await?.into_parts();
            let body = Limited::new(body, answer_max).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let error = NodeError::TooLarge { max: answer_max };
                    return stopped(Refused::new(error).too_many());
                }
                TransportError::Http(HttpError::Stream(error))
            })?;
            let body = admit(parts.status, &parts.headers, body.to_bytes()).map_err(stopped)?;
            Ok(HttpResponse::new(HttpBody::from(Vec::from(body))))
        })
    }
}

fn stopped(refused: Refused) -> TransportError {
    TransportError::Http(HttpError::Stream(Box::new(refused)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::FaultKind;

    fn admit(status: u16, content: &str, body: &str) -> Result<String, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content.parse().unwrap());
        let body = Bytes::from(body.to_owned());
        let admitted = super::admit(StatusCode::from_u16(status).unwrap(), &headers, body)?;
        Ok(String::from_utf8(admitted.to_vec()).unwrap())
    }

    #[test]
    fn answers_go_through_as_they_are_whatever_the_status() {
        let json = "application/json";
        let bodies = [
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1,2]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}"#,
            r#" [{"jsonrpc":"2.0","id":1,"result":"x"},{"id":2,"error":{"code":1,"message":""}}]"#,
            "[]",
        ];
        for body in bodies {
            for status in [200, 400, 404, 500] {
                assert_eq!(admit(status, json, body).as_deref(), Ok(body));
            }
        }
    }

    #[test]
    fn an_answer_without_a_result_is_one_that_says_null() {
        let null = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
        assert_eq!(admit(200, "", r#"{"jsonrpc":"2.0","id":1}"#).as_deref(), Ok(null));
        assert_eq!(admit(200, "", null).as_deref(), Ok(null));
        let mended = admit(200, "", r#"[{"id":1},{"id":2,"result":7}]"#).unwrap();
        assert_eq!(mended, format!("[{null},{}]", r#"{"jsonrpc":"2.0","id":2,"result":7}"#));
    }

    #[test]
    fn what_is_not_an_answer_is_refused_with_its_kind() {
        use FaultKind::{Malformed, Unavailable, UnexpectedContent};
        let error = r#"{"jsonrpc":"2.0","error":{"code":-32010,"message":"too large"},"id":null}"#;
        let table = [
            (200, "text/html", "<html>busy</html>", UnexpectedContent, false),
            (200, "application/json", "", UnexpectedContent, false),
            (200, "application/json", "\"x\"", UnexpectedContent, false),
            (200, "application/json", r#"{"jsonrpc":"2.0","id":1,"resu"#, Malformed, false),
            (200, "application/json", r#"[{"id":1,"result":1}"#, Malformed, false),
            (200, "application/json", r#"[{"id":1,"result":1},7]"#, Malformed, false),
            (200, "application/json", error, Unavailable, true),
            (400, "application/json", error, Unavailable, true),
            (413, "text/plain", "too large", Unavailable, true),
            (401, "application/json", error, Unavailable, false),
            (403, "text/html", "<html>", Unavailable, false),
            (429, "application/json", error, Unavailable, false),
            (301, "text/html", "<html>", Unavailable, false),
            (502, "text/html", "<html>bad gateway</html>", Unavailable, false),
            (503, "application/json", r#"{"id":1,"resu"#, Unavailable, false),
        ];
        for (status, content, body, kind, too_many) in table {
            let refused = admit(status, content, body).expect_err(body);
            assert_eq!(
                (refused.error.kind(), refused.too_many),
                (kind, too_many),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn what_is_shown_of_a_page_is_short_and_printable() {
        let page = format!("<html>\u{1b}[2J{}", "x".repeat(10_000));
        let refused = admit(200, "text/html", &page).unwrap_err();
        let detail = refused.to_string();
        assert!(detail.len() < 200, "{}", detail.len());
        assert!(detail.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
    }
}
