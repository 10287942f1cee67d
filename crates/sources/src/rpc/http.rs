//! Requests over HTTP.

use super::{
    Answer, Call, Config, Endpoint, NodeError, Rate, Rpc, Unanswered,
    spoken::{self, Ids, Odd, first_byte},
};
use crate::{
    error::fault,
    tls,
    words::{causes, excerpt},
};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER},
};
use reqwest::Client;
#[cfg(feature = "ethereum")]
use reqwest::RequestBuilder;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::Fault;
use url::Url;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A node that is asked over HTTP. Connections are kept and used again.
pub struct HttpRpc {
    pub(super) url: Url,
    pub(super) rate: Rate,
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) headers: HeaderMap,
    sign: Option<Arc<Sign>>,
    config: Config,
}

/// Makes the authorization of one request.
type Sign = dyn Fn() -> HeaderValue + Send + Sync;

impl fmt::Debug for HttpRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRpc").field("name", &self.name).finish_non_exhaustive()
    }
}

impl HttpRpc {
    /// Sets up for `endpoint`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// `Setting`: no client can be made for such an address, or no TLS can be set up.
    pub fn new(endpoint: &Endpoint, config: &Config) -> Result<Self, Fault> {
        let name = endpoint.to_string();
        let tls = endpoint.is_secure().then(tls::config).transpose();
        let tls = tls.map_err(|error| fault(&name, NodeError::Tls(error)))?;
        let client = tls::client(config.request_timeout, config.lanes.get(), tls)
            .map_err(|_| fault(&name, NodeError::Address))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, JSON);
        if let Some(authorization) = endpoint.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        let (url, rate) = (endpoint.bare(), endpoint.rate());
        Ok(Self { url, rate, name, client, headers, sign: None, config: config.clone() })
    }

    /// The same, with an authorization that is made anew for each request.
    #[must_use]
    pub fn signed(self, sign: impl Fn() -> HeaderValue + Send + Sync + 'static) -> Self {
        Self { sign: Some(Arc::new(sign)), ..self }
    }

    async fn ask(&self, calls: &[Call]) -> Result<Vec<Option<Answer>>, Refused> {
        let ids = Ids { first: 0, calls: calls.len() };
        let body = spoken::request(ids.first, calls)?;
        let mut headers = self.headers.clone();
        if let Some(sign) = &self.sign {
            headers.insert(AUTHORIZATION, sign());
        }
        let request = self.client.post(self.url.clone()).headers(headers);
        let response = request.body(body).send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, self.config.longest(calls)).await?;
        admit(status, &headers, &body, ids)
    }
}

impl Rpc for HttpRpc {
    fn name(&self) -> &str {
        &self.name
    }

    fn rate(&self) -> Rate {
        self.rate
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let answers = self.ask(calls).await;
        whole(&self.name, answers.map_err(|refused| refused.named(&self.name))?)
    }
}

/// The response to a request that is no JSON-RPC, if it was admitted.
///
/// # Errors
///
/// Why there is none.
#[cfg(feature = "ethereum")]
pub(crate) async fn admitted(request: RequestBuilder) -> Result<reqwest::Response, NodeError> {
    const SAID_MAX: usize = 64 * 1024;
    let response = request.send().await.map_err(|error| failed(error).error)?;
    let (status, headers) = (response.status(), response.headers().clone());
    if status.is_success() {
        return Ok(response);
    }
    let body = read(response, SAID_MAX).await.unwrap_or_default();
    let other = || NodeError::Status { status: said(status, &body) };
    Err(turned_away(status, &headers, &body).map_or_else(other, |refused| refused.error))
}

/// The body of the response to a request that is no JSON-RPC, of at most `max` bytes.
///
/// # Errors
///
/// Why there is none.
#[cfg(feature = "ethereum")]
pub(crate) async fn get(request: RequestBuilder, max: usize) -> Result<Vec<u8>, NodeError> {
    read(admitted(request).await?, max).await.map_err(|refused| refused.error)
}

