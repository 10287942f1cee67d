use crate::{
    CertificateKind, CertifiedBlock, Check, Config, Epochs, Error, Feed, Metrics, Push, Transport,
    Verifier,
    known::{Outcome, Relevance, Shared},
    requests::within,
};
use commonware_macros::select;
use commonware_runtime::{Clock, Handle, Spawner};
use rand::CryptoRng;
use std::{sync::Arc, time::SystemTime};
use tidewatch_core::{Backoff, BlockRef, Fault, FaultKind, Severity};
use tracing::{debug, info};

/// Says that the connection is closed when it is dropped, however that comes about.
struct Open<B> {
    shared: Arc<Shared<B>>,
    metrics: Metrics,
}

impl<B> Drop for Open<B> {
    fn drop(&mut self) {
        self.shared.link.lock().open = false;
        self.metrics.connected(false);
    }
}

/// Pushes of an unknown epoch since the last deadline.
///
/// They prove nothing: neither that the endpoint is alive nor that it lies. Requests decide: as long as
/// they bring nothing newer that verifies, the chain may well be in that epoch, and the connection is
/// kept. If they do, it was the connection that brought nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    /// What was finalized when the first of them came; nothing if none came.
    since: Option<Option<BlockRef>>,
}

impl Ahead {
    /// One more was pushed, while `finalized` is the newest that is verified.
    fn pushed(&mut self, finalized: Option<BlockRef>) {
        self.since.get_or_insert(finalized);
    }

    /// Whether they explain that nothing else came. Counts anew from here.
    fn excuses(&mut self, finalized: Option<BlockRef>) -> bool {
        self.since.take() == Some(finalized)
    }
}

/// Keeps one push connection open: connects, takes verified pushes in, and connects again, with back-off
/// and jitter. Made by [`open`](crate::open).
pub struct Upstream<E, T, X: Epochs, B: CertifiedBlock> {
    context: E,
    transport: Arc<T>,
    verifier: Arc<Verifier<X, B>>,
    shared: Arc<Shared<B>>,
    metrics: Metrics,
    config: Config,
}

impl<E, T, X: Epochs, B: CertifiedBlock> std::fmt::Debug for Upstream<E, T, X, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl<E, T, X, B> Upstream<E, T, X, B>
where
    E: Clock + Spawner + CryptoRng,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    pub(crate) const fn new(
        context: E,
        transport: Arc<T>,
        verifier: Arc<Verifier<X, B>>,
        shared: Arc<Shared<B>>,
        metrics: Metrics,
        config: Config,
    ) -> Self {
        Self { context, transport, verifier, shared, metrics, config }
    }

    /// Starts the actor. It ends only by its handle: nothing that an endpoint does ends it.
    pub fn start(self) -> Handle<()> {
        let Self { context, transport, verifier, shared, metrics, config } = self;
        context.spawn(move |context| async move {
            Self { context, transport, verifier, shared, metrics, config }.run().await;
        })
    }

    async fn run(mut self) {
        let mut backoff = Backoff::new(self.config.backoff_base, self.config.backoff_cap);
        loop {
            let fault = match self.connect().await {
                Ok(feed) => {
                    let _open = self.opened();
                    self.listen(feed, &mut backoff).await
                }
                Err(fault) => fault,
            };
            self.metrics.absorbed(&fault);
            let wait = backoff.fail(&mut self.context);
            debug!(upstream = self.metrics.name(), ?wait, "waiting before connecting again");
            self.context.sleep(wait).await;
        }
    }

    async fn connect(&self) -> Result<T::Feed, Fault> {
        self.metrics.connecting();
        let limit = self.config.request_timeout;
        match within(&self.context, limit, self.transport.listen()).await {
            Some(feed) => feed.map_err(|fault| self.metrics.refused(fault)),
            None => Err(self.metrics.reject(Error::NoConnection { limit })),
        }
    }

    /// The connection is open for as long as what this gives lives.
    fn opened(&self) -> Open<B> {
        {
            let mut link = self.shared.link.lock();
            link.generation += 1;
            link.open = true;
            link.event = None;
        }
        self.metrics.connected(true);
        self.shared.ring();
        info!(upstream = self.metrics.name(), "push connection open");
        Open { shared: self.shared.clone(), metrics: self.metrics.clone() }
    }

    /// Takes pushes in until the connection has to be replaced, and returns why.
    async fn listen(&self, mut feed: T::Feed, backoff: &mut Backoff) -> Fault {
        let silence = self.config.silence;
        let silent = || Box::pin(self.context.sleep(silence));
        // Measured by sleeping: the wall clock may be set back meanwhile.
        let mut deadline = silent();
        let mut refused = 0;
        let mut ahead = Ahead::default();
        loop {
            let pushed = select! {
                pushed = feed.next() => pushed,
                () = &mut deadline => {
                    if ahead.excuses(self.finalized()) {
                        deadline = silent();
                        continue;
                    }
                    self.metrics.silent();
                    return self.metrics.reject(Error::Silence { silence });
                },
            };
            let taken = match pushed.map_err(|fault| self.metrics.refused(fault)) {
                Ok(push) => self.take(push).await,
                Err(fault) => Err(fault),
            };
            match taken {
                Ok(false) => {}
                Ok(true) => {
                    self.event(self.context.current());
                    deadline = silent();
                    (refused, ahead) = (0, Ahead::default());
                    backoff.succeed();
                }
                Err(fault) if fault.kind == FaultKind::UnknownEpoch => {
                    ahead.pushed(self.finalized());
                    self.metrics.absorbed(&fault);
                }
                Err(fault) => {
                    refused += 1;
                    if fault.severity() == Severity::Transient
                        || refused >= self.config.refused_frames_max.get()
                    {
                        return fault;
                    }
                    self.metrics.absorbed(&fault);
                }
            }
        }
    }

    /// The newest finalized block that is verified, by whatever way it came.
    fn finalized(&self) -> Option<BlockRef> {
        self.shared.known.lock().finalized().map(|finalized| finalized.block.reference())
    }

    fn event(&self, now: SystemTime) {
        self.shared.link.lock().event = Some(now);
    }

    /// Takes one push in. Whether it was a certificate that verifies and is not from the past.
    async fn take(&self, push: Push) -> Result<bool, Fault> {
        let (kind, bytes) = match push {
            Push::Finalization(bytes) => (CertificateKind::Finalized, bytes),
            Push::Notarization(bytes) => (CertificateKind::Notarized, bytes),
            Push::Irrelevant => return Ok(false),
        };
        let claim = self.verifier.claim(kind, bytes)?;
        let relevance = self.shared.known.lock().judge(kind, claim.round(), claim.reference());
        if relevance == Relevance::Stale {
            self.metrics.stale();
            return Ok(false);
        }
        // What an answer brought first is checked from memory: it shows that the push side lives.
        let certified = self.verifier.check(claim, Check::Push).await?;
        let outcome = self.shared.known.lock().take(certified);
        if outcome != Outcome::Unchanged {
            self.metrics.pushed();
            self.shared.ring();
        }
        Ok(true)
    }
}
