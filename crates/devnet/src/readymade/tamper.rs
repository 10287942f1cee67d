//! Middleware that replaces responses on their way out.

use super::{
    chain::proposal,
    requests::{Asked, Counts, Kind},
};
use crate::{Certify, Committee, committee::Vote};
use alto_types::{Block, Context, Finalization, Finalized, Notarization, Notarized};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    middleware::Next,
    response::{Html, IntoResponse as _, Response},
};
use bytes::Bytes;
use commonware_codec::{Decode as _, Encode as _};
use commonware_consensus::simplex::types::Proposal;
use commonware_cryptography::{Hasher as _, Sha256, sha256::Digest};
use futures::{FutureExt as _, StreamExt as _, stream};
use std::{
    io,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidewatch_core::Height;

/// Maximum size of an indexer response that can be rewritten.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// Chunk size of an oversized response.
const CHUNK: usize = 64 * 1024;
/// Bytes that do not decode as anything an indexer serves.
const GARBAGE: &[u8] = &[0xff; 256];
const ERROR_PAGE: &str =
    "<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>";

/// Requests that a [`Tamper`] rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All requests.
    Any,
    /// Requests of a kind.
    Kind(Kind),
    /// Requests for the finalized block at a height, by height.
    Height(Height),
}

impl Target {
    fn matches(self, asked: Asked) -> bool {
        match self {
            Self::Any => true,
            Self::Kind(kind) => asked.kind == kind,
            Self::Height(height) => {
                asked.kind == Kind::BlockAt && asked.index == Some(height.get())
            }
        }
    }
}

/// Modification of a response.
///
/// Forgeries apply to successful responses of the real indexer only; others are not modified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// Replaces the certificate by one that another committee signed over the same proposal. Applies to
    /// responses with a certificate.
    WrongCertificate,
    /// Replaces the block by one whose parent does not exist, certified by the chain's own committee.
    WrongParent,
    /// Responds with the block of another height or view: one lower, or one higher at 1. For a request
    /// by digest, responds with the newest finalized block. Applies if the path identifies a block.
    OtherBlock,
    /// 404.
    Missing,
    /// 503.
    Unavailable,
    /// An HTML page, with status 200.
    Html,
    /// Bytes that do not decode, with status 200.
    Garbage,
    /// The first half of the response, with a matching content length.
    Truncated,
    /// The given number of zero bytes, with status 200.
    Oversized(u64),
    /// The honest response after a delay.
    Delay(Duration),
    /// Cuts the connection in the middle of the response.
    Cut,
}

/// Rules and counts of one server.
pub(super) struct Interceptor {
    rules: Mutex<Vec<Rule>>,
    pub(super) counts: Counts,
    forger: Box<dyn Forge>,
}

struct Rule {
    target: Target,
    tamper: Tamper,
    /// Remaining number of uses; `None` is unlimited.
    left: Option<u32>,
}

impl Interceptor {
    pub(super) fn new(forger: Box<dyn Forge>) -> Self {
        Self { rules: Mutex::default(), counts: Counts::default(), forger }
    }

    pub(super) fn add(&self, target: Target, tamper: Tamper, times: Option<u32>) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push(Rule { target, tamper, left: times });
    }

    pub(super) fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Finds the newest rule that matches a request, and consumes one use of it.
    fn take(&self, asked: Asked) -> Option<Tamper> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let index = rules.iter().rposition(|rule| rule.target.matches(asked))?;
        let rule = &mut rules[index];
        let tamper = rule.tamper;
        if let Some(left) = &mut rule.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                rules.remove(index);
            }
        }
        Some(tamper)
    }
}

/// Middleware in front of the indexer's router.
pub(super) async fn intercept(
    State(interceptor): State<Arc<Interceptor>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked::parse(request.method(), request.uri());
    interceptor.counts.add(asked.kind);
    let Some(tamper) = interceptor.take(asked) else { return next.run(request).await };
    match tamper {
        Tamper::Missing => StatusCode::NOT_FOUND.into_response(),
        Tamper::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Tamper::Html => Html(ERROR_PAGE).into_response(),
        Tamper::Garbage => binary(Bytes::from_static(GARBAGE)),
        Tamper::Oversized(length) => zeros(length),
        Tamper::Cut => cut(),
        Tamper::Delay(delay) => {
            wait(delay).await;
            next.run(request).await
        }
        Tamper::OtherBlock => other_block(&*interceptor.forger, asked, request, next).await,
        Tamper::Truncated => {
            rewrite(next.run(request).await, |body| Some(body.slice(..body.len() / 2))).await
        }
        Tamper::WrongCertificate | Tamper::WrongParent => {
            let forger = &*interceptor.forger;
            rewrite(next.run(request).await, |body| forger.forge(asked.kind, tamper, body)).await
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server runs on tokio, without a runtime context"
)]
async fn wait(delay: Duration) {
    tokio::time::sleep(delay).await;
}

fn binary(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body.into()).into_response()
}

