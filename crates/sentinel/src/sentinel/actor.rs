//! The sentinel's loop.

use super::{
    config::Config,
    heard::Heard,
    ingress::{Mailbox, Message, Request},
    metrics::Metrics,
    pass::{Decided, Pass, Ports, Read, ask},
};
use crate::{
    Canonical, Committees, Error, Event, Observer, Output, Slot, Statistics, Status, What, Window,
    history::{Change, Disk, History, Limits},
    stats,
};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::{select, select_loop};
use commonware_runtime::{ContextCell, Handle, Spawner, spawn_cell};
use commonware_storage::Context;
use futures::{FutureExt as _, future::BoxFuture};
use std::{fmt, future::Future, time::Duration};
use tidewatch_core::{Actor, Doorbell, Fault, Stopper, Stopping};
use tracing::{debug, info, warn};

/// Events in one answer, at the most.
const LISTED_MAX: usize = 1_000;

/// Messages that are taken in within a pass, at the most: beyond them the mailbox merges.
const TAKEN_MAX: usize = 1 << 16;

/// What a sentinel works with.
pub struct Parts<O, C, K, U> {
    /// Where what is seen comes from.
    pub observer: O,
    /// What is canonical.
    pub canonical: C,
    /// Who was due.
    pub committees: K,
    /// Where events go.
    pub output: U,
}

impl<O, C, K, U> fmt::Debug for Parts<O, C, K, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Judges who did their part: see the [module](super).
pub struct Sentinel<E: Context, O, C, K, U> {
    context: ContextCell<E>,
    config: Config,
    ports: Ports<O, C, K>,
    output: U,
    disk: Disk<E>,
    heard: Heard,
    inbox: Receiver<Message>,
    doorbell: Doorbell,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox,
    /// Since the chain had passed which slot something waits; `None` if nothing does.
    waits_since: Option<Slot>,
    passed: Option<Slot>,
    in_step: bool,
    metrics: Metrics,
    about: String,
}

impl<E: Context, O, C, K, U> fmt::Debug for Sentinel<E, O, C, K, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinel").field("about", &self.about).finish_non_exhaustive()
    }
}

/// Why a step ended early.
enum Ended {
    Stopped,
    Fault(Fault),
}

