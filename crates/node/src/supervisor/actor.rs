//! The supervisor's loop.

use super::{
    Config, Mailbox,
    decide::{Decision, decide},
    ingress::{Message, RemoveError, Removed},
    member::{Factory, Id, Member, Restarts, Role, Start},
    report::{Ended, Report, StillRunning},
};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::{select, select_loop};
use commonware_runtime::{Clock, ContextCell, Handle, Metrics, Spawner, spawn_cell};
use futures::{
    FutureExt as _,
    future::{BoxFuture, pending, poll_fn},
};
use rand::Rng;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tidewatch_core::{
    Backoff, Fault, Running,
    watch::{Sender, watch},
};
use tracing::{error, info, warn};

/// Makes an actor again.
struct Again {
    factory: Factory,
    restarts: Restarts,
    backoff: Backoff,
    /// When it was started again, within the window.
    times: VecDeque<SystemTime>,
}

impl Again {
    /// How long to wait before the next start, or nothing if there have been enough.
    fn next(&mut self, now: SystemTime, rng: &mut impl Rng) -> Option<Duration> {
        let window = self.restarts.window;
        // A clock that was set back makes restarts no older than they are.
        self.times.retain(|at| now.duration_since(*at).unwrap_or_default() < window);
        if self.times.len() >= self.restarts.max.get() as usize {
            return None;
        }
        if self.times.is_empty() {
            self.backoff.succeed();
        }
        self.times.push_back(now);
        Some(self.backoff.fail(rng))
    }
}

enum State {
    Running(Running),
    /// Until it is started again.
    Waiting(BoxFuture<'static, ()>),
}

/// A member that is on its way out.
struct Leaving {
    removed: Removed,
    deadline: BoxFuture<'static, ()>,
}

struct Entry {
    name: String,
    role: Role,
    state: State,
    again: Option<Again>,
    leaving: Option<Leaving>,
    /// It was asked to stop: its end is no news.
    asked: bool,
}

impl Entry {
    fn stop(&mut self) {
        self.asked = true;
        if let State::Running(running) = &mut self.state {
            running.stop();
        }
    }
}

/// What came of a member.
enum Event {
    Ended(Result<(), Fault>),
    /// It is time to start it again.
    Due,
    /// It was removed, and did not end in time.
    Overdue,
}

/// Supervises actors: see the [module](super).
pub struct Supervisor<E: Spawner> {
    context: ContextCell<E>,
    config: Config,
    inbox: Receiver<Message>,
    /// Keeps the inbox open when all other mailboxes are gone.
    _own: Mailbox,
    members: BTreeMap<Id, Entry>,
    report: Report,
    published: Sender<Report>,
}

impl<E: Spawner> std::fmt::Debug for Supervisor<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("report", &self.report).finish_non_exhaustive()
    }
}