fn zeros(length: u64) -> Response {
    let whole = length / CHUNK as u64;
    let rest = usize::try_from(length % CHUNK as u64).unwrap_or(0);
    let chunk = Bytes::from(vec![0; CHUNK]);
    let lengths = (0..whole).map(|_| CHUNK).chain((rest != 0).then_some(rest));
    let chunks = lengths.map(move |length| Ok::<_, io::Error>(chunk.slice(..length)));
    binary(Body::from_stream(stream::iter(chunks)))
}

fn cut() -> Response {
    let broken = async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) };
    let head = async { Ok(Bytes::from_static(&[0])) };
    binary(Body::from_stream(head.into_stream().chain(broken.into_stream())))
}

/// Replaces the body of a successful response, unless `change` returns `None`.
async fn rewrite(response: Response, change: impl FnOnce(&Bytes) -> Option<Bytes>) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let changed = change(&body).unwrap_or(body);
    let mut response = Response::from_parts(parts, Body::from(changed));
    // The header still has the length of the old body.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// Rewrites the request, so that the indexer responds with another block.
async fn other_block(
    forger: &dyn Forge,
    asked: Asked,
    mut request: Request,
    next: Next,
) -> Response {
    let path = match (asked.kind, asked.index) {
        (Kind::BlockNamed, _) => "/block/latest".to_owned(),
        (_, Some(index)) => {
            let root = request.uri().path().rsplit_once('/').map_or("", |(root, _)| root);
            let other = if index > 1 { index - 1 } else { index + 1 };
            format!("{root}/{other:016x}")
        }
        (_, None) => return next.run(request).await,
    };
    if let Ok(uri) = Uri::try_from(path) {
        *request.uri_mut() = uri;
    }
    let response = next.run(request).await;
    if asked.kind != Kind::BlockNamed {
        return response;
    }
    rewrite(response, |body| forger.bare(body)).await
}

/// Forges responses, independent of the certificate scheme.
pub(super) trait Forge: Send + Sync {
    /// Forges the body of a response to a request of `kind`. `None` if `tamper` does not apply to it.
    fn forge(&self, kind: Kind, tamper: Tamper, body: &[u8]) -> Option<Bytes>;

    /// Strips the certificate from an encoded finalized block.
    fn bare(&self, finalized: &[u8]) -> Option<Bytes>;
}

/// Forges responses with the keys of the chain's committee and of a foreign one.
pub(super) struct Forger<S> {
    pub(super) committee: Arc<Committee>,
    pub(super) stranger: Arc<Committee>,
    pub(super) scheme: PhantomData<S>,
}

impl<S: Certify> Forger<S> {
    fn certificate(
        &self,
        by: &Committee,
        vote: Vote,
        proposal: &Proposal<Digest>,
    ) -> Option<S::Certificate> {
        S::certificate(by.vote(vote, proposal), Some(by.seed_of(proposal.round)))
    }

    /// The forged block, its proposal, and a certificate by the committee that `tamper` requires.
    fn certify(
        &self,
        tamper: Tamper,
        vote: Vote,
        block: Block,
    ) -> Option<(Block, Proposal<Digest>, S::Certificate)> {
        let (block, by) = match tamper {
            Tamper::WrongCertificate => (block, &self.stranger),
            Tamper::WrongParent => (orphan(&block), &self.committee),
            _ => return None,
        };
        let proposal = proposal(&block);
        let certificate = self.certificate(by, vote, &proposal)?;
        Some((block, proposal, certificate))
    }
}

impl<S: Certify> Forge for Forger<S> {
    fn forge(&self, kind: Kind, tamper: Tamper, body: &[u8]) -> Option<Bytes> {
        let codec = Block::unbounded_codec_config();
        match kind {
            Kind::BlockLatest | Kind::BlockAt | Kind::Finalization => {
                let real = Finalized::<S>::decode_cfg(body, &codec).ok()?;
                let (block, proposal, certificate) =
                    self.certify(tamper, Vote::Finalize, real.block)?;
                let proof = Finalization { proposal, certificate };
                Some(Finalized::<S>::new(proof, block).encode())
            }
            Kind::Notarization => {
                let real = Notarized::<S>::decode_cfg(body, &codec).ok()?;
                let (block, proposal, certificate) =
                    self.certify(tamper, Vote::Notarize, real.block)?;
                let proof = Notarization { proposal, certificate };
                Some(Notarized::<S>::new(proof, block).encode())
            }
            Kind::BlockNamed if tamper == Tamper::WrongParent => {
                let real = Block::decode_cfg(body, &codec).ok()?;
                Some(orphan(&real).encode())
            }
            _ => None,
        }
    }

    fn bare(&self, finalized: &[u8]) -> Option<Bytes> {
        let codec = Block::unbounded_codec_config();
        let finalized = Finalized::<S>::decode_cfg(finalized, &codec).ok()?;
        Some(finalized.block.encode())
    }
}

/// `block`, with a parent that does not exist.
fn orphan(block: &Block) -> Block {
    let parent = Sha256::hash(&[block.parent.as_ref()]);
    let context = Context { parent: (block.context.parent.0, parent), ..block.context.clone() };
    Block::new(context, parent, block.height, block.timestamp, block.data.clone())
}
