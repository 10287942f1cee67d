//! Answers replaced on their way out.

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

/// Largest answer of the indexer that is looked into.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// Piece in which an oversized answer is sent.
const CHUNK: usize = 64 * 1024;
/// Bytes that are no encoding of anything an indexer serves.
const GARBAGE: &[u8] = &[0xff; 256];
const ERROR_PAGE: &str =
    "<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>";

/// Which requests a [`Tamper`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of them.
    Any,
    /// Those of a kind.
    Kind(Kind),
    /// Those for the finalized block at a height, by its height.
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

/// What becomes of an answer.
///
/// Forgeries apply to what the real indexer answers with success; any other answer stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// The certificate is one that another committee signed about the same proposal. Applies to
    /// answers with a certificate.
    WrongCertificate,
    /// The block has a parent that does not exist, and everything else fits: the committee itself
    /// certifies it.
    WrongParent,
    /// The answer is that to another height or view, one lower (one higher at 1); asked by digest,
    /// the newest finalized block. Applies where the path says which block.
    OtherBlock,
    /// 404.
    Missing,
    /// 503.
    Unavailable,
    /// An HTML page, with success.
    Html,
    /// Bytes that do not decode, with success.
    Garbage,
    /// The first half of the answer, as if it were whole.
    Truncated,
    /// So many zero bytes, with success.
    Oversized(u64),
    /// The answer, but later.
    Delay(Duration),
    /// The connection is cut while the answer is on its way.
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
    /// `None` is for ever.
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

    /// The newest rule for a request, used once.
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

#[expect(clippy::disallowed_methods, reason = "a server's thread has no clock but tokio's")]
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

/// Replaces the body of a successful answer, where the change applies to it.
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
    // It is of the old body.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// Lets the indexer answer another question.
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

/// Forgeries, whatever the scheme.
pub(super) trait Forge: Send + Sync {
    /// The body of an answer of a kind, forged. `None` if the forgery does not apply to it.
    fn forge(&self, kind: Kind, tamper: Tamper, body: &[u8]) -> Option<Bytes>;

    /// The block of an encoded finalized block.
    fn bare(&self, finalized: &[u8]) -> Option<Bytes>;
}

/// Forges answers of a chain, with the committee's keys and those of a stranger.
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

    /// A block and a proposal, certified by whom the forgery says.
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

/// The block on top of a parent that does not exist.
fn orphan(block: &Block) -> Block {
    let parent = Sha256::hash(&[block.parent.as_ref()]);
    let context = Context { parent: (block.context.parent.0, parent), ..block.context.clone() };
    Block::new(context, parent, block.height, block.timestamp, block.data.clone())
}