/// Reads a body of at most `max` bytes, whatever its header says.
async fn read(mut response: reqwest::Response, max: usize) -> Result<Vec<u8>, Refused> {
    let oversized = || Refused::from(NodeError::TooLarge { max }).too_many();
    let announced = response.content_length().unwrap_or_default();
    let announced = usize::try_from(announced).ok().filter(|length| *length <= max);
    let mut body = Vec::with_capacity(announced.ok_or_else(oversized)?);
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > max {
            return Err(oversized());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn failed(error: reqwest::Error) -> Refused {
    if error.is_timeout() {
        return Refused::from(NodeError::Late).too_many();
    }
    NodeError::Unreachable(causes(&error.without_url())).into()
}

/// Why a request has no answers, before it is said whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) error: NodeError,
    pub(super) what: Refusal,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing that is known here.
    Plain,
    /// Fewer calls.
    TooMany,
    /// To wait, for as long as was said.
    Busy(Option<Duration>),
}

impl From<NodeError> for Refused {
    fn from(error: NodeError) -> Self {
        Self { error, what: Refusal::Plain }
    }
}

impl Refused {
    pub(super) fn too_many(self) -> Self {
        Self { what: Refusal::TooMany, ..self }
    }

    pub(super) fn named(self, name: &str) -> Unanswered {
        let fault = fault(name, self.error);
        match self.what {
            Refusal::Plain => Unanswered::Fault(fault),
            Refusal::TooMany => Unanswered::TooMany(fault),
            Refusal::Busy(after) => Unanswered::Busy { fault: Box::new(fault), after },
        }
    }
}

/// All `answers`, if none is left out.
pub(super) fn whole(name: &str, answers: Vec<Option<Answer>>) -> Result<Vec<Answer>, Unanswered> {
    let (got, want) = (answers.iter().flatten().count(), answers.len());
    if got == want {
        return Ok(answers.into_iter().flatten().collect());
    }
    let error = answers.iter().flatten().find_map(|answer| answer.as_ref().err());
    let error =
        error.map_or(NodeError::AnswerCount { got, want }, |error| NodeError::Batch(error.clone()));
    Err(Unanswered::Part { fault: Box::new(fault(name, error)), answers })
}

fn said(status: StatusCode, body: &[u8]) -> String {
    match excerpt(body) {
        said if said.is_empty() => status.to_string(),
        said => format!("{status}: {said}"),
    }
}

/// Why a server does not look at a request, if its status says so.
pub(super) fn turned_away(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Refused> {
    let said = || said(status, body);
    let after = after(headers);
    Some(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            NodeError::Denied { status: said(), at: date(headers) }.into()
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Refused { error: NodeError::Limited { status: said() }, what: Refusal::Busy(after) }
        }
        StatusCode::SERVICE_UNAVAILABLE if after.is_some() => {
            Refused { error: NodeError::Status { status: said() }, what: Refusal::Busy(after) }
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refused::from(NodeError::Status { status: said() }).too_many()
        }
        _ => return None,
    })
}

/// What an answer over HTTP says to the calls of `ids`.
fn admit(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    ids: Ids,
) -> Result<Vec<Option<Answer>>, Refused> {
    if let Some(refused) = turned_away(status, headers, body) {
        return Err(refused);
    }
    let said = || said(status, body);
    let failed = !status.is_success();
    let refused = |error| {
        let refused = Refused::from(error);
        // Some refuse a batch for its length with no more than a status of their own.
        if failed && ids.calls > 1 && is_about_the_request(status) {
            refused.too_many()
        } else {
            refused
        }
    };
    if !matches!(first_byte(body), Some(b'{' | b'[')) {
        return Err(refused(if failed {
            NodeError::Status { status: said() }
        } else {
            let content = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let content = content.map_or_else(|| "no content type".into(), excerpt);
            NodeError::NotJson { content, shown: excerpt(body) }
        }));
    }
    match spoken::answers(body, ids) {
        Ok(answers) => Ok(answers),
        Err(Odd::Whole(error)) => {
            let error = NodeError::Request { status: status.to_string(), said: error.to_string() };
            Err(Refused::from(error).too_many())
        }
        Err(_) if failed => Err(refused(NodeError::Status { status: said() })),
        Err(odd) => Err(Refused::odd(odd, ids)),
    }
}

/// How long a server wants to be left alone: in seconds, or until a date by its own clock, which its answer
/// says, too. Ours may be another.
pub(super) fn after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(after).ok()?;
    Some(until.duration_since(date(headers)?).unwrap_or_default())
}

/// The time by the server's own clock, in whole seconds.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?.trim()).ok()
}

/// Whether a status may be about the length of a request.
fn is_about_the_request(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::NOT_FOUND
        || status == StatusCode::INTERNAL_SERVER_ERROR
        || status == StatusCode::NOT_IMPLEMENTED
}

impl Refused {
    /// For an answer that is none.
    pub(super) fn odd(odd: Odd, ids: Ids) -> Self {
        match odd {
            Odd::Whole(error) => Self::from(NodeError::Batch(error)).too_many(),
            Odd::OneForAll => {
                Self::from(NodeError::AnswerCount { got: 1, want: ids.calls }).too_many()
            }
            Odd::Strange => NodeError::Strange { calls: ids.calls }.into(),
            Odd::Unreadable(error) => NodeError::NotJsonRpc(error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::FaultKind;

    const IDS: Ids = Ids { first: 1, calls: 2 };

    fn admit(status: u16, content: &str, body: &str) -> Result<Vec<Option<Answer>>, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content.parse().unwrap());
        super::admit(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), IDS)
    }

