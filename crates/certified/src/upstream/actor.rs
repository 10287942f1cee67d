use crate::{
    CertificateKind, CertifiedBlock, Check, Config, Epochs, Feed, Metrics, Push, Transport,
    Verifier,
    known::{Outcome, Relevance, Shared},
    requests::within,
};
use commonware_macros::select;
use commonware_runtime::{Clock, Handle, Spawner};
use rand::CryptoRng;
use std::{sync::Arc, time::SystemTime};
use tidewatch_core::{Backoff, Fault, FaultKind, Severity};
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

/// Keeps one push connection open: connects, takes verified pushes in, and connects again, with back-off
/// and jitter. Made by [`open`](crate::open).
pub struct Upstream<E, T, X, B: CertifiedBlock> {
    context: E,
    transport: Arc<T>,
    verifier: Arc<Verifier<X, B>>,
    shared: Arc<Shared<B>>,
    metrics: Metrics,
    config: Config,
}

impl<E, T, X, B: CertifiedBlock> std::fmt::Debug for Upstream<E, T, X, B> {
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
            None => {
                let detail = format_args!("no push connection within {limit:?}");
                Err(self.metrics.fault(FaultKind::Timeout, detail))
            }
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

    /// Takes pushes in until the connection is to be replaced, and says why.
    async fn listen(&self, mut feed: T::Feed, backoff: &mut Backoff) -> Fault {
        let silence = self.config.silence;
        // Measured by sleeping: the wall clock may be set back meanwhile.
        let mut silent = Box::pin(self.context.sleep(silence));
        let mut refused = 0;
        loop {
            let pushed = select! {
                pushed = feed.next() => pushed,
                () = &mut silent => {
                    self.metrics.silent();
                    let detail =
                        format_args!("nothing new that verifies was pushed for {silence:?}");
                    return self.metrics.fault(FaultKind::Timeout, detail);
                },
            };
            let fault = match pushed.map_err(|fault| self.metrics.refused(fault)) {
                Ok(push) => match self.take(push) {
                    Ok(false) => continue,
                    Ok(true) => {
                        self.event(self.context.current());
                        silent = Box::pin(self.context.sleep(silence));
                        refused = 0;
                        backoff.succeed();
                        continue;
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            refused += 1;
            if fault.severity() == Severity::Transient
                || refused >= self.config.refused_frames_max.get()
            {
                return fault;
            }
            self.metrics.absorbed(&fault);
        }
    }

    fn event(&self, now: SystemTime) {
        self.shared.link.lock().event = Some(now);
    }

    /// Takes one push in. Whether it was a certificate that verifies and is not from the past.
    fn take(&self, push: Push) -> Result<bool, Fault> {
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
        let certified = self.verifier.check(claim, Check::Push)?;
        let outcome = self.shared.known.lock().take(certified);
        if outcome != Outcome::Unchanged {
            self.metrics.pushed();
            self.shared.ring();
        }
        Ok(true)
    }
}
