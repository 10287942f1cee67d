//! A prover over HTTP.

use super::{Offered, Token};
use crate::{Failure, Handle, Key, Offer, Progress, Prover, job::digest};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use std::{fmt, time::Duration};
use tidewatch_core::Digest;

/// Longest answer that is no proof, in bytes.
const TEXT_MAX: u64 = 4096;
const CONNECT: Duration = Duration::from_secs(5);

/// The address is not that of a remote prover.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: expected http://HOST:PORT or https://HOST:PORT, without credentials, path or query")]
pub struct BadAddress(String);

/// A prover on another machine: see the [module](super).
#[derive(Clone)]
pub struct Remote {
    name: String,
    base: Url,
    program: Digest,
    client: Client,
    token: Option<Token>,
    proof_max: u64,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).finish_non_exhaustive()
    }
}

fn unavailable(error: &reqwest::Error) -> Failure {
    // The source says what failed; the error itself would name the address once more.
    let cause =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Failure::Unavailable(cause)
}

/// The body, up to `max` bytes.
async fn body(mut response: Response, max: u64) -> Result<Bytes, Failure> {
    let large = || Failure::Rejected(format!("an answer of more than {max} bytes"));
    if response.content_length().is_some_and(|length| length > max) {
        return Err(large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(&error))? {
        if (body.len() + chunk.len()) as u64 > max {
            return Err(large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn text(response: Response) -> String {
    let body = body(response, TEXT_MAX).await.unwrap_or_default();
    String::from_utf8_lossy(&body).into_owned()
}

fn unexpected(status: StatusCode) -> Failure {
    Failure::Unavailable(format!("HTTP status {status}"))
}

impl Remote {
    /// The prover at `address`, which is to prove `program`. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// [`BadAddress`].
    pub fn new(address: &str, program: Digest, proof_max: u64) -> Result<Self, BadAddress> {
        // A password must not come back in an error.
        let shown = || address.rsplit_once('@').map_or(address, |(_, host)| host).to_owned();
        let bad = || BadAddress(shown());
        let base = Url::parse(address).map_err(|_| bad())?;
        let plain = base.username().is_empty()
            && base.password().is_none()
            && matches!(base.path(), "" | "/")
            && base.query().is_none()
            && base.fragment().is_none()
            && matches!(base.scheme(), "http" | "https")
            && base.has_host();
        if !plain {
            return Err(bad());
        }
        let name = base.as_str().trim_end_matches('/').to_owned();
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| bad())?;
        Ok(Self { name, base, program, client, token: None, proof_max })
    }

    /// The same, showing `token` with each request.
    #[must_use]
    pub fn with_token(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    fn job(&self, handle: &Handle) -> Url {
        self.at(&format!("/v1/jobs/{handle}"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.as_str()),
            None => request,
        };
        let response = request.send().await.map_err(|error| unavailable(&error))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let what = if self.token.is_some() { "another token" } else { "a token" };
            return Err(Failure::Unavailable(format!("it wants {what}")));
        }
        Ok(response)
    }
}

impl Prover for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        Box::pin(async move {
            let response = self.send(self.client.get(self.at("/v1/offer"))).await?;
            if response.status() != StatusCode::OK {
                return Err(unexpected(response.status()));
            }
            let answer = body(response, TEXT_MAX).await?;
            let offered: Offered = serde_json::from_slice(&answer)
                .map_err(|error| Failure::Unavailable(format!("its offer: {error}")))?;
            if digest(&offered.program) != Some(self.program) {
                let (ours, theirs) = (self.program, offered.program);
                return Err(Failure::Unavailable(format!("it proves {theirs}, not {ours}")));
            }
            let deadline = offered.deadline_ms.map(Duration::from_millis);
            Ok(Offer { slots: offered.slots, deadline })
        })
    }

    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        Box::pin(async move {
            let handle = Handle::of(&key);
            let response = self.send(self.client.put(self.job(&handle)).body(inputs)).await?;
            match response.status() {
                StatusCode::ACCEPTED => Ok(handle),
                StatusCode::TOO_MANY_REQUESTS => Err(Failure::Full),
                status => Err(Failure::Unavailable(format!("{status}: {}", text(response).await))),
            }
        })
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async move {
            let wait = [("wait_ms", patience.as_millis().to_string())];
            let response = self.send(self.client.get(self.job(handle)).query(&wait)).await?;
            match response.status() {
                StatusCode::OK => Ok(Progress::Proved(body(response, self.proof_max).await?)),
                StatusCode::ACCEPTED => Ok(Progress::Running),
                StatusCode::NOT_FOUND => Err(Failure::Lost),
                StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::Unprovable(text(response).await)),
                StatusCode::GATEWAY_TIMEOUT => Err(Failure::TimedOut(patience)),
                status => Err(unexpected(status)),
            }
        })
    }

    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // A prover that cannot be reached keeps a bounded number of proofs.
            let _ = self.send(self.client.delete(self.job(handle))).await;
        })
    }
}
