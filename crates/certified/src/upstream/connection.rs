//! One push connection at a time.

use super::Config;
use crate::{
    CertificateKind, CertifiedBlock, Check, Config as Limits, Epochs, Error, Feed, Metrics, Push,
    Transport, Verifier,
    known::{Outcome, Relevance, Shared},
};
use commonware_macros::select;
use commonware_runtime::Clock;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Backoff, BlockRef, Fault, FaultKind, Severity, within};
use tracing::info;

/// Marks the connection as closed when it is dropped, whatever ended it.
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

/// What a push was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// Nothing: it was of no use, old news, or pushed before.
    Nothing,
    /// It verifies and was not pushed before, but an answer had brought it: pushes arrive.
    Alive,
    /// It moved a tip.
    Moved,
}

/// Opens push connections to one endpoint, and takes in what they bring.
pub(super) struct Connection<T, X: Epochs, B: CertifiedBlock> {
    transport: Arc<T>,
    verifier: Arc<Verifier<X, B>>,
    shared: Arc<Shared<B>>,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
}

impl<T: Transport, X: Epochs, B: CertifiedBlock> Connection<T, X, B> {
    pub(super) fn new(config: Config<T, X, B>) -> Self {
        let Config { transport, verifier, shared, metrics, limits } = config;
        Self { transport, verifier, shared, metrics, limits }
    }

    /// One connection, from the wait before it to its end, and why it ended. Dropped, it closes the
    /// connection; what was pushed before is taken in.
    pub(super) async fn attempt(
        &self,
        clock: &impl Clock,
        wait: Duration,
        backoff: &mut Backoff,
    ) -> Fault {
        if wait > Duration::ZERO {
            clock.sleep(wait).await;
        }
        match self.connect(clock).await {
            Ok(feed) => {
                let _open = self.opened();
                self.listen(clock, feed, backoff).await
            }
            Err(fault) => fault,
        }
    }

    async fn connect(&self, clock: &impl Clock) -> Result<T::Feed, Fault> {
        self.metrics.connecting();
        let limit = self.limits.request_timeout;
        match within(clock, limit, self.transport.listen()).await {
            Some(feed) => feed.map_err(|fault| self.metrics.refused(fault)),
            None => Err(self.metrics.reject(Error::NoConnection { limit })),
        }
    }

    /// Marks the connection as open for as long as the returned guard lives.
    fn opened(&self) -> Open<B> {
        {
            let mut link = self.shared.link.lock();
            debug_assert!(!link.open, "there is never more than one connection");
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
    async fn listen(&self, clock: &impl Clock, mut feed: T::Feed, backoff: &mut Backoff) -> Fault {
        let silence = self.limits.silence;
        let silent = || Box::pin(clock.sleep(silence));
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
                Ok(Taken::Nothing) => {}
                Ok(taken @ (Taken::Alive | Taken::Moved)) => {
                    self.event(clock.current());
                    deadline = silent();
                    (refused, ahead) = (0, Ahead::default());
                    if taken == Taken::Moved {
                        backoff.succeed();
                    }
                }
                Err(fault) if fault.kind == FaultKind::UnknownEpoch => {
                    ahead.pushed(self.finalized());
                    // An answer leads to the epochs on the way, a push does not wait for them.
                    if !std::mem::replace(&mut self.shared.link.lock().ahead, true) {
                        self.shared.ring();
                    }
                    self.metrics.absorbed(&fault);
                }
                Err(fault) => {
                    refused += 1;
                    if fault.severity() == Severity::Transient
                        || refused >= self.limits.refused_frames_max.get()
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

    /// Takes one push in.
    async fn take(&self, push: Push) -> Result<Taken, Fault> {
        let (kind, bytes) = match push {
            Push::Finalization(bytes) => (CertificateKind::Finalized, bytes),
            Push::Notarization(bytes) => (CertificateKind::Notarized, bytes),
            Push::Irrelevant => return Ok(Taken::Nothing),
        };
        let claim = self.verifier.claim(kind, bytes)?;
        self.shared.link.lock().seen = Some(claim.reference().height);
        let relevance = self.shared.known.lock().judge(kind, claim.round(), claim.reference());
        if relevance == Relevance::Stale {
            self.metrics.stale();
            return Ok(Taken::Nothing);
        }
        // One that an answer brought first costs no signature check.
        let certified = self.verifier.check(claim, Check::Push).await?;
        let pushed = (certified.round, certified.kind);
        let outcome = self.shared.known.lock().take(certified);
        let repeated = {
            let mut link = self.shared.link.lock();
            let repeated = link.pushed.is_some_and(|newest| pushed <= newest);
            link.pushed = link.pushed.max(Some(pushed));
            repeated
        };
        if outcome != Outcome::Unchanged {
            self.metrics.pushed();
            self.shared.ring();
        }
        Ok(match outcome {
            Outcome::Moved => Taken::Moved,
            Outcome::Conflicts | Outcome::Unchanged if repeated => Taken::Nothing,
            Outcome::Conflicts | Outcome::Unchanged => Taken::Alive,
        })
    }
}
