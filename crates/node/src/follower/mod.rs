//! A source, a view, a driver and consumers, under one supervisor.
//!
//! # Overview
//!
//! ```text
//!              ┌──────────────── Follower ────────────────┐
//!  Source ────▶│ Driver ──▶ view, log ──▶ Delivery ───────│──▶ Consumer
//!              │   │                 └──▶ Delivery ───────│──▶ Consumer
//!              │   └──▶ Head                              │
//!              └──────────────────────────────────────────┘
//! ```
//!
//! The driver is a critical member: without it the follower ends. A consumer is an optional one, unless it
//! is attached as critical: one that is too old, or fails for good, ends alone and is in the report. Other
//! actors, such as a source's upstream, come under the same supervisor with [`Follower::supervise`].
//!
//! [`Follower::ended`] gives the first cause of an end; [`Follower::stop`] stops everything in order, lets
//! each actor complete what it is writing, and names those that do not end in time. Nothing that was
//! acknowledged is lost by either.
//!
//! A view that keeps no log, such as an execution layer, has no consumers: its `log` is `()`.

#[cfg(test)]
mod tests;

use crate::supervisor::{self, Id, Member, RemoveError, Report, Role, StillRunning, Supervisor};
use commonware_runtime::{Clock, Handle, Metrics, Spawner};
use rand::Rng;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Consumer, Heads, History, LocalView, Monitor, Running, Source, watch::Receiver,
};
use tidewatch_stream::{
    Delivery, Driver, Mailbox, delivery,
    driver::{self, SyncError},
};

/// What a follower is made of.
#[derive(Debug)]
pub struct Config<S, V, L, M> {
    /// What is followed.
    pub source: Arc<S>,
    /// What takes it in. A source of another chain than the view's ends the follower before anything is
    /// read.
    pub view: V,
    /// The history that consumers read; `()` where there is none.
    pub log: L,
    /// Observes the driver.
    pub monitor: M,
    /// Limits of the driver.
    pub driver: driver::Config,
    /// Limits of the supervisor.
    pub supervisor: supervisor::Config,
}

/// A consumer, and how it is attached.
#[derive(Debug)]
pub struct Attachment<C, M = ()> {
    /// Who takes events in.
    pub consumer: C,
    /// Observes its failures.
    pub monitor: M,
    /// What its end means for the follower.
    pub role: Role,
    /// Limits of its delivery.
    pub config: delivery::Config,
}

impl<C> Attachment<C> {
    /// An optional consumer that nobody observes, with the default limits.
    pub fn new(consumer: C) -> Self {
        Self { consumer, monitor: (), role: Role::Optional, config: delivery::Config::default() }
    }
}

/// A consumer that is attached.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its member under the supervisor.
    pub id: Id,
    /// Talks to its delivery.
    pub delivery: delivery::Mailbox,
}

/// A running follower: see the [module](self).
pub struct Follower<E, L = ()> {
    context: E,
    log: L,
    driver: Mailbox,
    supervisor: supervisor::Mailbox,
    handle: Handle<Report>,
}

impl<E, L> std::fmt::Debug for Follower<E, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("supervisor", &self.supervisor).finish_non_exhaustive()
    }
}

impl<E, L> Follower<E, L>
where
    E: Spawner + Clock + Metrics + Rng,
{
    /// Starts to follow.
    pub fn start<S, V, M>(context: E, config: Config<S, V, L, M>) -> Self
    where
        S: Source,
        V: LocalView<Block = S::Block>,
        M: Monitor,
    {
        let Config { source, view, log, monitor, driver, supervisor } = config;
        let (supervising, supervisor) = Supervisor::new(context.child("supervisor"), supervisor);
        let handle = supervising.start();
        let parts = driver::Parts { source, view, monitor };
        let (actor, driver) = Driver::new(context.child("driver"), parts, driver);
        supervisor.add(Member::critical(Running::start(actor)));
        Self { context, log, driver, supervisor, handle }
    }

    /// Hands all events to a consumer, from where it last acknowledged durably.
    pub fn attach<C: Consumer, M: Monitor>(&self, attachment: Attachment<C, M>) -> Attached
    where
        L: History,
    {
        let Attachment { consumer, monitor, role, config } = attachment;
        let context = self.context.child("delivery").with_attribute("consumer", consumer.name());
        let parts = delivery::Parts { log: self.log.clone(), consumer, monitor };
        let (actor, delivery) = Delivery::new(context, parts, config);
        let id = self.supervisor.add(Member::new(role, Running::start(actor)));
        Attached { id, delivery }
    }

    /// Stops a consumer, or another member, and forgets it. What it acknowledged stays.
    ///
    /// # Errors
    ///
    /// Those of [`supervisor::Mailbox::remove`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the member is removed all the same.
    pub async fn detach(&self, id: Id) -> Result<(), RemoveError> {
        self.supervisor.remove(id).await
    }

    /// Puts another actor under this supervisor, such as a source's upstream.
    pub fn supervise(&self, member: Member) -> Id {
        self.supervisor.add(member)
    }

    /// The history that consumers read.
    pub const fn log(&self) -> &L {
        &self.log
    }

    /// To ring the driver, and to wait for passes.
    pub const fn mailbox(&self) -> &Mailbox {
        &self.driver
    }

    /// Where the driver stands, to read and to await.
    pub fn heads(&self) -> Heads {
        self.driver.heads()
    }

    /// What became of the members so far, to read and to await.
    pub fn report(&self) -> Receiver<Report> {
        self.supervisor.report()
    }

    /// Waits for a pass that begins after this call.
    ///
    /// # Errors
    ///
    /// That of [`Mailbox::sync`].
    pub async fn sync(&self) -> Result<tidewatch_stream::Ended, SyncError> {
        self.driver.sync().await
    }

    /// Waits until everything has ended, and reports why. A follower that nobody stops runs for ever, so
    /// this is always news.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn ended(&self) -> Report {
        let report = self.supervisor.report();
        let ended = report.until(|report| report.over).await;
        ended.unwrap_or_else(|_| report.current())
    }

    /// Stops everything in order, within `limit`: consumers first, the driver after them. After an end
    /// by itself it changes nothing.
    ///
    /// # Errors
    ///
    /// The names of the actors that had not ended in time; they are aborted.
    pub async fn stop(self, limit: Duration) -> Result<Report, StillRunning> {
        self.supervisor.stop(limit);
        let report = self.supervisor.report();
        let report = self.handle.await.unwrap_or_else(|_| report.current());
        match report.still_running {
            Some(late) => Err(late),
            None => Ok(report),
        }
    }
}