impl<E: Spawner + Clock + Metrics + Rng> Supervisor<E> {
    /// A supervisor without members, and the mailbox to talk to it.
    pub fn new(context: E, config: Config) -> (Self, Mailbox) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (published, report) = watch(Report::default());
        let mailbox = Mailbox { sender, ids: Arc::new(AtomicU64::new(0)), report };
        let supervisor = Self {
            context: ContextCell::new(context),
            config,
            inbox,
            _own: mailbox.clone(),
            members: BTreeMap::new(),
            report: Report::default(),
            published,
        };
        (supervisor, mailbox)
    }

    /// Starts it. The handle resolves when every member has ended, with what became of them.
    pub fn start(mut self) -> Handle<Report> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Report {
        let held = self.context.stopped();
        let mut limit = self.config.stop_limit;
        select_loop! {
            self.context,
            on_start => {
                self.publish();
                let event = next(&mut self.members);
            },
            on_stopped => {},
            Some(message) = self.inbox.recv() else break => match message {
                Message::Add(id, member) => self.add(id, member),
                Message::Remove(id, removed) => self.remove(id, removed),
                Message::Stop(within) => {
                    limit = within;
                    break;
                }
            },
            (id, event) = event => {
                if self.happened(id, event) {
                    break;
                }
            },
        }
        self.stop(limit).await;
        self.report.over = true;
        self.publish();
        drop(held);
        info!(report = %self.report, "supervisor stopped");
        self.report
    }

    fn publish(&mut self) {
        let names = self.members.iter().map(|(id, entry)| (*id, entry.name.clone()));
        self.report.members = names.collect();
        self.published.change(|published| {
            let changed = *published != self.report;
            published.clone_from(&self.report);
            changed
        });
    }

    fn add(&mut self, id: Id, mut member: Member) {
        let role = member.role;
        let (running, again) = match member.take() {
            None => return,
            Some(Start::Runs(running)) => (running, None),
            Some(Start::Makes(mut factory, restarts)) => {
                let backoff = Backoff::new(restarts.backoff, restarts.backoff_max);
                let running = factory();
                (running, Some(Again { factory, restarts, backoff, times: VecDeque::new() }))
            }
        };
        let name = running.name().to_owned();
        let state = State::Running(running);
        let entry = Entry { name, role, state, again, leaving: None, asked: false };
        let before = self.members.insert(id, entry);
        debug_assert!(before.is_none(), "an id names one member");
    }

    fn remove(&mut self, id: Id, removed: Removed) {
        let Some(entry) = self.members.get_mut(&id).filter(|entry| entry.leaving.is_none()) else {
            let _ = removed.send(Err(RemoveError::Unknown)); // The caller may have left.
            return;
        };
        entry.stop();
        if matches!(entry.state, State::Waiting(_)) {
            self.members.remove(&id);
            let _ = removed.send(Ok(()));
            return;
        }
        let deadline = self.context.sleep(self.config.remove_limit).boxed();
        entry.leaving = Some(Leaving { removed, deadline });
    }

    /// Takes in what came of a member. True if the node ends with it.
    fn happened(&mut self, id: Id, event: Event) -> bool {
        let Some(mut entry) = self.members.remove(&id) else { return false };
        match event {
            Event::Due => {
                if let Some(again) = &mut entry.again {
                    entry.state = State::Running((again.factory)());
                    self.report.restarts += 1;
                    self.members.insert(id, entry);
                }
                false
            }
            Event::Overdue => {
                if let State::Running(running) = &entry.state {
                    running.abort();
                }
                if let Some(Leaving { removed, .. }) = entry.leaving {
                    let after = self.config.remove_limit;
                    let late = StillRunning { actors: vec![entry.name], after };
                    let _ = removed.send(Err(late.into()));
                }
                false
            }
            Event::Ended(result) => self.ended(id, entry, result),
        }
    }

    fn ended(&mut self, id: Id, mut entry: Entry, result: Result<(), Fault>) -> bool {
        if let Some(Leaving { removed, .. }) = entry.leaving {
            let _ = removed.send(Ok(()));
            return false;
        }
        let now = self.context.current();
        let severity = result.as_ref().err().map(Fault::severity);
        let passes = severity.is_some_and(|severity| !severity.is_fatal());
        let again = entry.again.as_mut().filter(|_| passes);
        let wait = again.and_then(|again| again.next(now, &mut *self.context));
        let decision = decide(entry.role, severity, wait.is_some());
        let ended = Ended { id, actor: entry.name.clone(), role: entry.role, result };
        match (decision, wait) {
            (Decision::Restart, Some(wait)) => {
                warn!(%ended, ?wait, "a member is started again");
                entry.state = State::Waiting(self.context.sleep(wait).boxed());
                self.members.insert(id, entry);
                false
            }
            (Decision::Restart | Decision::Report, _) => {
                warn!(%ended, "the others go on without a member");
                if self.report.rested.len() == self.config.reported_max.get() {
                    self.report.rested.remove(0);
                }
                self.report.rested.push(ended);
                false
            }
            (Decision::EndNode, _) => {
                error!(%ended, "the node ends with a member");
                self.report.cause = Some(ended);
                true
            }
        }
    }

    /// Stops every member in the reverse order of the start, within `limit`.
    async fn stop(&mut self, limit: Duration) {
        // What was being added or removed is stopped with the rest.
        while let Ok(message) = self.inbox.try_recv() {
            if let Message::Add(id, member) = message {
                self.add(id, member);
            }
        }
        self.members.retain(|_, entry| matches!(entry.state, State::Running(_)));
        for leaving in self.members.values_mut().filter_map(|entry| entry.leaving.as_mut()) {
            // The limit of the stop holds for all.
            leaving.deadline = pending().boxed();
        }
        self.publish();
        let mut deadline = self.context.sleep(limit).boxed();
        let order: Vec<_> = self.members.keys().rev().copied().collect();
        let share = limit / u32::try_from(order.len().max(1)).unwrap_or(u32::MAX);
        for id in order {
            if let Some(entry) = self.members.get_mut(&id) {
                entry.stop();
            }
            let mut share = self.context.sleep(share).boxed();
            while self.members.contains_key(&id) {
                select! {
                    (id, event) = next(&mut self.members) => self.stopped(id, event),
                    () = &mut share => break,
                }
            }
        }
        while !self.members.is_empty() {
            select! {
                (id, event) = next(&mut self.members) => self.stopped(id, event),
                () = &mut deadline => break,
            }
        }
        let late = std::mem::take(&mut self.members);
        let mut actors = Vec::new();
        for entry in late.into_values() {
            if let State::Running(running) = &entry.state {
                running.abort();
            }
            actors.push(entry.name);
        }
        if !actors.is_empty() {
            self.report.still_running = Some(StillRunning { actors, after: limit });
        }
    }

    /// Something came of a member while everything is stopped.
    fn stopped(&mut self, id: Id, event: Event) {
        let Event::Ended(result) = event else { return };
        let Some(Entry { name, role, leaving, asked, .. }) = self.members.remove(&id) else {
            return;
        };
        if let Some(Leaving { removed, .. }) = leaving {
            let _ = removed.send(Ok(()));
        }
        if result.is_err() || !asked {
            self.report.later.push(Ended { id, actor: name, role, result });
        }
    }
}

/// The next thing that comes of a member; never, without members.
async fn next(members: &mut BTreeMap<Id, Entry>) -> (Id, Event) {
    poll_fn(|context| {
        for (id, entry) in members.iter_mut() {
            if let Poll::Ready(event) = poll(entry, context) {
                return Poll::Ready((*id, event));
            }
        }
        Poll::Pending
    })
    .await
}

fn poll(entry: &mut Entry, context: &mut Context<'_>) -> Poll<Event> {
    let event = match &mut entry.state {
        State::Running(running) => running.poll_unpin(context).map(Event::Ended),
        State::Waiting(due) => due.poll_unpin(context).map(|()| Event::Due),
    };
    match (&event, &mut entry.leaving) {
        (Poll::Pending, Some(leaving)) => {
            leaving.deadline.poll_unpin(context).map(|()| Event::Overdue)
        }
        _ => event,
    }
}
