//! A real indexer that serves a readymade chain and whose responses can be tampered with.

use super::{
    chain::Chain,
    requests::Kind,
    tamper::{Forger, Interceptor, Tamper, Target, intercept},
    unchecked::Unchecked,
};
use crate::{Certify, Committee, Error, committee::Vote, host::Host};
use alto_indexer::{Api, Indexer};
use alto_types::{
    CertificateMode, Finalization, Finalized, NAMESPACE, Notarization, Notarized, StandardScheme,
    VrfScheme,
};
use axum::{Router, middleware};
use commonware_parallel::Sequential;
use std::{fmt, marker::PhantomData, sync::Arc};
use tidewatch_core::Height;

/// Configuration of a [`Server`].
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Loopback port; 0 lets the system choose.
    pub port: u16,
    /// Highest block that is served from the start; `None` serves the whole chain. Higher blocks can be
    /// published later.
    pub upto: Option<Height>,
    /// Of the blocks that are served from the start only every so many has a finalization of its own, and the
    /// last one of each epoch, and the newest; the others are had by digest. 0 and 1: all of them have.
    pub certified_every: u64,
    /// Tamper rules that apply from the start.
    pub tampers: Vec<(Target, Tamper)>,
}

/// A loopback server with a readymade chain: `alto_indexer::Api` on `alto_indexer::Indexer`.
///
/// The indexer is the real one, except that it does not verify the certificates submitted to it (by this
/// process or by HTTP upload): certificates that were just signed here need no second verification, and
/// [`Server::finalize_forged`] can make it push a forgery.
///
/// Dropping it stops the server without waiting for the shutdown.
pub struct Server {
    host: Host,
    router: Router,
    feed: Arc<dyn Feed>,
    interceptor: Arc<Interceptor>,
    mode: CertificateMode,
    identity: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.url())
            .field("mode", &self.mode)
            .field("identity", &self.identity)
            .field("requests", &self.requests_total())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Serves `chain`.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] or [`Error::Thread`] if the operating system denies a resource;
    /// [`Error::UnknownHeight`] if `upto` is above the chain's tip.
    pub fn start(chain: &Chain, config: ServerConfig) -> Result<Self, Error> {
        match chain.mode() {
            CertificateMode::Standard => Self::start_with::<StandardScheme>(chain, config),
            CertificateMode::Vrf => Self::start_with::<VrfScheme>(chain, config),
        }
    }

    fn start_with<S: Certify>(chain: &Chain, config: ServerConfig) -> Result<Self, Error> {
        let ServerConfig { port, upto, certified_every, tampers } = config;
        let upto = upto.unwrap_or(chain.tip());
        if upto > chain.tip() {
            return Err(chain.unknown(upto));
        }
        let committee = chain.shared_committee().clone();
        let members = committee.members().len() as u32;
        let stranger = Arc::new(Committee::deal(!committee.seed(), members)?);
        let verifier = S::certificate_verifier(NAMESPACE, committee.identity());
        let indexer = Arc::new(Indexer::new(Unchecked(verifier), Sequential));
        let feed: Arc<dyn Feed> =
            Arc::new(Shelf::<S> { indexer: indexer.clone(), stranger: stranger.clone() });
        for height in (1..=upto.get()).map(Height::new) {
            let own = height.get() % certified_every.max(1) == 0 || height == upto;
            if own || chain.ends_epoch(height) {
                feed.finalize(chain, height)?;
            } else if let Some(block) = chain.block(height) {
                indexer.submit_block(block.clone());
            }
        }

        let forger = Forger::<S> { committee, stranger, scheme: PhantomData };
        let interceptor = Arc::new(Interceptor::new(Box::new(forger)));
        for (target, tamper) in tampers {
            interceptor.add(target, tamper, None);
        }
        // The interceptor wraps the whole router, because it may rewrite the path before routing.
        let router = Router::new()
            .fallback_service(Api::new(indexer).router())
            .layer(middleware::from_fn_with_state(interceptor.clone(), intercept));
        let host = Host::start(port, router.clone())?;
        let (mode, identity) = (S::MODE, chain.identity());
        Ok(Self { host, router, feed, interceptor, mode, identity })
    }

    /// URL of the server: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// The group's public key in hex, as in the configuration of a follower.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Certificate mode of the served chain.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// Publishes the finalized block at `height`: from now on it is served, and it is pushed to the
    /// subscribers of the WebSocket. If the indexer already has a finalization for the block's view,
    /// nothing changes.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHeight`] if `chain` has no such block, [`Error::WrongMode`] if `chain` has
    /// another certificate mode.
    pub fn finalize(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.feed.finalize(chain, height)
    }

    /// Publishes the notarized block at `height`, as [`Server::finalize`] does for finalized blocks.
    ///
    /// # Errors
    ///
    /// As [`Server::finalize`].
    pub fn notarize(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.feed.notarize(chain, height)
    }

    /// Publishes the block at `height` with a finalization signed by another committee.
    ///
    /// # Errors
    ///
    /// As [`Server::finalize`].
    pub fn finalize_forged(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.feed.finalize_forged(chain, height)
    }

    /// Tampers with all matching responses from now on. If several rules match a request, the newest
    /// applies.
    pub fn tamper(&self, target: Target, tamper: Tamper) {
        self.interceptor.add(target, tamper, None);
    }

    /// Tampers with the next `times` matching responses.
    pub fn tamper_times(&self, target: Target, tamper: Tamper, times: u32) {
        if times > 0 {
            self.interceptor.add(target, tamper, Some(times));
        }
    }

    /// Removes all tamper rules.
    pub fn heal(&self) {
        self.interceptor.clear();
    }

    /// Number of requests of a kind so far, including those tampered with.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.interceptor.counts.of(kind)
    }

    /// Number of requests so far.
    pub fn requests_total(&self) -> u64 {
        self.interceptor.counts.total()
    }

    /// Cuts every connection and frees the port. Published blocks are kept.
    pub async fn close(&mut self) {
        self.host.close().await;
    }

    /// Serves again on the same port. Does nothing if the server is running.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if another process has taken the port; the call may be retried.
    pub fn open(&mut self) -> Result<(), Error> {
        self.host.open(self.router.clone())
    }
}

