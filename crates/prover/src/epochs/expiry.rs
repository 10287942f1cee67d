//! The ticker that sweeps expired epochs.

use super::Geometry;
use commonware_macros::select_loop;
use commonware_runtime::{Clock, ContextCell, Handle, Spawner, spawn_cell};
use std::{fmt, future::Future, time::Duration};
use tidewatch_core::{Actor, Fault, Stopper, Stopping};
use tracing::{debug, warn};

/// The port to the slot that the chain is synced to.
pub trait Slots: Send + 'static {
    /// The slot; `None` if it is not known.
    fn slot(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

/// Drops what expired.
pub trait Expire: Send + 'static {
    /// Drops everything of `epoch` and of those before it: one call, however many those are.
    fn expire(&mut self, epoch: u64) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Which epochs are swept: a decision over slots.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    geometry: Geometry,
    swept: Option<u64>,
}

impl Sweep {
    /// Epochs up to `swept` need no sweep: those that were proven before the start.
    pub const fn new(geometry: Geometry, swept: Option<u64>) -> Self {
        Self { geometry, swept }
    }

    /// The newest epoch that is to be swept now. A slot that went back takes back what was swept: what is added
    /// meanwhile is swept again when its time comes.
    pub fn due(&mut self, slot: Option<u64>) -> Option<u64> {
        let slot = slot?;
        let expired = self.geometry.expired(slot);
        self.swept = self.swept.min(expired);
        expired.filter(|expired| self.swept.is_none_or(|swept| swept < *expired))
    }

    /// `epoch` and those before it are swept.
    pub const fn done(&mut self, epoch: u64) {
        self.swept = Some(epoch);
    }

    /// The newest epoch that was swept.
    pub const fn swept(&self) -> Option<u64> {
        self.swept
    }
}

/// Stops an expiry ticker.
#[derive(Clone, Debug)]
pub struct Mailbox {
    stopper: Stopper,
}

impl Mailbox {
    /// Stops it: a sweep at hand is completed. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

/// An actor that does one thing: every `poll` it asks for the slot, and sweeps what has expired.
///
/// It depends on no event, and its wait is a sleep, not a comparison of times: it goes on when nothing else does,
/// and after the clock was set. A sweep that failed is made again at the next tick.
pub struct Expiry<E: Spawner + Clock, S, X> {
    context: ContextCell<E>,
    slots: S,
    expire: X,
    sweep: Sweep,
    poll: Duration,
    own: Mailbox,
    stop: Stopping,
}

impl<E: Spawner + Clock, S, X> fmt::Debug for Expiry<E, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiry").field("sweep", &self.sweep).finish_non_exhaustive()
    }
}

impl<E: Spawner + Clock, S: Slots, X: Expire> Expiry<E, S, X> {
    /// A ticker, and the mailbox that stops it.
    pub fn new(context: E, slots: S, expire: X, sweep: Sweep, poll: Duration) -> (Self, Mailbox) {
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { stopper };
        let context = ContextCell::new(context);
        (Self { context, slots, expire, sweep, poll, own: own.clone(), stop }, own)
    }

    /// Starts it. The handle resolves when it was stopped.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        select_loop! {
            self.context,
            on_start => {
                let tick = self.context.sleep(self.poll);
            },
            on_stopped => {},
            () = stop.stopped() => break,
            () = tick => self.tick().await,
        }
        drop(held);
        debug!("expiry ticker stopped");
        Ok(())
    }

    async fn tick(&mut self) {
        let slot = self.slots.slot().await;
        let Some(epoch) = self.sweep.due(slot) else { return };
        match self.expire.expire(epoch).await {
            Ok(()) => self.sweep.done(epoch),
            Err(fault) => warn!(epoch, %fault, "not swept: tried again at the next tick"),
        }
    }
}

impl<E: Spawner + Clock, S: Slots, X: Expire> Actor for Expiry<E, S, X> {
    fn name(&self) -> String {
        "expiry".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
