//! The monitor's loop.

use super::{config::Config, metrics::Metrics};
use crate::{
    Error, Identity, Item, Ordering, Preblock, Preblocks,
    coordinator::{Judged, Mailbox, Wanted},
};
use commonware_macros::select;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use rand::Rng;
use std::{fmt, sync::Arc};
use tidewatch_core::{Actor, Backoff, Fault, Height, Stopper, Stopping, watch::Receiver, within};
use tracing::{debug, info, warn};

/// Reads what the network fixed: see the [module](super).
pub struct PreblockMonitor<E: Spawner + Clock + Rng, O> {
    context: ContextCell<E>,
    ordering: Arc<O>,
    coordinator: Mailbox,
    config: Config,
    stopper: Stopper,
    stop: Stopping,
    metrics: Metrics,
    /// The newest one that was accepted.
    last: Option<Identity>,
}

impl<E: Spawner + Clock + Rng, O> fmt::Debug for PreblockMonitor<E, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreblockMonitor").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Where the number of a preblock is, beside the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Late,
    Next,
    Future,
}

const fn place(wanted: Height, number: Height) -> Place {
    match number.get() {
        number if number < wanted.get() => Place::Late,
        number if number == wanted.get() => Place::Next,
        _ => Place::Future,
    }
}

/// Why a connection is over.
enum Over {
    Stopped,
    /// The coordinator has ended.
    Alone,
    /// The wanted number is asked for again.
    Again,
    Broken(&'static str, Fault),
}

impl<E, O> PreblockMonitor<E, O>
where
    E: Spawner + Clock + Register + Rng,
    O: Ordering,
{
    /// A monitor of `ordering` that hands over to `coordinator`.
    pub fn new(context: E, ordering: Arc<O>, coordinator: Mailbox, config: Config) -> Self {
        let (stopper, stop) = Stopper::new();
        let metrics = Metrics::new(&context);
        let context = ContextCell::new(context);
        Self { context, ordering, coordinator, config, stopper, stop, metrics, last: None }
    }

    /// Starts it. The handle resolves when it was stopped, or the coordinator has ended.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        let mut wanted = self.coordinator.wanted();
        let mut backoff = Backoff::new(self.config.retry, self.config.retry_max);
        let ended = loop {
            let over = self.connection(&stop, &mut wanted, &mut backoff).await;
            self.coordinator.connected(false);
            match over {
                Over::Stopped => break Ok(()),
                // It ends first when both are stopped.
                Over::Alone if stop.is_stopped() || wanted.is_closed() => break Ok(()),
                Over::Alone => break Err(self.coordinator.fault()),
                Over::Again => {
                    self.metrics.ended("again");
                    continue;
                }
                Over::Broken(kind, fault) => {
                    self.metrics.ended(kind);
                    let pause = backoff.fail(&mut *self.context);
                    warn!(%fault, ?pause, "{kind}: reconnecting");
                    select! {
                        () = stop.stopped() => break Ok(()),
                        () = self.context.sleep(pause) => {},
                    }
                }
            }
        };
        info!("monitor stopped");
        drop(held);
        ended
    }

    /// Opens a stream and reads it until it is over.
    async fn connection(
        &mut self,
        stop: &Stopping,
        wanted: &mut Receiver<Wanted>,
        backoff: &mut Backoff,
    ) -> Over {
        let Wanted { from, again } = wanted.current();
        let ordering = self.ordering.clone();
        let name = ordering.name();
        let broken = |kind, error| Over::Broken(kind, Fault::new(name, error));
        let opening = within(&*self.context, self.config.deadline, ordering.preblocks(from));
        let opened = select! {
            () = stop.stopped() => return Over::Stopped,
            opened = opening => opened,
        };
        let mut stream = match opened {
            Some(Ok(stream)) => stream,
            Some(Err(fault)) => return Over::Broken("unreachable", fault),
            None => {
                let (call, limit) = ("preblocks", self.config.deadline);
                return broken("unreachable", Error::NoAnswer { call, limit });
            }
        };
        self.metrics.connected();
        self.coordinator.connected(true);
        debug!(network = name, %from, "connected");
        let silence = self.config.silence;
        loop {
            // One that lasted is no failure.
            let item = select! {
                () = stop.stopped() => return Over::Stopped,
                asked = wanted.until(|wanted| wanted.again != again) => {
                    return if asked.is_ok() { Over::Again } else { Over::Alone };
                },
                item = next(&mut stream) => Some(item),
                () = self.context.sleep(silence) => None,
            };
            match item {
                None => return broken("half_open", Error::HalfOpen(silence)),
                Some(Err(fault)) => return Over::Broken("ended", fault),
                Some(Ok(Item::Alive)) => backoff.succeed(),
                Some(Ok(Item::Preblock(preblock))) => {
                    let over = self.preblock(preblock, stop, wanted, again, backoff).await;
                    if let Some(over) = over {
                        return over;
                    }
                }
            }
        }
    }

    async fn preblock(
        &mut self,
        preblock: Box<Preblock>,
        stop: &Stopping,
        wanted: &mut Receiver<Wanted>,
        again: u64,
        backoff: &mut Backoff,
    ) -> Option<Over> {
        let identity = preblock.identity;
        let number = identity.number;
        match place(wanted.current().from, number) {
            Place::Late => {
                let doubled = self.last.is_some_and(|last| last.same(&preblock.identity));
                self.metrics.dropped(if doubled { "doubled" } else { "late" });
                return None;
            }
            Place::Future => {
                self.metrics.dropped("future");
                let (wanted, came) = (wanted.current().from, number);
                let why = format!("block {came} came, and {wanted} is wanted");
                let fault = tidewatch_core::FaultKind::WrongPosition;
                return Some(Over::Broken("gap", fault.fault(self.ordering.name(), why)));
            }
            Place::Next => {}
        }
        let preblock = match self.verified(preblock).await {
            Ok(preblock) => preblock,
            Err(why) => {
                self.metrics.dropped("invalid");
                warn!(%number, why, "invalid evidence: dropped");
                return None;
            }
        };
        match self.coordinator.offer(preblock).await {
            None => Some(Over::Alone),
            Some(Judged::Accepted) => {
                backoff.succeed();
                self.last = Some(identity);
                // What comes next has no place before this one is applied.
                let applied = wanted.until(|now| now.from > number || now.again != again);
                select! {
                    () = stop.stopped() => Some(Over::Stopped),
                    applied = applied => applied.is_err().then_some(Over::Alone),
                }
            }
            Some(Judged::Stopping) => Some(Over::Stopped),
            Some(_) => None,
        }
    }

    /// Checks the evidence, which is computation, away from the runtime's tasks.
    async fn verified(&self, preblock: Box<Preblock>) -> Result<Box<Preblock>, String> {
        let ordering = self.ordering.clone();
        let context = self.context.child("verify").shared(true);
        let verified =
            context.spawn(move |_| async move { ordering.verify(&preblock).map(|()| preblock) });
        verified.await.unwrap_or_else(|error| Err(format!("the check ended: {error}")))
    }
}

async fn next(stream: &mut Box<dyn Preblocks>) -> Result<Item, Fault> {
    stream.next().await
}

impl<E, O> Actor for PreblockMonitor<E, O>
where
    E: Spawner + Clock + Register + Rng,
    O: Ordering,
{
    fn name(&self) -> String {
        "preblocks".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_below_at_or_above_the_wanted_one() {
        let cases = [(3, Place::Late), (4, Place::Next), (5, Place::Future)];
        for (number, expected) in cases {
            assert_eq!(place(Height::new(4), Height::new(number)), expected);
        }
    }
}
