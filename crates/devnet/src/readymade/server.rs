//! A real indexer with a chain in it, and a hand on what it says.

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

/// How a [`Server`] starts.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// The loopback port; 0 lets the system choose.
    pub port: u16,
    /// Highest block that is served from the start; the whole chain if `None`. What is above can be
    /// handed out later.
    pub upto: Option<Height>,
    /// What answers become from the start.
    pub tampers: Vec<(Target, Tamper)>,
}

/// A loopback server with a readymade chain: `alto_indexer::Api` on `alto_indexer::Indexer`.
///
/// The indexer is the real one in everything but this: it believes the certificates that it is given
/// (by this process, or by HTTP upload). They are not verified a second time after being signed here,
/// and [`Server::finalize_forged`] can make it push a lie.
///
/// Dropping it ends it too, without waiting.
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
    /// [`Error::Bind`] and [`Error::Thread`] if the system refuses; [`Error::UnknownHeight`] if
    /// `upto` is above the chain's tip.
    pub fn start(chain: &Chain, config: ServerConfig) -> Result<Self, Error> {
        match chain.mode() {
            CertificateMode::Standard => Self::start_with::<StandardScheme>(chain, config),
            CertificateMode::Vrf => Self::start_with::<VrfScheme>(chain, config),
        }
    }

    fn start_with<S: Certify>(chain: &Chain, config: ServerConfig) -> Result<Self, Error> {
        let ServerConfig { port, upto, tampers } = config;
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
        for height in 1..=upto.get() {
            feed.finalize(chain, Height::new(height))?;
        }

        let forger = Forger::<S> { committee, stranger, scheme: PhantomData };
        let interceptor = Arc::new(Interceptor::new(Box::new(forger)));
        for (target, tamper) in tampers {
            interceptor.add(target, tamper, None);
        }
        // The indexer routes behind the interceptor, which may ask it something else.
        let router = Router::new()
            .fallback_service(Api::new(indexer).router())
            .layer(middleware::from_fn_with_state(interceptor.clone(), intercept));
        let host = Host::start(port, router.clone())?;
        let (mode, identity) = (S::MODE, chain.identity());
        Ok(Self { host, router, feed, interceptor, mode, identity })
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host.address())
    }

    /// The group's public key, in hex, as a follower is configured with it.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How its certificates are made.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// Hands the finalized block at `height` out: it is served from now on, and pushed to the
    /// WebSocket's subscribers. A view that the indexer already has a finalization of stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHeight`] if `chain` has no such block, [`Error::WrongMode`] if it is of another
    /// mode.
    pub fn finalize(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.feed.finalize(chain, height)
    }

    /// Hands the notarized block at `height` out, as [`Server::finalize`] does.
    ///
    /// # Errors
    ///
    /// As [`Server::finalize`].
    pub fn notarize(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.feed.notarize(chain, height)
    }

    /// Hands the block at `height` out with a finalization that another committee signed.
    ///
    /// # Errors
    ///
    /// As [`Server::finalize`].
    pub fn finalize_forged(&self, chain: &Chain, height: Height) -> Result<(), Error> {
        self.feed.finalize_forged(chain, height)
    }

    /// Tampers with answers from now on. Of several rules for one request the newest counts.
    pub fn tamper(&self, target: Target, tamper: Tamper) {
        self.interceptor.add(target, tamper, None);
    }

    /// Tampers with the next `times` answers.
    pub fn tamper_times(&self, target: Target, tamper: Tamper, times: u32) {
        if times > 0 {
            self.interceptor.add(target, tamper, Some(times));
        }
    }

    /// Answers honestly from now on.
    pub fn heal(&self) {
        self.interceptor.clear();
    }

    /// Requests of a kind so far, tampered with or not.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.interceptor.counts.of(kind)
    }

    /// Requests so far.
    pub fn requests_total(&self) -> u64 {
        self.interceptor.counts.total()
    }

    /// Cuts every connection and frees the port. What was handed out is kept.
    pub async fn close(&mut self) {
        self.host.close().await;
    }

    /// Serves again, on the same port. Does nothing if it is open.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] if another process took the port meanwhile; it can be tried again.
    pub fn open(&mut self) -> Result<(), Error> {
        self.host.open(self.router.clone())
    }
}

/// How blocks get into the indexer, whatever the scheme.
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
