//! The driver's loop.

use super::{
    Config, Mailbox,
    ingress::{Answer, Message},
    metrics::Metrics,
    tracker::Tracker,
};
use crate::{
    Backoff, Cost, Ended, Guard, Pass, Stopper,
    stop::{StopSignal, either},
};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::select;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use futures::FutureExt as _;
use rand::Rng;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Fault, FaultKind, Identity, LocalView, Monitor, Severity, Source};
use tracing::{debug, info, warn};

/// Runs passes over one source for one view: see the [module](super).
pub struct Driver<E: Spawner + Clock, S, V, M> {
    context: ContextCell<E>,
    source: Arc<S>,
    view: V,
    identity: Identity,
    config: Config,
    inbox: Receiver<Message>,
    stop: StopSignal,
    /// Keeps the stop signal from resolving because all mailboxes are gone.
    _stopper: Stopper,
    tracker: Tracker<E, M>,
    backoff: Backoff,
}

impl<E: Spawner + Clock, S, V, M> std::fmt::Debug for Driver<E, S, V, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("identity", &self.identity)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Ends a wait on the source by deadline and by stop.
struct Bounded<'a, E> {
    context: &'a E,
    about: &'a str,
    stop: StopSignal,
    deadline: Duration,
}

impl<E: Clock> Guard for Bounded<'_, E> {
    async fn wait<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        select! {
            () = self.stop.clone() => {
                Err(FaultKind::Stopped.fault(self.about, "the driver was told to stop"))
            },
            result = call => result,
            () = self.context.sleep(self.deadline) => {
                let detail = format!("no answer within {:?}", self.deadline);
                Err(FaultKind::Timeout.fault(self.about, detail))
            },
        }
    }
}

/// Why the driver woke up.
enum Wake {
    Stop,
    Message(Option<Message>),
    Doorbell,
    Time,
}

impl<E, S, V, M> Driver<E, S, V, M>
where
    E: Spawner + Clock + Register + Rng,
    S: Source,
    V: LocalView<Block = S::Block>,
    M: Monitor,
{
    /// A driver over `source` for `view`, which it alone writes, and the mailbox to talk to it.
    /// `identity` is what the source answered at start, and the view was opened with.
    pub fn new(
        context: E,
        source: Arc<S>,
        view: V,
        identity: Identity,
        monitor: M,
        config: Config,
    ) -> (Self, Mailbox) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let metrics = Metrics::new(&context);
        let tracker = Tracker::new(context.child("clock"), monitor, metrics, config.thresholds);
        let mailbox = Mailbox { sender, stopper: stopper.clone() };
        let backoff = Backoff::new(config.poll, config.backoff_max);
        let context = ContextCell::new(context);
        let driver = Self {
            context,
            source,
            view,
            identity,
            config,
            inbox,
            stop,
            _stopper: stopper,
            tracker,
            backoff,
        };
        (driver, mailbox)
    }

    /// Starts it. The handle resolves when it was stopped, or with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let shutdown = self.context.stopped().map(drop).boxed().shared();
        // The runtime's own stop is one of ours too.
        self.stop = either(&self.stop, shutdown.clone());
        let marks = self.view.marks().await?;
        self.tracker.moved(&marks);
        let mut answers = Vec::new();
        loop {
            self.collect(&mut answers);
            let wait = match self.pass(&mut answers).await {
                Ok(wait) => wait,
                Err(fault) if fault.kind == FaultKind::Stopped => break,
                Err(fault) => return Err(fault),
            };
            if !self.idle(wait, &mut answers).await {
                break;
            }
        }
        // Held until here, so that whoever stops the runtime waits for a commit at hand.
        drop(shutdown);
        info!(source = self.source.name(), "driver stopped");
        Ok(())
    }

    /// Takes everything that waits in the inbox: the next pass serves all of it.
    fn collect(&mut self, answers: &mut Vec<Answer>) {
        while let Ok(message) = self.inbox.try_recv() {
            if let Message::Sync(answer) = message {
                answers.push(answer);
            }
        }
    }

    /// One pass. Says how long to wait before the next one; fails only where the driver must end.
    async fn pass(&mut self, answers: &mut Vec<Answer>) -> Result<Duration, Fault> {
        let guard = Bounded {
            context: &*self.context,
            about: self.source.name(),
            stop: self.stop.clone(),
            deadline: self.config.deadline,
        };
        let mut pass = Pass::new(
            &*self.source,
            &mut self.view,
            &self.identity,
            self.config.mode,
            guard,
            &self.tracker,
        );
        let result = pass.run().await;
        let cost = pass.cost();
        let side = pass.faults().to_vec();
        let (ended, faults) = match result {
            Ok(report) => (Ok(report.ended), report.faults),
            Err(fault) => (Err(fault), side),
        };
        self.settle(ended, &faults, cost, answers)
    }

    fn settle(
        &mut self,
        ended: Result<Ended, Fault>,
        faults: &[Fault],
        cost: Cost,
        answers: &mut Vec<Answer>,
    ) -> Result<Duration, Fault> {
        self.tracker.metrics().pass(&ended, cost);
        for fault in faults {
            warn!(kind = fault.kind.as_str(), %fault, "pass went on");
            self.tracker.fault(fault);
        }
        if matches!(&ended, Err(fault) if fault.kind == FaultKind::Stopped) {
            return ended.map(|_| Duration::ZERO); // Whoever waits is told by the closed channel.
        }
        for answer in answers.drain(..) {
            let _ = answer.send(ended.clone()); // Whoever asked may have left.
        }
        match ended {
            Ok(ended) => {
                self.backoff.succeed();
                let conflicted = ended == Ended::Conflicted;
                self.tracker.ended(!conflicted, Some(conflicted));
                debug!(?ended, calls = cost.total(), "pass ended");
                Ok(self.config.poll)
            }
            Err(fault) => {
                warn!(kind = fault.kind.as_str(), %fault, "pass failed");
                self.tracker.fault(&fault);
                self.tracker.ended(false, None);
                match fault.severity() {
                    Severity::Corrupt | Severity::Config | Severity::Bug => Err(fault),
                    Severity::Transient | Severity::Behind | Severity::Lied => {
                        Ok(self.backoff.fail(&mut *self.context))
                    }
                }
            }
        }
    }

    /// Waits until the next pass is due: after `wait`, or earlier if there is a reason, but never
    /// sooner than the pace allows unless somebody waits for it. False when told to stop.
    async fn idle(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> bool {
        let now = self.context.current();
        let earliest = later(now, self.config.pace.min(wait));
        let mut due = later(now, wait);
        loop {
            match self.wake(due).await {
                Wake::Stop | Wake::Message(None) => return false,
                Wake::Message(Some(Message::Sync(answer))) => {
                    answers.push(answer);
                    return true;
                }
                Wake::Time => {
                    self.tracker.refresh();
                    return true;
                }
                Wake::Message(Some(Message::Ring)) | Wake::Doorbell => {
                    if self.context.current() >= earliest {
                        return true;
                    }
                    due = due.min(earliest);
                }
            }
        }
    }

    async fn wake(&mut self, due: SystemTime) -> Wake {
        select! {
            // A stop comes before anything else, a request before a mere hint.
            () = self.stop.clone() => Wake::Stop,
            message = self.inbox.recv() => Wake::Message(message),
            () = self.source.doorbell() => Wake::Doorbell,
            () = self.context.sleep_until(due) => Wake::Time,
        }
    }
}

fn later(now: SystemTime, wait: Duration) -> SystemTime {
    now.checked_add(wait).unwrap_or(now)
}
