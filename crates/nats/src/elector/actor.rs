//! The elector's loop.

use super::{Candidate, Config, Found, Holder, Timing, Watched, found, metrics::Metrics};
use crate::{Claim, Cluster};
use commonware_macros::select;
use commonware_runtime::{
    Clock, ContextCell, Handle, Metrics as Register, Spawner, Supervisor, spawn_cell,
};
use futures::{FutureExt as _, future::BoxFuture};
use rand::Rng;
use std::{fmt, time::Duration};
use tidewatch_core::{
    Actor, Backoff, Fault, Stopper, Stopping,
    watch::{Receiver, Sender, watch},
    within,
};
use tracing::{info, warn};

/// Whether the publisher of this process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Somebody else does, or nobody.
    Standby,
    /// It does, by the lease of this revision.
    Leads {
        /// The revision that the lease was acquired with.
        revision: u64,
    },
}

/// What the publisher says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It cannot go on from where the stream ends.
    Unfit,
    /// It can.
    Fit,
    /// It found a later leader in the stream.
    Deposed {
        /// The revision of its own leadership that is over.
        revision: u64,
    },
}

impl Standing {
    /// Whether the leadership of `revision` is to end.
    fn ends(&self, of: u64) -> bool {
        match self {
            Self::Fit => false,
            Self::Unfit => true,
            Self::Deposed { revision } => *revision == of,
        }
    }
}

/// Why a leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    /// Another one has the lease.
    Lost,
    /// No renewal was confirmed in time.
    GaveUp,
    /// The publisher does not want it.
    Declined,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::GaveUp => "gave_up",
            Self::Declined => "declined",
        }
    }
}

/// A lease that is held.
struct Held {
    revision: u64,
    /// When it is given up.
    until: BoxFuture<'static, ()>,
}

/// Elects: see the [module](super).
pub struct Elector<E: Spawner + Clock, C> {
    context: ContextCell<E>,
    cluster: C,
    config: Config,
    leadership: Sender<Leadership>,
    standing: Receiver<Standing>,
    stopper: Stopper,
    stop: Stopping,
    metrics: Metrics,
}

impl<E: Spawner + Clock, C> fmt::Debug for Elector<E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elector").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<E, C> Elector<E, C>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
    C: Cluster,
{
    /// An elector at `cluster` for a publisher that says how it stands, and what it tells that one.
    pub fn new(
        context: E,
        cluster: C,
        config: Config,
        standing: Receiver<Standing>,
    ) -> (Self, Receiver<Leadership>) {
        let (stopper, stop) = Stopper::new();
        let (leadership, leads) = watch(Leadership::Standby);
        let metrics = Metrics::new(&context);
        let context = ContextCell::new(context);
        let elector =
            Self { context, cluster, config, leadership, standing, stopper, stop, metrics };
        (elector, leads)
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, signal) = self.stop.clone().with_runtime(&*self.context);
        while let Some(held) = self.campaign(&stop).await {
            let (first, publisher) = (held.revision, &self.config.publisher);
            info!(%publisher, revision = first, "leads");
            self.metrics.leads();
            self.tell(Leadership::Leads { revision: first });
            let (ended, last) = self.hold(&stop, held).await;
            self.tell(Leadership::Standby);
            self.metrics.ended(ended.as_str());
            warn!(revision = first, why = ended.as_str(), "leads no more");
            if matches!(ended, Ended::Stopped | Ended::Declined) {
                // Where that fails, the lease ends by its age.
                let gives = self.cluster.claim(last, None);
                let _ = within(&*self.context, self.config.timing.answer / 4, gives).await;
            }
            if ended == Ended::Stopped {
                break;
            }
        }
        drop(signal);
        Ok(())
    }

    fn tell(&self, leadership: Leadership) {
        self.leadership.change(|told| std::mem::replace(told, leadership) != leadership);
    }

    /// Waits for the lease; `None` when it was stopped.
    async fn campaign(&mut self, stop: &Stopping) -> Option<Held> {
        let Timing { ttl, give_up, answer, look, .. } = self.config.timing;
        let mut watched = Watched::default();
        let mut backoff = Backoff::new(look, 4 * look);
        loop {
            select! {
                () = stop.stopped() => return None,
                // A publisher that is gone has no use for a leadership.
                fit = self.standing.until(|standing| *standing == Standing::Fit) => { fit.ok()?; },
            }
            let attempt = async {
                let lease = within(&*self.context, answer, self.cluster.lease()).await?.ok()?;
                let Candidate::Claim(revision) =
                    watched.look(&lease, self.config.publisher.as_str(), ttl)
                else {
                    return Some(None);
                };
                // It counts from before the request.
                let until = self.context.sleep(give_up).boxed();
                let holder = Holder { publisher: self.config.publisher.as_str().into() };
                let claim = self.cluster.claim(revision, Some(holder.write()));
                match within(&*self.context, answer, claim).await?.ok()? {
                    Claim::Held(revision) => Some(Some(Held { revision, until })),
                    Claim::Taken => Some(None),
                }
            };
            let attempted = select! {
                () = stop.stopped() => return None,
                attempted = attempt => attempted,
            };
            let pause = match attempted {
                Some(Some(held)) => return Some(held),
                Some(None) => {
                    backoff.succeed();
                    look
                }
                None => backoff.fail(&mut *self.context),
            };
            select! {
                () = stop.stopped() => return None,
                () = self.context.sleep(pause) => {},
            }
            watched.slept(pause);
        }
    }

    /// Renews the lease until the leadership is over. Gives why, and the last revision that it is known to have.
    async fn hold(&mut self, stop: &Stopping, held: Held) -> (Ended, u64) {
        let Timing { renew, give_up, answer, look, .. } = self.config.timing;
        let Held { mut revision, mut until } = held;
        let acquired = revision;
        let mut pause: Duration = renew;
        loop {
            let declined = self.standing.until(|standing| standing.ends(acquired));
            select! {
                () = stop.stopped() => return (Ended::Stopped, revision),
                _ = declined => return (Ended::Declined, revision),
                () = &mut until => return (Ended::GaveUp, revision),
                () = self.context.sleep(pause) => {},
            }
            let then = self.context.sleep(give_up).boxed();
            let holder = Holder { publisher: self.config.publisher.as_str().into() };
            let renewal = async {
                let claim = self.cluster.claim(revision, Some(holder.write()));
                match within(&*self.context, answer, claim).await {
                    Some(Ok(Claim::Held(renewed))) => Some(Ok(renewed)),
                    Some(Ok(Claim::Taken)) | Some(Err(_)) | None => {
                        let lease = within(&*self.context, answer, self.cluster.lease()).await;
                        lease?.ok().map(|lease| Err(found(&lease, &holder.publisher)))
                    }
                }
            };
            let renewed = select! {
                () = stop.stopped() => return (Ended::Stopped, revision),
                () = &mut until => return (Ended::GaveUp, revision),
                renewed = renewal => renewed,
            };
            pause = match renewed {
                Some(Ok(renewed)) => {
                    (revision, until) = (renewed, then);
                    self.metrics.renewed();
                    renew
                }
                // When that one began is not known here: the time goes on as it was.
                Some(Err(Found::Mine(renewed))) => {
                    revision = renewed;
                    Duration::ZERO
                }
                Some(Err(Found::Lost)) => return (Ended::Lost, revision),
                None => {
                    self.metrics.failed();
                    look
                }
            };
        }
    }
}

impl<E, C> Actor for Elector<E, C>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
    C: Cluster,
{
    fn name(&self) -> String {
        "nats elector".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }
}
