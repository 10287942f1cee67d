//! gRPC-web over HTTP/1.1, for nodes that answer nothing else.
//!
//! # Overview
//!
//! One message is one request, `POST /SERVICE/METHOD`; the answer is frames ([`frames`]), or headers alone
//! where the call failed at once. A message travels through the rest of this module's [parent](crate::rpc) as
//! base64 in the one parameter of a [`Call`], and in its answer: so the budget, the deadlines, the counting
//! and the fail-over that hold for JSON-RPC hold here. There are no batches: whoever makes an
//! [`Upstreams`](super::Upstreams) of such nodes sets [`Config::batch_max`] to one.
//!
//! A call with a second parameter, a number, is of a method that streams: that many messages are read and the
//! rest is left. The answer is a list, which ends early once it is as large as may be kept, or once half of
//! the time for it is over.
//!
//! # Bounds
//!
//! A message is as long as [`Call::answer_max`], and 16 KiB of trailers; no frame is compressed.
//!
//! # What a status means
//!
//! | status | what follows |
//! |---|---|
//! | `RESOURCE_EXHAUSTED`, `UNAVAILABLE` | the node is asked later: a fault of the endpoint |
//! | `UNAUTHENTICATED`, `PERMISSION_DENIED` | credentials are wrong: likewise |
//! | any other but `OK` | an error in answer to the call |
//!
//! A stream that is refused is an error in answer to the call whatever the status says: what is streamed can be had
//! otherwise.

mod frames;
mod status;

#[cfg(test)]
mod tests;

pub(crate) use status::{Code, Status};

use super::{
    Answer, Call, Config, Endpoint, FOR_EVER, HttpRpc, NodeError, Rate, Rpc, RpcError, Unanswered,
    http::{Refusal, Refused, after, failed, turned_away},
    read,
};
use crate::{error::fault, words::excerpt};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use bytes::Bytes;
use commonware_runtime::Clock;
use frames::{Broken, Frame, Frames};
use futures::stream::{BoxStream, StreamExt as _, try_unfold};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, value::to_raw_value};
use std::{fmt, future::Future, time::Duration};
use tidewatch_core::{Fault, within};

/// What requests are, and answers.
const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");

/// Bytes of an answer that is none that are read, to be shown.
const SHOWN: usize = 4 * 1024;

/// A call of `method` with a `message`.
pub(crate) fn call(method: &'static str, message: &[u8]) -> Call {
    Call::new(method, vec![Value::String(BASE64.encode(message))])
}

/// A call of a `method` that streams, of which `count` messages are read at the most.
pub(crate) fn streamed(method: &'static str, message: &[u8], count: usize) -> Call {
    Call::new(method, vec![Value::String(BASE64.encode(message)), count.into()])
}

/// The message of a call.
pub(crate) fn message(call: &Call) -> Option<Vec<u8>> {
    BASE64.decode(call.params.first()?.as_str()?).ok()
}

/// How many messages are read, where the call is of a method that streams.
pub(crate) fn count(call: &Call) -> Option<usize> {
    usize::try_from(call.params.get(1)?.as_u64()?).ok()
}

/// A message as the answer to a call.
pub(crate) fn answer(message: &[u8]) -> Answer {
    written(&BASE64.encode(message))
}

/// Messages as the answer to a call of a method that streams.
pub(crate) fn answers(messages: &[Bytes]) -> Answer {
    written(&messages.iter().map(|message| BASE64.encode(message)).collect::<Vec<_>>())
}

fn written(value: &impl serde::Serialize) -> Answer {
    to_raw_value(value).map_err(|error| RpcError { code: 0, message: error.to_string() })
}

/// The message in `answer`. `what` names what was asked for.
///
/// # Errors
///
/// As of [`read`].
pub(crate) fn answered(
    name: &str,
    what: &dyn fmt::Display,
    answer: &Answer,
) -> Result<Vec<u8>, Fault> {
    decoded(name, what, &read::<String>(name, what, answer)?)
}

/// The messages in `answer`, to a call of a method that streams.
///
/// # Errors
///
/// As of [`read`].
pub(crate) fn all_answered(
    name: &str,
    what: &dyn fmt::Display,
    answer: &Answer,
) -> Result<Vec<Vec<u8>>, Fault> {
    let texts = read::<Vec<String>>(name, what, answer)?;
    texts.iter().map(|text| decoded(name, what, text)).collect()
}

