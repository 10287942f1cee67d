//! A source, a store, a driver and consumers, under one supervisor.
//!
//! # Overview
//!
//! ```text
//!              ┌────────────── Follower ──────────────┐
//!  Source ────▶│ Driver ──▶ store ──▶ Delivery ───────│──▶ Consumer
//!              │                 └──▶ Delivery ───────│──▶ Consumer
//!              └──────────────────────────────────────┘
//! ```
//!
//! The follower holds the handle of every actor that it started. [`Follower::ended`] names the first
//! that ended, and why; [`Follower::stop`] tells all of them to stop, lets each complete what it is
//! writing, and names those that do not end in time. Nothing that was acknowledged is lost by either.

#[cfg(test)]
mod tests;

use commonware_runtime::{Clock, Handle, Metrics, Spawner};
use futures::future::{FutureExt as _, join_all, select_all};
use rand::Rng;
use std::{future::pending, sync::Arc, time::Duration};
use tidewatch_core::{ChainInfo, Consumer, Fault, FaultKind, History, LocalView, Monitor, Source};
use tidewatch_stream::{
    Delivery, Driver, Mailbox, Stopper, delivery,
    driver::{self, SyncError},
};

pub use tidewatch_stream::driver::Config;

/// The first actor that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one: `driver`, `consumer NAME`, or the name that it was given.
    pub actor: String,
    /// Why, if it did not just stop.
    pub result: Result<(), Fault>,
}

/// Actors did not end in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("still running after {after:?}: {}", .actors.join(", "))]
pub struct StillRunning {
    /// Their names.
    pub actors: Vec<String>,
    /// How long was waited.
    pub after: Duration,
}

/// A task under the supervisor.
enum Task {
    /// Ends by itself when it was told to stop.
    Stopping(Handle<Result<(), Fault>>),
    /// Ends when it is aborted: it keeps nothing that a stop could lose.
    Aborting(Handle<()>),
}

impl Task {
    async fn ended(&mut self) -> Result<Result<(), Fault>, commonware_runtime::Error> {
        match self {
            Self::Stopping(handle) => handle.await,
            Self::Aborting(handle) => handle.await.map(Ok),
        }
    }

    fn abort(&mut self) {
        match self {
            Self::Stopping(handle) => handle.abort(),
            Self::Aborting(handle) => handle.abort(),
        }
    }
}

struct Actor {
    name: String,
    task: Task,
    stopper: Option<Stopper>,
}

/// A running follower: see the [module](self).
pub struct Follower<E, L> {
    context: E,
    log: L,
    mailbox: Mailbox,
    actors: Vec<Actor>,
}

impl<E, L> std::fmt::Debug for Follower<E, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let actors: Vec<_> = self.actors.iter().map(|actor| &actor.name).collect();
        f.debug_struct("Follower").field("actors", &actors).finish_non_exhaustive()
    }
}

impl<E, L> Follower<E, L>
where
    E: Spawner + Clock + Metrics + Rng,
    L: History,
{
    /// Starts to follow `source` into `view`, which was opened for `chain_info`, and whose events
    /// consumers read from `log`.
    pub fn start<S, M>(
        context: E,
        source: Arc<S>,
        (view, log): (impl LocalView<Block = S::Block>, L),
        chain_info: ChainInfo,
        monitor: M,
        config: driver::Config,
    ) -> Self
    where
        S: Source,
        M: Monitor,
    {
        let (driver, mailbox) =
            Driver::new(context.child("driver"), source, view, chain_info, monitor, config);
        let task = Task::Stopping(driver.start());
        let actors = vec![Actor { name: "driver".into(), task, stopper: None }];
        Self { context, log, mailbox, actors }
    }

    /// Hands all events to `consumer`, from where it last acknowledged durably.
    pub fn attach<C: Consumer>(
        &mut self,
        consumer: C,
        monitor: impl Monitor,
        config: delivery::Config,
    ) {
        let name = format!("consumer {}", consumer.name());
        let context = self.context.child("delivery").with_attribute("consumer", consumer.name());
        let (delivery, stopper) =
            Delivery::new(context, self.log.clone(), consumer, monitor, config);
        let task = Task::Stopping(delivery.start());
        self.actors.push(Actor { name, task, stopper: Some(stopper) });
    }

    /// Puts another actor under this supervisor, such as a source's upstream: it is named when it
    /// ends, and aborted at the stop.
    pub fn supervise(&mut self, name: impl Into<String>, handle: Handle<()>) {
        let task = Task::Aborting(handle);
        self.actors.push(Actor { name: name.into(), task, stopper: None });
    }

    /// The history that consumers read.
    pub const fn log(&self) -> &L {
        &self.log
    }

    /// To ring the driver, and to wait for passes.
    pub const fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Waits for a pass that begins after this call.
    ///
    /// # Errors
    ///
    /// That of [`Mailbox::sync`].
    pub async fn sync(&self) -> Result<tidewatch_stream::Ended, SyncError> {
        self.mailbox.sync().await
    }

    /// Waits for the first actor to end. A follower that is not told to stop runs for ever, so this
    /// is always news. Called again, it waits for the next one; after the last one, for ever.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn ended(&mut self) -> Ended {
        if self.actors.is_empty() {
            return pending().await;
        }
        let ends = self.actors.iter_mut().map(|actor| actor.task.ended().boxed());
        let (result, at, _) = select_all(ends).await;
        let actor = self.actors.swap_remove(at);
        let result = result.unwrap_or_else(|error| {
            Err(FaultKind::Bug.fault(actor.name.clone(), format!("its task ended: {error}")))
        });
        Ended { actor: actor.name, result }
    }

    /// Stops everything: the driver and the consumers complete what they are writing.
    ///
    /// # Errors
    ///
    /// The names of the actors that had not ended after `limit`; they are aborted.
    pub async fn stop(mut self, limit: Duration) -> Result<(), StillRunning> {
        self.mailbox.stop();
        for actor in &self.actors {
            if let Some(stopper) = &actor.stopper {
                stopper.stop();
            }
        }
        let deadline = self.context.current() + limit;
        let waits = self.actors.drain(..).map(|mut actor| {
            let timer = self.context.sleep_until(deadline);
            async move {
                if matches!(actor.task, Task::Aborting(_)) {
                    actor.task.abort();
                }
                commonware_macros::select! {
                    _ = actor.task.ended() => None,
                    () = timer => {
                        actor.task.abort();
                        Some(actor.name)
                    },
                }
            }
        });
        let running: Vec<_> = join_all(waits).await.into_iter().flatten().collect();
        if running.is_empty() {
            Ok(())
        } else {
            Err(StillRunning { actors: running, after: limit })
        }
    }
}