    #[test]
    fn answers_are_answers_whatever_the_status() {
        let body = r#"[{"id":1,"result":"x"},{"id":2,"error":{"code":1,"message":""}}]"#;
        for status in [200, 400, 404, 500] {
            let answers = admit(status, "application/json", body).unwrap();
            assert!(matches!(&answers[..], [Some(Ok(_)), Some(Err(_))]), "{status}");
        }
    }

    #[test]
    fn what_is_not_an_answer_is_refused_with_its_kind_and_the_words_of_the_node() {
        use FaultKind::{Malformed, Unavailable, UnexpectedContent};
        use Refusal::{Busy, Plain, TooMany};
        let error = r#"{"jsonrpc":"2.0","error":{"code":-32010,"message":"too large"},"id":null}"#;
        let table = [
            (200, "text/html", "<html>busy</html>", UnexpectedContent, Plain, "busy"),
            (200, "application/json", "", UnexpectedContent, Plain, "application/json"),
            (200, "application/json", "\"x\"", UnexpectedContent, Plain, "x"),
            (200, "application/json", r#"{"id":1,"resu"#, Malformed, Plain, "not JSON-RPC"),
            (200, "application/json", r#"[{"id":1,"result":1}"#, Malformed, Plain, "EOF"),
            (200, "application/json", r#"[{"id":1,"result":1},7]"#, Malformed, Plain, "7"),
            (200, "application/json", r#"[{"id":4,"result":1}]"#, Malformed, Plain, "no call"),
            (200, "application/json", error, Unavailable, TooMany, "too large"),
            (400, "application/json", error, Unavailable, TooMany, "too large"),
            (400, "text/plain", "batch limit 3", Unavailable, TooMany, "batch limit 3"),
            (500, "text/plain", "too long", Unavailable, TooMany, "500"),
            (404, "text/plain", "what?", Unavailable, Plain, "404"),
            (413, "text/plain", "too large", Unavailable, TooMany, "too large"),
            (401, "application/json", error, Unavailable, Plain, "user, password"),
            (403, "text/html", "<html>", Unavailable, Plain, "user, password"),
            (429, "application/json", error, Unavailable, Busy(None), "too large"),
            (301, "text/html", "<html>", Unavailable, Plain, "301"),
            (502, "text/html", "<html>bad gateway</html>", Unavailable, Plain, "502"),
            (503, "application/json", r#"{"id":1,"resu"#, Unavailable, Plain, "503"),
        ];
        for (status, content, body, kind, what, words) in table {
            let refused = admit(status, content, body).expect_err(body);
            assert_eq!((refused.error.kind(), refused.what), (kind, what), "{status} {body}");
            assert!(refused.error.to_string().contains(words), "{status} {body}: {refused:?}");
        }
    }

    #[test]
    fn who_says_when_to_come_back_is_heard() {
        let seconds = |seconds| Refusal::Busy(Some(Duration::from_secs(seconds)));
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        let table = [
            (429, "60", None, seconds(60)),
            (503, "7", None, seconds(7)),
            // A date, in the three forms that RFC 9110 has for one, by the server's own clock.
            (429, "Sun, 06 Nov 1994 08:50:07 GMT", Some(now), seconds(30)),
            (429, "Sunday, 06-Nov-94 08:50:07 GMT", Some(now), seconds(30)),
            (503, "Sun Nov  6 08:50:07 1994", Some(now), seconds(30)),
            (503, "Sun, 06 Nov 1994 08:49:00 GMT", Some(now), seconds(0)),
            (429, "Sun, 06 Nov 1994 08:50:07 GMT", None, Refusal::Busy(None)),
            (429, "Sun, 06 Nov 1994 08:50:07 GMT", Some("noon"), Refusal::Busy(None)),
            (429, "Sun, 99 Nov 1994 08:50:07 GMT", Some(now), Refusal::Busy(None)),
            (429, "soon", Some(now), Refusal::Busy(None)),
            (429, "99999999999999999999999", None, Refusal::Busy(None)),
            (503, "soon", None, Refusal::Plain),
        ];
        for (status, after, date, want) in table {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, after.parse().unwrap())]);
            headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
            let status = StatusCode::from_u16(status).unwrap();
            let refused = super::admit(status, &headers, b"", IDS).unwrap_err();
            assert_eq!(refused.what, want, "{status} {after} {date:?}");
        }
    }

    #[test]
    fn what_is_shown_of_a_page_is_short_and_printable() {
        let page = format!("<html>\u{1b}[2J{}", "x".repeat(10_000));
        let shown = admit(200, "text/html", &page).unwrap_err().error.to_string();
        assert!(shown.len() < 200, "{}", shown.len());
        assert!(shown.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
    }
}
