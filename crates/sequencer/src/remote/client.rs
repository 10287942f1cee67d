//! A network over HTTP, as the port.

use super::wire;
use crate::{
    Item, NotSubmitted, Ordering, Preblock, Preblocks, Proposal, shortened,
    timelock::{Keys, Seed},
};
use bytes::{Bytes, BytesMut};
use commonware_codec::{DecodeExt, Encode as _};
use commonware_consensus::types::{Epoch, Round, View};
use futures::future::BoxFuture;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use std::{fmt, time::Duration};
use tidewatch_core::{Fault, FaultKind, Height};

/// Longest answer that is no stream, in bytes.
const TEXT_MAX: usize = 4096;

/// The address is not that of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: expected http://HOST:PORT or https://HOST:PORT, without credentials, path or query")]
pub struct BadAddress(String);

/// What a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long connecting, submitting, and asking for the newest number or round may take.
    pub deadline: Duration,
    /// Longest line of a stream, in bytes.
    pub line_max: usize,
}

impl Default for Limits {
    /// 5 s, 32 MiB: twice a block of 8 MiB, in base64, and its evidence.
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), line_max: 32 * 1024 * 1024 }
    }
}

/// A network that runs elsewhere: see the [module](super).
#[derive(Clone)]
pub struct Remote {
    name: String,
    base: Url,
    client: Client,
    keys: Keys,
    limits: Limits,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Remote {
    /// The network at `address`, whose answers are verified with `keys`. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// [`BadAddress`].
    pub fn new(address: &str, keys: Keys, limits: Limits) -> Result<Self, BadAddress> {
        // A password must not come back in an error.
        let bad = || BadAddress(address.rsplit_once('@').map_or(address, |(_, host)| host).into());
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
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(limits.deadline)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| bad())?;
        Ok(Self { name, base, client, keys, limits })
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    fn fault(&self, error: &reqwest::Error) -> Fault {
        let kind = if error.is_timeout() { FaultKind::Timeout } else { FaultKind::Unreachable };
        // The source says what failed; the error itself would name the address once more.
        let cause = std::error::Error::source(error);
        kind.fault(&*self.name, cause.map_or_else(|| error.to_string(), ToString::to_string))
    }

    fn malformed(&self, why: impl fmt::Display) -> Fault {
        FaultKind::Malformed.fault(&*self.name, why)
    }

    /// The body, up to [`TEXT_MAX`].
    async fn body(&self, mut response: Response) -> Result<Bytes, Fault> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(&error))? {
            if body.len() + chunk.len() > TEXT_MAX {
                let why = format!("an answer of more than {TEXT_MAX} bytes");
                return Err(FaultKind::Oversized.fault(&*self.name, why));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// What the network said, for a log.
    async fn words(&self, response: Response) -> String {
        let status = response.status();
        let body = self.body(response).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let line = text.lines().next().unwrap_or_default();
        let said: String = line.chars().filter(|letter| !letter.is_control()).collect();
        shortened(&format!("{status}: {said}"))
    }

    async fn unexpected(&self, response: Response) -> Fault {
        FaultKind::Unavailable.fault(&*self.name, self.words(response).await)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let request = self.client.get(self.at(path)).timeout(self.limits.deadline);
        let response = request.send().await.map_err(|error| self.fault(&error))?;
        if response.status() != StatusCode::OK {
            return Err(self.unexpected(response).await);
        }
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.malformed(error))
    }

    /// The newest round that the validators certified, as far as the network says; its seed is verified. A network
    /// that lies can give an older one, and what is sealed too close above that can be read already.
    ///
    /// # Errors
    ///
    /// It cannot be asked, or the seed is not the validators'.
    pub async fn round(&self) -> Result<Seed, Fault> {
        let wire::Round { epoch, view, seed } = self.ask("/v1/round").await?;
        let round = Round::new(Epoch::new(epoch), View::new(view));
        let bytes = commonware_formatting::from_hex(&seed);
        let bytes = bytes.ok_or_else(|| self.malformed("the seed is not hex"))?;
        let signature =
            DecodeExt::decode(bytes.as_slice()).map_err(|error| self.malformed(error))?;
        let seed = Seed::new(round, signature);
        if !self.keys.is_seed(&seed) {
            let why = format!("the seed of round {view} is not the validators'");
            return Err(FaultKind::InvalidCertificate.fault(&*self.name, why));
        }
        Ok(seed)
    }

    /// Whether it orders.
    ///
    /// # Errors
    ///
    /// It does not, or cannot be asked.
    pub async fn health(&self) -> Result<wire::Health, Fault> {
        self.ask("/v1/health").await
    }

    async fn put(&self, proposal: Proposal) -> Result<(), NotSubmitted> {
        let unknown = |error| NotSubmitted::Unknown(self.fault(&error));
        let path = format!("/v1/proposals/{}", wire::name(&proposal.identity));
        let request = self.client.put(self.at(&path)).timeout(self.limits.deadline);
        let sent = request.body(proposal.content.encode()).send().await;
        let response = sent.map_err(unknown)?;
        match response.status() {
            StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
            StatusCode::CONFLICT => Err(NotSubmitted::Taken),
            StatusCode::BAD_REQUEST
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(NotSubmitted::Refused(self.words(response).await))
            }
            // Whatever else stands before it may have passed the request on.
            _ => Err(NotSubmitted::Unknown(self.unexpected(response).await)),
        }
    }
}