/// Submits blocks to the indexer, independent of the certificate scheme.
trait Feed: Send + Sync {
    fn finalize(&self, chain: &Chain, height: Height) -> Result<(), Error>;
    fn notarize(&self, chain: &Chain, height: Height) -> Result<(), Error>;
    fn finalize_forged(&self, chain: &Chain, height: Height) -> Result<(), Error>;
}

struct Shelf<S: Certify> {
    indexer: Arc<Indexer<Unchecked<S>, Sequential>>,
    stranger: Arc<Committee>,
}

impl<S: Certify> Shelf<S> {
    fn check(&self, chain: &Chain) -> Result<(), Error> {
        if chain.mode() == S::MODE {
            return Ok(());
        }
        Err(Error::WrongMode { chain: chain.mode().as_str(), server: S::MODE.as_str() })
    }

    fn finalized(&self, chain: &Chain, height: Height) -> Result<Finalized<S>, Error> {
        self.check(chain)?;
        chain.finalized::<S>(height).ok_or_else(|| chain.unknown(height))
    }

    fn submit(&self, height: Height, finalized: Finalized<S>) -> Result<(), Error> {
        let Finalized { proof: Finalization { proposal, certificate }, block } = finalized;
        self.indexer
            .submit_finalization(Finalized::new(Finalization { proposal, certificate }, block))
            .map_err(|reason| Error::Refused { height, reason })
    }
}

impl<S: Certify> Feed for Shelf<S> {
    fn finalize(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.submit(height, self.finalized(chain, height)?)
    }

    fn notarize(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.check(chain)?;
        let notarized = chain.notarized::<S>(height).ok_or_else(|| chain.unknown(height))?;
        let Notarized { proof: Notarization { proposal, certificate }, block } = notarized;
        self.indexer
            .submit_notarization(Notarized::new(Notarization { proposal, certificate }, block))
            .map_err(|reason| Error::Refused { height, reason })
    }

    fn finalize_forged(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        let mut finalized = self.finalized(chain, height)?;
        let proposal = &finalized.proof.proposal;
        let vote = self.stranger.vote(Vote::Finalize, proposal);
        let seed = self.stranger.seed_of(proposal.round);
        finalized.proof.certificate =
            S::certificate(vote, Some(seed)).ok_or_else(|| chain.unknown(height))?;
        self.submit(height, finalized)
    }
}
