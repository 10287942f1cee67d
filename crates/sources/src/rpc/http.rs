//! Requests over HTTP.

use super::{
    Answer, Call, Config, Endpoint, NodeError, Rpc, RpcError, Unanswered,
    guard::{Guard, GuardLayer, Refused},
};
use crate::{
    error::fault,
    tls,
    words::{causes, excerpt},
};
use futures::future::BoxFuture;
use jsonrpsee::{
    core::{
        client::{BatchResponse, ClientT, Error},
        http_helpers::HttpError,
        params::BatchRequestBuilder,
        traits::ToRpcParams,
    },
    http_client::{
        HttpBackend, HttpClient, RpcLogger, RpcService, transport::Error as TransportError,
    },
    types::ErrorObject,
};
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;
use tidewatch_core::Fault;
use tower::ServiceBuilder;

type Client = HttpClient<RpcLogger<RpcService<Guard<HttpBackend>>>>;

/// A node that is asked over HTTP. Connections are kept and used again.
pub struct HttpRpc {
    name: String,
    client: Client,
}

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
        let guard = GuardLayer { answer_max: config.answer_max };
        let mut builder = jsonrpsee::http_client::HttpClientBuilder::default()
            .request_timeout(config.request_timeout)
            .connect_timeout(config.request_timeout)
            .max_response_size(config.answer_max)
            .set_http_middleware(ServiceBuilder::new().layer(guard));
        if endpoint.is_secure() {
            let tls = tls::config().map_err(|error| fault(&name, NodeError::Tls(error)))?;
            builder = builder.with_custom_cert_store(tls);
        }
        let client = builder.build(endpoint.url());
        let client = client.map_err(|_| fault(&name, NodeError::Address))?;
        Ok(Self { name, client })
    }
}

impl Rpc for HttpRpc {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        ask(&self.name, &self.client, calls).await
    }
}

/// Asks `client`, over whatever it is connected by.
pub(super) async fn ask(
    name: &str,
    client: &(impl ClientT + Sync),
    calls: &[Call],
) -> Result<Vec<Answer>, Unanswered> {
    if let [call] = calls {
        let params = params(name, call).map_err(Unanswered::Fault)?;
        return match client.request::<Box<RawValue>, _>(call.method, params).await {
            Ok(result) => Ok(vec![Ok(result)]),
            Err(Error::Call(error)) => Ok(vec![Err(rpc_error(&error))]),
            Err(error) => Err(Unanswered::Fault(fault(name, refused(&error).0))),
        };
    }
    let mut batch = BatchRequestBuilder::<'static>::new();
    for call in calls {
        let params = params(name, call).map_err(Unanswered::Fault)?;
        // Only parameters that are no JSON are refused here.
        let inserted = batch.insert(call.method, params);
        inserted.map_err(|error| Unanswered::Fault(unwritten(name, &error)))?;
    }
    let answers: BoxFuture<'_, Result<BatchResponse<'static, Box<RawValue>>, Error>> =
        Box::pin(client.batch_request(batch));
    let answers = answers.await.map_err(|error| {
        let (error, too_many) = refused(&error);
        let fault = fault(name, error);
        if too_many { Unanswered::TooMany(fault) } else { Unanswered::Fault(fault) }
    })?;
    whole(name, calls.len(), answers)
}

/// The answers of a batch, if there is one for each of `calls`.
fn whole(
    name: &str,
    calls: usize,
    answers: BatchResponse<'_, Box<RawValue>>,
) -> Result<Vec<Answer>, Unanswered> {
    let answers: Vec<Answer> =
        answers.into_iter().map(|answer| answer.map_err(|error| rpc_error(&error))).collect();
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    if let Some(error) = errors().find(|error| error.is_too_large()) {
        return Err(Unanswered::TooMany(fault(name, NodeError::Batch(error.clone()))));
    }
    if answers.len() == calls && !errors().any(RpcError::is_nothing) {
        return Ok(answers);
    }
    // Some nodes answer a batch that is too large with one error in place of the first answer.
    if let Some(error) = errors().find(|error| !error.is_nothing()) {
        return Err(Unanswered::TooMany(fault(name, NodeError::Batch(error.clone()))));
    }
    let error = NodeError::AnswerCount { got: answers.len(), want: calls };
    Err(Unanswered::Fault(fault(name, error)))
}

/// Parameters as they are, an empty list included: the client leaves that out, and not every node takes a
/// request without.
struct Params(Box<RawValue>);

impl ToRpcParams for Params {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        Ok(Some(self.0))
    }
}

fn params(name: &str, call: &Call) -> Result<Params, Fault> {
    let params = to_raw_value(&call.params).map_err(|error| unwritten(name, &error))?;
    Ok(Params(params))
}

fn unwritten(name: &str, error: &serde_json::Error) -> Fault {
    fault(name, NodeError::Params(error.to_string()))
}

impl RpcError {
    /// The client's own mark for an answer that did not come.
    const fn is_nothing(&self) -> bool {
        self.code == 0 && self.message.is_empty()
    }

    /// What go-ethereum answers the calls of a batch with whose answers together are too large.
    const fn is_too_large(&self) -> bool {
        self.code == -32003
    }
}

pub(super) fn rpc_error(error: &ErrorObject<'_>) -> RpcError {
    RpcError { code: error.code(), message: excerpt(error.message().as_bytes()) }
}

/// What an error of the client means, and whether fewer calls may do better.
pub(super) fn refused(error: &Error) -> (NodeError, bool) {
    let shown = |error: &dyn fmt::Display| excerpt(error.to_string().as_bytes());
    match error {
        Error::RequestTimeout => (NodeError::Late, true),
        // A batch that is answered by one object: the node takes none, or not of that size.
        Error::ParseError(error) => (NodeError::Unreadable(shown(error)), true),
        Error::InvalidRequestId(error) => (NodeError::Unreadable(shown(error)), false),
        Error::Transport(error) => match error.downcast_ref() {
            Some(TransportError::Http(HttpError::Stream(error))) => {
                match error.downcast_ref::<Refused>() {
                    Some(refused) => (refused.error.clone(), refused.too_many),
                    None => (NodeError::Unreachable(causes(&**error)), false),
                }
            }
            Some(TransportError::Http(HttpError::TooLarge)) => (NodeError::Oversized, true),
            // The address is part of no other message of the transport.
            Some(TransportError::Url(_)) => (NodeError::Address, false),
            _ => (NodeError::Unreachable(causes(&**error)), false),
        },
        Error::RestartNeeded(error) => (NodeError::Lost(shown(error)), true),
        error => (NodeError::Unreachable(shown(error)), false),
    }
}
