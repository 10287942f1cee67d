//! What every actor has: a name, a way to stop it in order, and an end.
//!
//! An actor is made by `new(context, ..) -> (Actor, Mailbox)` and consumed by [`Actor::start`]. A
//! supervisor (`tidewatch-node`) starts it, awaits its end, and stops it in order:
//!
//! ```text
//!  Stopper::stop() ──▶ Stopping ──▶ the actor gives up what it waits for, completes what it writes, ends
//!  the runtime's stop ─┘
//! ```

use crate::{
    Fault, FaultKind,
    watch::{Receiver, Sender, watch},
};
use commonware_runtime::{Handle, Spawner, signal::Signal};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, pending},
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Stops one actor in order: it gives up what it waits for, completes what it is writing, and ends. Cheap
/// to clone; dropping it stops nothing.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Sender<bool>>);

impl Stopper {
    /// A stopper, and what its actor listens to.
    pub fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch(false);
        (Self(Arc::new(sender)), Stopping { stopped: receiver, runtime: None })
    }

    /// Asks the actor to stop. Safe to call again, and after the actor has ended.
    pub fn stop(&self) {
        self.0.change(|stopped| !std::mem::replace(stopped, true));
    }
}

/// The actor's side of a [`Stopper`]. Cheap to clone.
#[derive(Clone)]
pub struct Stopping {
    stopped: Receiver<bool>,
    runtime: Option<Shared<BoxFuture<'static, ()>>>,
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopping").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

impl Stopping {
    /// The same, but resolved by the runtime's stop too. The actor keeps the signal until its end: who
    /// stops the runtime waits for that. It must not be polled, because a signal that has resolved holds
    /// nobody up.
    pub fn with_runtime(&self, context: &impl Spawner) -> (Self, Signal) {
        let runtime = context.stopped().map(drop).boxed().shared();
        (Self { stopped: self.stopped.clone(), runtime: Some(runtime) }, context.stopped())
    }

    /// Resolves when the actor was asked to stop.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again; once resolved, it resolves at once.
    pub async fn stopped(&self) {
        let asked = async {
            // Stoppers that are gone ask for nothing.
            if self.stopped.until(|stopped| *stopped).await.is_err() {
                pending::<()>().await;
            }
        };
        match &self.runtime {
            None => asked.await,
            Some(runtime) => {
                futures::pin_mut!(asked);
                futures::future::select(asked, runtime.clone()).await;
            }
        }
    }

    /// Whether the actor was asked to stop.
    pub fn is_stopped(&self) -> bool {
        let runtime =
            || self.runtime.as_ref().is_some_and(|stop| stop.clone().now_or_never().is_some());
        self.stopped.current() || runtime()
    }
}

/// A long-lived task with a name that a supervisor starts and stops.
pub trait Actor: Sized + Send + 'static {
    /// Names it in reports and logs.
    fn name(&self) -> String;

    /// Stops it in order once it was started.
    fn stopper(&self) -> Stopper;

    /// Starts it. The handle resolves with success after a stop, and with the fault that ended it
    /// otherwise.
    fn start(self) -> Handle<Result<(), Fault>>;
}

/// An actor that runs. Awaited, it gives how the actor ended; a task that panicked or was aborted ended
/// with a [`FaultKind::Bug`]. Dropped, it lets the actor run on.
#[must_use = "await it, or hand it to a supervisor"]
pub struct Running {
    name: String,
    handle: Handle<Result<(), Fault>>,
    stopper: Stopper,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Running {
    /// Starts `actor`.
    pub fn start(actor: impl Actor) -> Self {
        let (name, stopper) = (actor.name(), actor.stopper());
        Self::new(name, actor.start(), stopper)
    }

    /// A task that ends by itself once `stopper` asks it to.
    pub fn new(
        name: impl Into<String>,
        handle: Handle<Result<(), Fault>>,
        stopper: Stopper,
    ) -> Self {
        Self { name: name.into(), handle, stopper }
    }

    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to stop, without waiting. Safe to call again.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Ends it where it stands.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl Future for Running {
    type Output = Result<(), Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.handle.poll_unpin(context).map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(FaultKind::Bug.fault(this.name.clone(), format!("its task ended: {error}")))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, deterministic};
    use std::time::Duration;

    #[test]
    fn a_stop_is_heard_by_every_clone_now_and_later() {
        let (stopper, stopping) = Stopper::new();
        let early = stopping.clone();
        assert!(!early.is_stopped() && early.stopped().now_or_never().is_none());
        stopper.stop();
        stopper.stop();
        assert!(early.is_stopped() && early.stopped().now_or_never().is_some());
        assert!(stopping.stopped().now_or_never().is_some());
    }

    #[test]
    fn dropping_every_stopper_stops_nothing() {
        let (stopper, stopping) = Stopper::new();
        drop(stopper.clone());
        drop(stopper);
        assert!(stopping.stopped().now_or_never().is_none());
    }

    #[test]
    fn the_stop_of_the_runtime_is_heard_and_waits_for_the_actor() {
        deterministic::Runner::timed(Duration::from_secs(10)).start(|context| async move {
            let (_stopper, stopping) = Stopper::new();
            let (stopping, held) = stopping.with_runtime(&context);
            let mut stop = context.child("stop").stop(0, None).boxed();
            assert!((&mut stop).now_or_never().is_none());
            stopping.stopped().await;
            assert!(stopping.is_stopped() && (&mut stop).now_or_never().is_none());
            drop((stopping, held));
            stop.await.unwrap();
        });
    }

    #[test]
    fn what_runs_says_how_it_ended() {
        deterministic::Runner::timed(Duration::from_secs(10)).start(|context| async move {
            let spawn = |result: Result<(), Fault>| {
                let (stopper, stopping) = Stopper::new();
                let handle = context.child("actor").spawn(|_| async move {
                    stopping.stopped().await;
                    result
                });
                Running::new("actor", handle, stopper)
            };
            let broken = FaultKind::Disk.fault("disk", "is gone");
            for result in [Ok(()), Err(broken)] {
                let mut running = spawn(result.clone());
                context.sleep(Duration::from_secs(1)).await;
                assert!((&mut running).now_or_never().is_none());
                running.stop();
                assert_eq!(running.await, result);
            }
            let aborted = spawn(Ok(()));
            aborted.abort();
            assert_eq!(aborted.await.unwrap_err().kind, FaultKind::Bug);
        });
    }
}