async fn stopped_or<T>(
    stop: &Stopping,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Ended> {
    select! {
        () = stop.stopped() => Err(Ended::Stopped),
        found = work => found.map_err(Ended::Fault),
    }
}

impl<E, O, C, K, U> Sentinel<E, O, C, K, U>
where
    E: Context + Spawner,
    O: Observer,
    C: Canonical,
    K: Committees,
    U: Output,
{
    /// Opens what a sentinel left, or begins. Returns the mailbox to talk to it.
    ///
    /// # Errors
    ///
    /// A configuration that makes no sense, a directory of another chain or format, damage, or a disk that fails.
    pub async fn open(
        context: E,
        parts: Parts<O, C, K, U>,
        config: Config,
    ) -> Result<(Self, Mailbox), Fault> {
        let Parts { observer, canonical, committees, output } = parts;
        let about = format!("the sentinel of {}", config.chain);
        let failed = |error| Fault::new(about.clone(), error);
        config.check().map_err(failed)?;
        let limits = Limits { slots: config.history, epochs: config.epochs, events: config.events };
        let disk = Disk::open(&context, &config.partition, config.chain.clone(), limits).await;
        let mut disk = disk.map_err(failed)?;
        // The disk keeps messages for longer than they are of use. A reorg must find what it would have found
        // without the restart: what is opened again needs all that was seen of it.
        disk.history.settle(None, config.reorg_max);
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { sender, stopper };
        let heard = Heard::new(config.ahead, config.lag, disk.history.newest());
        let metrics = Metrics::new(&context);
        info!(chain = %config.chain, processed = ?disk.history.processed(), "watching");
        let mailbox = own.clone();
        let sentinel = Self {
            context: ContextCell::new(context),
            config,
            doorbell: canonical.doorbell(),
            ports: Ports { observer, canonical, committees },
            output,
            disk,
            heard,
            inbox,
            stop,
            own,
            waits_since: None,
            passed: None,
            in_step: false,
            metrics,
            about,
        };
        Ok((sentinel, mailbox))
    }

    /// Starts it. The handle resolves with success when it was stopped, and with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        let mut rung = false;
        let mut due: BoxFuture<'static, ()> = self.context.sleep(self.config.interval / 8).boxed();
        select_loop! {
            self.context,
            on_start => {
                let doorbell = async {
                    if rung {
                        futures::future::pending::<()>().await;
                    } else {
                        self.doorbell.rung().await;
                    }
                };
            },
            on_stopped => {},
            () = stop.stopped() => break,
            // Before what is observed: however much that is, passes go on.
            () = &mut due => {
                match self.step(&stop).await {
                    Ok(()) => {}
                    Err(Ended::Stopped) => break,
                    Err(Ended::Fault(fault)) if fault.severity().is_fatal() => return Err(fault),
                    Err(Ended::Fault(fault)) => {
                        self.metrics.fault(&fault);
                        debug!(about = %self.about, %fault, "a pass failed");
                    }
                }
                self.metrics.status(&self.status(), self.heard.waiting());
                due = self.context.sleep(self.config.interval).boxed();
                rung = false;
            },
            () = doorbell => {
                rung = true;
                due = self.context.sleep(self.config.interval / 8).boxed();
            },
            Some(message) = self.inbox.recv() else break => match message {
                Message::Ring if rung => {}
                Message::Ring => {
                    rung = true;
                    due = self.context.sleep(self.config.interval / 8).boxed();
                }
                message => self.handle(message),
            },
        }
        debug!(about = %self.about, "sentinel stopped");
        drop(held);
        Ok(())
    }

    fn failed(&self, error: Error) -> Ended {
        Ended::Fault(Fault::new(self.about.clone(), error))
    }

    /// One pass, and the events that are due.
    async fn step(&mut self, stop: &Stopping) -> Result<(), Ended> {
        self.contradictions().await?;
        let passed = self.pass(stop).await;
        // Whatever kept the pass from its end keeps no event back.
        self.give(stop).await?;
        passed
    }

    async fn contradictions(&mut self) -> Result<(), Ended> {
        let conflicts = self.heard.conflicts();
        if conflicts.is_empty() {
            return Ok(());
        }
        let first = self.disk.history.sequence() + 1;
        let events = (first..).zip(conflicts);
        let events = events.map(|(sequence, conflict)| {
            warn!(validator = %conflict.first.validator, slot = %conflict.first.slot,
                kind = conflict.kind.as_str(), "a validator contradicted itself");
            Event { sequence, what: What::Contradicted(conflict) }
        });
        let change = Change { events: events.collect(), ..self.unchanged() };
        self.write(change).await
    }

    fn unchanged(&self) -> Change {
        let history = &self.disk.history;
        Change {
            processed: history.processed(),
            evaluated: history.evaluated(),
            ..Change::default()
        }
    }

    async fn write(&mut self, change: Change) -> Result<(), Ended> {
        let members = |number| {
            let new = change.committees.iter().find(|(new, _)| *new == number);
            let known = new.map(|(_, members)| members);
            known.or_else(|| self.disk.history.members(number)).map_or(0, |members| members.len())
        };
        self.metrics.changed(&change, members);
        self.disk.write(change).await.map_err(|error| self.failed(error))
    }

    async fn pass(&mut self, stop: &Stopping) -> Result<(), Ended> {
        let read = Self::read(&*self.context, self.config.call, &self.ports);
        let Some(read) = stopped_or(stop, read).await? else { return Ok(()) };
        // An observer that is back says what it missed before it says where it is: that is taken in first.
        for _ in 0..TAKEN_MAX {
            let Ok(message) = self.inbox.try_recv() else { break };
            self.handle(message);
        }
        let passed = read.standing.tip.slot;
        self.passed = Some(passed);
        self.heard.stands(passed, read.position);
        if self.heard.is_beyond() || self.heard.may_begin() {
            let committees = &self.ports.committees;
            let members = committees.committee(committees.epoch(passed));
            let members = ask(&*self.context, self.config.call, "the committees", members);
            if let Some(members) = stopped_or(stop, members).await? {
                self.heard.lags(&members);
                if self.heard.may_begin() {
                    self.heard.begins(&members);
                }
            }
        }
        let decided = {
            let pass = Pass {
                clock: &*self.context,
                config: &self.config,
                ports: &self.ports,
                history: &self.disk.history,
                heard: &self.heard,
                read: &read,
                waits_since: self.waits_since,
            };
            stopped_or(stop, pass.decide()).await?
        };
        let Decided { change, stale, deep, in_step, waits_since, anchored } = decided;
        (self.in_step, self.waits_since) = (in_step, waits_since);
        if stale > 0 {
            info!(about = %self.about, stale, from = ?change.processed, deep, "a reorg: slots are judged again");
            self.metrics.reorged(stale, deep);
        }
        for event in &change.events {
            info!(about = %self.about, sequence = event.sequence, what = ?event.what, "verdict");
        }
        if change != self.unchanged() {
            self.write(change).await?;
        }
        if let Some((first, last)) = anchored {
            self.disk.history.anchor(first, last, read.standing.tip.block);
        }
        self.disk.history.settle(read.standing.finalized, self.config.reorg_max);
        self.heard.recorded(self.disk.history.newest());
        Ok(())
    }

    async fn read(
        clock: &E,
        limit: Duration,
        ports: &Ports<O, C, K>,
    ) -> Result<Option<Read>, Fault> {
        let standing = ask(clock, limit, "the canonical chain", ports.canonical.standing()).await?;
        let Some(standing) = standing else { return Ok(None) };
        let position = ports.observer.position(standing.tip.block.height);
        let position = ask(clock, limit, "the observer", position).await?;
        Ok(Some(Read { standing, position }))
    }

    /// Gives events to the output until it refuses one.
    async fn give(&mut self, stop: &Stopping) -> Result<(), Ended> {
        let due: Vec<Event> = self.disk.history.due().cloned().collect();
        let mut given = None;
        let mut refused = None;
        for event in due {
            let taken = self.output.give(&event);
            let taken = ask(&*self.context, self.config.call, "the output", taken);
            match stopped_or(stop, taken).await {
                Ok(()) => given = Some(event.sequence),
                Err(ended) => {
                    refused = Some(ended);
                    break;
                }
            }
        }
        if let Some(given) = given {
            self.disk.given(given).await.map_err(|error| self.failed(error))?;
        }
        refused.map_or(Ok(()), Err)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Observed(observation) => {
                let fate = self.heard.observe(*observation);
                self.metrics.observed(fate);
            }
            Message::Merged(slot, seen) => {
                self.metrics.merged();
                let fate = self.heard.merge(slot, *seen);
                self.metrics.observed(fate);
            }
            Message::Dropped { from, observations } => {
                self.metrics.dropped(observations);
                self.heard.dropped(from);
            }
            Message::Ring => {}
            Message::Request(request) => self.answer(request),
        }
    }

    fn window(&self, asked: crate::Asked) -> Result<Window, Fault> {
        let window = stats::window(&self.disk.history, asked, self.passed, self.heard.initial());
        window.map_err(|error| Fault::new(self.about.clone(), error))
    }

    fn answer(&self, request: Request) {
        let history: &History = &self.disk.history;
        let target = self.config.target;
        // Who asked may have left.
        match request {
            Request::Validator(validator, asked, answer) => {
                let found = self.window(asked);
                let found = found.map(|at| stats::detailed(history, at, &validator, target));
                let _ = answer.send(found);
            }
            Request::Validators(validators, asked, answer) => {
                let found = self.window(asked);
                let found = found.map(|at| stats::several(history, &at, &validators));
                let _ = answer.send(found);
            }
            Request::All(asked, answer) => {
                let found = self
                    .window(asked)
                    .map(|window| Statistics { validators: stats::all(history, &window), window });
                let _ = answer.send(found);
            }
            Request::Slots(asked, answer) => {
                let _ = answer.send(self.window(asked).map(|at| stats::slots(history, &at)));
            }
            Request::Epoch(epoch, answer) => {
                let record = history.epochs().find(|record| record.epoch == epoch);
                let found = record.map(|record| stats::epoch(history, record, target));
                let _ = answer.send(Ok(found));
            }
            Request::Events(from, max, answer) => {
                let events = history.events(from).take(max.min(LISTED_MAX));
                let _ = answer.send(Ok(events.cloned().collect()));
            }
            Request::Status(answer) => {
                let _ = answer.send(Ok(self.status()));
            }
        }
    }

    fn status(&self) -> Status {
        let history = &self.disk.history;
        Status {
            passed: self.passed,
            processed: history.processed(),
            initial: self.heard.initial(),
            kept: history.span(),
            epoch: history.evaluated(),
            in_step: self.in_step,
            events: history.sequence(),
        }
    }
}

impl<E, O, C, K, U> Actor for Sentinel<E, O, C, K, U>
where
    E: Context + Spawner,
    O: Observer,
    C: Canonical,
    K: Committees,
    U: Output,
{
    fn name(&self) -> String {
        "sentinel".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