/// A stream of lines.
struct Lines {
    network: Remote,
    response: Response,
    read: BytesMut,
    /// Bytes of it that hold no end of a line.
    seen: usize,
}

impl Lines {
    /// What the bytes that were read begin with, if that is whole.
    fn line(&mut self) -> Option<Result<Item, Fault>> {
        let end = self.read[self.seen..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| self.seen + end) else {
            self.seen = self.read.len();
            return None;
        };
        let line = self.read.split_to(end + 1);
        self.seen = 0;
        Some(match &line[..end] {
            [] => Ok(Item::Alive),
            line => wire::preblock(line)
                .map(|preblock| Item::Preblock(Box::new(preblock)))
                .map_err(|why| self.network.malformed(why)),
        })
    }

    async fn read(&mut self) -> Result<Item, Fault> {
        let max = self.network.limits.line_max;
        loop {
            if let Some(item) = self.line() {
                return item;
            }
            if self.read.len() > max {
                let why = format!("a line of more than {max} bytes");
                return Err(FaultKind::Oversized.fault(&*self.network.name, why));
            }
            let chunk = self.response.chunk().await.map_err(|error| self.network.fault(&error))?;
            let chunk = chunk.ok_or_else(|| {
                FaultKind::Unreachable.fault(&*self.network.name, "the stream of preblocks ended")
            })?;
            self.read.extend_from_slice(&chunk);
        }
    }
}

impl Preblocks for Lines {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, Fault>> {
        Box::pin(self.read())
    }
}

impl Ordering for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn submit(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), NotSubmitted>> {
        Box::pin(self.put(proposal))
    }

    fn preblocks(&self, from: Height) -> BoxFuture<'_, Result<Box<dyn Preblocks>, Fault>> {
        Box::pin(async move {
            let mut url = self.at("/v1/preblocks");
            url.set_query(Some(&format!("from={from}")));
            let response = self.client.get(url).send().await.map_err(|error| self.fault(&error))?;
            if response.status() != StatusCode::OK {
                return Err(self.unexpected(response).await);
            }
            let network = self.clone();
            let stream = Lines { network, response, read: BytesMut::new(), seen: 0 };
            Ok(Box::new(stream) as Box<dyn Preblocks>)
        })
    }

    fn newest(&self) -> BoxFuture<'_, Result<Option<Height>, Fault>> {
        Box::pin(async move {
            let newest: wire::Newest = self.ask("/v1/newest").await?;
            Ok(newest.newest.map(Height::new))
        })
    }

    fn verify(&self, preblock: &Preblock) -> Result<(), String> {
        self.keys.verify(preblock).map_err(|why| why.to_string())
    }
}