fn decoded(name: &str, what: &dyn fmt::Display, text: &str) -> Result<Vec<u8>, Fault> {
    BASE64.decode(text).map_err(|error| {
        let shown = excerpt(text.as_bytes());
        fault(name, NodeError::NotOne { what: what.to_string(), error: error.to_string(), shown })
    })
}

/// Messages as they arrive, until the stream ends or fails.
pub type Messages = BoxStream<'static, Result<Bytes, Fault>>;

/// A node that also streams.
pub trait Streams: Rpc {
    /// Messages of a method that streams, for as long as they come.
    fn stream(&self, call: &Call) -> impl Future<Output = Result<Messages, Fault>> + Send;
}

/// A node that answers gRPC-web over HTTP. Connections are kept and used again.
pub struct GrpcWeb<E> {
    http: HttpRpc,
    clock: E,
    service: &'static str,
    config: Config,
}

impl<E> fmt::Debug for GrpcWeb<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcWeb").field("name", &self.http.name).finish_non_exhaustive()
    }
}

impl<E: Clock> GrpcWeb<E> {
    /// Sets up for `service` at `endpoint`. Does not connect yet.
    ///
    /// # Errors
    ///
    /// `Setting`: no client can be made for such an address, or no TLS can be set up.
    pub(crate) fn new(
        clock: E,
        endpoint: &Endpoint,
        service: &'static str,
        config: &Config,
    ) -> Result<Self, Fault> {
        let mut http = HttpRpc::new(endpoint, config)?;
        http.headers.insert(CONTENT_TYPE, CONTENT);
        http.headers.remove(ACCEPT);
        Ok(Self { http, clock, service, config: config.clone() })
    }
}

impl<E: Clock> GrpcWeb<E> {
    /// Posts a message; what comes back is read as it arrives.
    async fn post(&self, call: &Call, timeout: Duration, max: usize) -> Result<Reading, Refused> {
        let message = message(call)
            .ok_or_else(|| NodeError::Params("a message that is not base64".into()))?;
        let length = u32::try_from(message.len());
        let length = length.map_err(|error| NodeError::Params(error.to_string()))?;
        let body = [&[0], &length.to_be_bytes()[..], &message].concat();
        let mut url = self.http.url.clone();
        let path = url.path().trim_end_matches('/');
        url.set_path(&format!("{path}/{}/{}", self.service, call.method));
        let request = self.http.client.post(url).headers(self.http.headers.clone());
        let response = request.timeout(timeout).body(body).send().await.map_err(failed)?;
        Reading::new(response, max).await
    }

    /// One message, or how the call ended without one.
    async fn unary(&self, call: &Call) -> Result<Answer, Refused> {
        let max = self.config.longest(std::slice::from_ref(call));
        let mut reading = self.post(call, self.config.request_timeout, max).await?;
        let Some(message) = reading.next().await? else {
            return reading.ended(call);
        };
        if reading.next().await?.is_some() {
            return Err(NodeError::NotGrpc("a second message".into()).into());
        }
        match reading.ended(call)? {
            // What came before an error is no answer.
            Ok(_) => Ok(answer(&message)),
            error => Ok(error),
        }
    }

    /// Up to `count` messages of a stream.
    async fn few(&self, call: &Call, count: usize) -> Result<Answer, Refused> {
        let max = self.config.longest(std::slice::from_ref(call));
        let timeout = self.config.request_timeout;
        let mut reading = self.post(call, timeout, max).await?;
        // Whoever waits gives up at the whole of it.
        let end = self.clock.current() + timeout / 2;
        let (mut messages, mut kept) = (Vec::new(), 0);
        while messages.len() < count && kept < max / 2 {
            let left = end.duration_since(self.clock.current()).unwrap_or_default();
            match within(&self.clock, left, reading.next()).await {
                None if messages.is_empty() => {
                    return Err(NodeError::NoAnswer { limit: timeout / 2 }.into());
                }
                None | Some(Ok(None)) => break,
                Some(message) => {
                    let message = message?.unwrap_or_default();
                    kept += message.len();
                    messages.push(message);
                }
            }
        }
        match reading.status {
            Some(Status { code, .. }) if code != Code::Ok && messages.is_empty() => {
                Ok(Err(reading.error()))
            }
            _ => Ok(answers(&messages)),
        }
    }
}

impl<E: Clock> Rpc for GrpcWeb<E> {
    fn name(&self) -> &str {
        &self.http.name
    }

