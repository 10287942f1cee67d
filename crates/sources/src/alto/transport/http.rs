//! Questions over HTTP.

use super::HttpFeed;
use crate::{
    alto::{AltoError, Config, Endpoint},
    error::fault,
    rate::{Meter, Toll},
    tls,
    words::{causes, excerpt},
};
use bytes::{Bytes, BytesMut};
use commonware_formatting::hex;
use commonware_runtime::Clock;
use reqwest::{
    Client, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use std::{fmt, sync::Arc};
use tidewatch_certified::{Key, Transport};
use tidewatch_core::Fault;
use tokio_tungstenite::{
    Connector, connect_async_tls_with_config,
    tungstenite::{self, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

/// What an answer may hold beyond the block's payload: what the indexer itself allows.
const OVERHEAD: usize = 1024 * 1024;

/// The indexer of an alto chain.
pub struct HttpTransport {
    name: String,
    base: String,
    client: Client,
    authorization: Option<HeaderValue>,
    connector: Connector,
    answer_max: usize,
    toll: Option<Toll>,
    /// Where it says that it is there.
    health: &'static str,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("name", &self.name).finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// Sets up for `endpoint`. Does not connect yet.
    pub(crate) fn new(endpoint: &Endpoint, config: &Config) -> Result<Self, Fault> {
        let name = endpoint.to_string();
        let setting = |detail: String| fault(&name, AltoError::Setup(detail));
        let limits = &config.certified;
        let tls = endpoint.is_secure().then(tls::config).transpose().map_err(setting)?;
        let connector =
            tls.clone().map_or(Connector::Plain, |tls| Connector::Rustls(Arc::new(tls)));
        let client = tls::client(limits.request_timeout, limits.concurrency.get(), tls)
            .map_err(|error| setting(causes(&error)))?;
        // The client makes the header from user and password of a URL; the WebSocket needs it as well.
        let request = client.get(endpoint.url().clone()).build();
        let mut request = request.map_err(|error| setting(causes(&error.without_url())))?;
        let mut authorization = request.headers_mut().remove(AUTHORIZATION);
        if endpoint.is_tide() {
            let token = endpoint.url().password().map(|token| format!("Bearer {token}"));
            authorization = token.and_then(|token| HeaderValue::from_str(&token).ok());
        }
        let base = request.url().as_str().trim_end_matches('/').to_owned();
        let block_max = usize::try_from(config.block_size_max).unwrap_or(usize::MAX);
        let answer_max = block_max.saturating_add(OVERHEAD);
        // An indexer is healthy once it answers; what a Tidewatch says there is about the chain.
        let health = if endpoint.is_tide() { "/live" } else { "/health" };
        let toll = None;
        Ok(Self { name, base, client, authorization, connector, answer_max, toll, health })
    }

    /// The same, at the rate of the address.
    pub(crate) fn metered(self, clock: Arc<impl Clock>, endpoint: &Endpoint) -> Self {
        self.paying(Arc::new(Meter::new(clock, endpoint.rate().limit(None))).toll())
    }

    /// The same, awaiting `toll` before each request and each attempt to connect.
    pub(in crate::alto) fn paying(self, toll: Toll) -> Self {
        Self { toll: Some(toll), ..self }
    }

    async fn pay(&self) {
        if let Some(toll) = &self.toll {
            toll().await;
        }
    }

    /// Asks whether an indexer is there: one request, for its health.
    ///
    /// # Errors
    ///
    /// Why not.
    pub async fn probe(&self) -> Result<(), Fault> {
        match self.get(self.health).await? {
            Some(_) => Ok(()),
            None => Err(fault(&self.name, AltoError::NoHealth)),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Option<Bytes>, Fault> {
        let mut url = String::with_capacity(self.base.len() + path.len());
        url.push_str(&self.base);
        url.push_str(path);
        let mut request = self.client.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.pay().await;
        let response = request.send().await.map_err(|error| self.failed(error))?;
        self.body(response).await
    }

    async fn body(&self, response: Response) -> Result<Option<Bytes>, Fault> {
        let status = response.status();
        // A Tidewatch whose chain moved away from the tip of the question has a conflict.
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) {
            return Ok(None);
        }
        if !status.is_success() {
            let hint = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    ": check user and password in the address"
                }
                _ => "",
            };
            let status = status.to_string();
            return Err(fault(&self.name, AltoError::Status { status, hint }));
        }
        let content = response.headers().get(CONTENT_TYPE).cloned();
        let body = self.bytes(response).await?;
        if content.as_ref().is_some_and(is_html) || is_page(&body) {
            let (content, shown) = (content_type(content.as_ref()), excerpt(&body));
            return Err(fault(&self.name, AltoError::NotABlock { content, shown }));
        }
        Ok(Some(body))
    }

    /// Reads a body up to the limit, whatever its header says.
    async fn bytes(&self, mut response: Response) -> Result<Bytes, Fault> {
        let announced = response.content_length();
        if announced.is_some_and(|length| length > self.answer_max as u64) {
            return Err(self.oversized());
        }
        if announced.is_some() {
            let body = response.bytes().await.map_err(|error| self.failed(error))?;
            return Ok(detached(&body));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > self.answer_max {
                return Err(self.oversized());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(detached(&body))
    }

    fn oversized(&self) -> Fault {
        fault(&self.name, AltoError::TooLarge { max: self.answer_max })
    }

    fn failed(&self, error: reqwest::Error) -> Fault {
        let late = error.is_timeout();
        let error = causes(&error.without_url());
        fault(&self.name, AltoError::Request { error, late })
    }

    fn websocket(
        &self,
    ) -> Result<tungstenite::handshake::client::Request, Box<tungstenite::Error>> {
        // `http` becomes `ws`, `https` becomes `wss`.
        let url = format!("ws{}/consensus/ws", self.base.trim_start_matches("http"));
        let mut request = url.into_client_request().map_err(Box::new)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

impl Transport for HttpTransport {
    type Feed = HttpFeed;

    fn name(&self) -> &str {
        &self.name
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        match key {
            Key::LatestFinalization => self.get("/finalization/latest").await,
            Key::LatestNotarization => self.get("/notarization/latest").await,
            Key::Height(height) => self.get(&format!("/block/{:016x}", height.get())).await,
            Key::Digest(digest) => self.get(&format!("/block/{}", hex(&digest))).await,
            // The routes of a Tidewatch, which are not asked of an indexer.
            Key::Certificate { from, to } => {
                self.get(&format!("/v1/certificate?from={from}&to={to}")).await
            }
            Key::Blocks { tip, from } => {
                self.get(&format!("/v1/range?tip={}:{}&from={from}", tip.height, tip.digest)).await
            }
        }
    }

    async fn listen(&self) -> Result<HttpFeed, Fault> {
        let unreachable = |error: &tungstenite::Error| {
            let refused = matches!(error, tungstenite::Error::Http(_));
            fault(&self.name, AltoError::NoPush { error: error.to_string(), refused })
        };
        let request = self.websocket().map_err(|error| unreachable(&error))?;
        let message_max = self.answer_max.saturating_add(1);
        let config = WebSocketConfig::default()
            .max_message_size(Some(message_max))
            .max_frame_size(Some(message_max));
        let connector = Some(self.connector.clone());
        self.pay().await;
        let connected = connect_async_tls_with_config(request, Some(config), true, connector).await;
        let (socket, _) = connected.map_err(|error| unreachable(&error))?;
        Ok(HttpFeed::new(self.name.clone(), socket))
    }
}

fn content_type(content: Option<&HeaderValue>) -> String {
    content.map_or_else(
        || "no content type".into(),
        |content| excerpt(content.as_bytes()).to_lowercase(),
    )
}

fn is_html(content: &HeaderValue) -> bool {
    const HTML: &[u8] = b"text/html";
    content.as_bytes().get(..HTML.len()).is_some_and(|start| start.eq_ignore_ascii_case(HTML))
}

/// Bytes at the start of an answer that show what it is: the digests in a block are no text.
const LOOKED_AT: usize = 256;

/// Whether an answer is a page of markup, whatever its header says. What a chain encodes may begin in the same way:
/// the epoch comes first, and 60 is written as `<`.
fn is_page(body: &[u8]) -> bool {
    let start = &body[..body.len().min(LOOKED_AT)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character that is cut at the end.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.starts_with('<') && !text.contains(|c: char| c.is_control() && !c.is_whitespace())
}

/// A copy. What a connection hands out is a slice of its read buffer, some 8 KiB that one block of some
/// hundred bytes would keep alive.
pub(super) fn detached(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}