    fn rate(&self) -> Rate {
        self.http.rate
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let answer = match count(call) {
                None => self.unary(call).await,
                Some(count) => self.few(call, count).await,
            };
            answers.push(answer.map_err(|refused| refused.named(&self.http.name))?);
        }
        Ok(answers)
    }
}

impl<E: Clock> Streams for GrpcWeb<E> {
    async fn stream(&self, call: &Call) -> Result<Messages, Fault> {
        let name = self.http.name.clone();
        let named = |name: &str, refused: Refused| refused.named(name).into_fault();
        let reading = self.post(call, FOR_EVER, call.answer_max.min(self.config.answer_max)).await;
        let reading = reading.map_err(|refused| named(&name, refused))?;
        let messages = try_unfold((reading, name), move |(mut reading, name)| async move {
            match reading.next().await {
                Ok(Some(message)) => Ok(Some((message, (reading, name)))),
                Ok(None) if reading.status.as_ref().is_some_and(|s| s.code == Code::Ok) => Ok(None),
                Ok(None) => Err(fault(&name, NodeError::Batch(reading.error()))),
                Err(refused) => Err(named(&name, refused)),
            }
        });
        Ok(messages.boxed())
    }
}

/// An answer that is being read.
struct Reading {
    response: reqwest::Response,
    headers: HeaderMap,
    frames: Frames,
    max: usize,
    /// How the call ended, once that was said.
    status: Option<Status>,
}

impl Reading {
    async fn new(mut response: reqwest::Response, max: usize) -> Result<Self, Refused> {
        let (status, headers) = (response.status(), response.headers().clone());
        let content = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let grpc = content.is_some_and(|content| content.starts_with(b"application/grpc"));
        if !status.is_success() || !grpc {
            let mut shown = Vec::new();
            while shown.len() < SHOWN
                && let Some(chunk) = response.chunk().await.map_err(failed)?
            {
                shown.extend_from_slice(&chunk[..chunk.len().min(SHOWN)]);
            }
            return Err(no_grpc(status, &headers, &shown));
        }
        let text = |name: &str| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        // Where there is nothing but headers, they are the trailers.
        let status = Status::read(text("grpc-status"), text("grpc-message"));
        Ok(Self { response, headers, frames: Frames::new(max), max, status })
    }

    /// The next message; none once the call ended.
    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let broken = |broken, max| match broken {
            Broken::TooLarge => Refused::from(NodeError::TooLarge { max }).too_many(),
            Broken::Malformed(why) => NodeError::NotGrpc(why.into()).into(),
        };
        loop {
            match self.frames.next().map_err(|error| broken(error, self.max))? {
                Some(Frame::Message(message)) => return Ok(Some(message)),
                Some(Frame::End(status)) => self.status = Some(status),
                None => match self.response.chunk().await.map_err(failed)? {
                    Some(chunk) => self.frames.feed(&chunk),
                    None if self.frames.is_torn() || self.status.is_none() => {
                        return Err(NodeError::NotGrpc("it ends too early".into()).into());
                    }
                    None => return Ok(None),
                },
            }
        }
    }

    fn error(&self) -> RpcError {
        let none = Status { code: Code::Unknown, message: String::new() };
        self.status.as_ref().unwrap_or(&none).error()
    }

    /// What a call that ended without a message, or after its only one, is answered with: an error, if it
    /// failed for its own sake.
    fn ended(&self, call: &Call) -> Result<Answer, Refused> {
        let said = || format!("{}: {}", call.method, self.error().message);
        let code = self.status.as_ref().map_or(Code::Unknown, |status| status.code);
        match code {
            Code::Ok => Ok(answer(&[])),
            Code::ResourceExhausted => Err(Refused {
                error: NodeError::Limited { status: said() },
                what: Refusal::Busy(after(&self.headers)),
            }),
            Code::Unavailable => Err(NodeError::Status { status: said() }.into()),
            Code::Unauthenticated | Code::PermissionDenied => {
                Err(NodeError::Denied { status: said(), at: None }.into())
            }
            _ => Ok(Err(self.error())),
        }
    }
}

/// Why an answer is none of gRPC-web.
fn no_grpc(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refused {
    if let Some(refused) = turned_away(status, headers, body) {
        return refused;
    }
    let shown = excerpt(body);
    if !status.is_success() {
        let said = if shown.is_empty() { status.to_string() } else { format!("{status}: {shown}") };
        return NodeError::Status { status: said }.into();
    }
    let content = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let content = content.map_or_else(|| "no content type".into(), excerpt);
    NodeError::NoGrpc { content, shown }.into()
}
