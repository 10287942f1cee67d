//! The driver's loop.

use super::{
    Config, Mailbox, Parts,
    ingress::{Answer, Message},
    metrics::Metrics,
    tracker::{LOOK_AGAIN, Tracker},
};
use crate::{Cost, Ended, Error, Forks, Guard, Pass};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::{select, select_loop};
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use futures::{
    FutureExt as _,
    future::{BoxFuture, pending},
};
use rand::Rng;
use std::{future::Future, pin::pin, sync::Arc, time::Duration};
use tidewatch_core::{
    Actor, Backoff, ChainInfo, Doorbell, Fault, FaultKind, HeadSender, LocalView, Monitor,
    Severity, Source, Stopper, Stopping,
};
use tracing::{debug, info, warn};

/// Runs passes over one source for one view: see the [module](super).
pub struct Driver<E: Spawner + Clock, S, V, M> {
    context: ContextCell<E>,
    source: Arc<S>,
    doorbell: Doorbell,
    view: V,
    chain_info: ChainInfo,
    config: Config,
    inbox: Receiver<Message>,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox,
    /// The source was asked which chain it is of, and it is the view's.
    compared: bool,
    tracker: Tracker<E, M>,
    backoff: Backoff,
    forks: Forks,
}

impl<E: Spawner + Clock, S, V, M> std::fmt::Debug for Driver<E, S, V, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("chain_info", &self.chain_info)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Ends a wait on the source by deadline and by stop.
struct Bounded<'a, E, M> {
    context: &'a E,
    tracker: &'a Tracker<E, M>,
    about: &'a str,
    stop: Stopping,
    deadline: Duration,
    /// Whether an answer shows that the source is in contact. Which chain it is of, a source may know by
    /// itself.
    contact: bool,
}

impl<E: Clock, M: Monitor> Guard for Bounded<'_, E, M> {
    async fn wait<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        // Measured by sleeping: the wall clock may be set back meanwhile.
        let mut deadline = self.context.sleep(self.deadline).boxed();
        let mut call = pin!(call);
        loop {
            self.tracker.progressed();
            select! {
                () = self.stop.stopped() => return Err(Fault::new(self.about, Error::Stopped)),
                result = &mut call => {
                    if self.contact && result.is_ok() {
                        self.tracker.contact();
                    }
                    return result;
                },
                () = &mut deadline => {
                    self.tracker.refresh();
                    return Err(Fault::new(self.about, Error::NoAnswer { limit: self.deadline }));
                },
                // A wait that its deadline ends is no standstill.
                () = self.context.sleep(LOOK_AGAIN) => {},
            }
        }
    }
}

/// The outcome of `work`, with the status kept up to date meanwhile, whatever it awaits: a source, or a disk
/// that does not answer.
async fn turning<E: Clock, M: Monitor, T>(
    // A pass is large: on the heap it does not add to whatever holds the driver.
    tracker: &Tracker<E, M>,
    mut work: BoxFuture<'_, T>,
) -> T {
    loop {
        select! {
            result = &mut work => return result,
            () = tracker.turn() => {},
        }
    }
}

/// How long until the next pass.
struct Pause {
    /// Without a reason.
    wait: Duration,
    /// With a hint that the source may have moved.
    pace: Duration,
}

/// Until when the driver idles. Measured by sleeping: the wall clock may be set back meanwhile.
struct Idle {
    due: BoxFuture<'static, ()>,
    /// The earliest moment for a pass after a hint.
    earliest: BoxFuture<'static, ()>,
    /// One hint is as good as many: after the first, none is heard until the pass.
    rung: bool,
}

impl Idle {
    fn new(context: &impl Clock, pause: &Pause) -> Self {
        Self {
            due: context.sleep(pause.wait).boxed(),
            earliest: context.sleep(pause.pace.min(pause.wait)).boxed(),
            rung: false,
        }
    }
}

impl<E, S, V, M> Driver<E, S, V, M>
where
    E: Spawner + Clock + Register + Rng,
    S: Source,
    V: LocalView<Block = S::Block>,
    M: Monitor,
{
    /// A driver over `parts.source` for `parts.view`, which it alone writes, and the mailbox to talk to
    /// it.
    pub fn new(context: E, parts: Parts<S, V, M>, config: Config) -> (Self, Mailbox) {
        let Parts { source, view, monitor } = parts;
        let chain_info = view.chain_info().clone();
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let (head, heads) = HeadSender::new();
        let metrics = Metrics::new(&context);
        let clock = context.child("clock");
        let tracker = Tracker::new(clock, monitor, metrics, config.thresholds, head);
        let mailbox = Mailbox { sender, stopper, heads };
        let backoff = Backoff::new(config.poll, config.backoff_max);
        let context = ContextCell::new(context);
        let doorbell = source.doorbell();
        let driver = Self {
            context,
            source,
            doorbell,
            view,
            chain_info,
            config,
            inbox,
            stop,
            own: mailbox.clone(),
            compared: false,
            tracker,
            backoff,
            forks: Forks::default(),
        };
        (driver, mailbox)
    }

    /// Starts it. The handle resolves when it was stopped, or with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let ended = self.follow().await;
        self.tracker.over();
        ended
    }

    async fn follow(&mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        self.stop = stop;
        match self.view.watermarks().await {
            Ok(watermarks) => {
                self.source.durable(&watermarks);
                self.tracker.moved(&watermarks);
            }
            Err(fault) if fault.severity().is_fatal() => return Err(fault),
            // A view that is a process of its own may be away: every pass asks it again.
            Err(fault) => self.tracker.fault(&fault),
        }
        let mut answers = Vec::new();
        let mut idle: Option<Idle> = None;
        select_loop! {
            self.context,
            on_start => {
                if idle.is_none() {
                    self.collect(&mut answers);
                    let Some(pause) = self.pass(&mut answers).await? else { break };
                    idle = Some(Idle::new(&*self.context, &pause));
                }
                let Some(Idle { due, earliest, rung }) = &mut idle else { continue };
                let hinted = *rung;
                let doorbell = async {
                    if hinted {
                        pending::<()>().await;
                    } else {
                        self.doorbell.rung().await;
                    }
                };
                let earliest = async {
                    if hinted {
                        earliest.await;
                    } else {
                        pending::<()>().await;
                    }
                };
            },
            on_stopped => {},
            // A stop comes before anything else, a request before a mere hint.
            () = self.stop.stopped() => break,
            Some(message) = self.inbox.recv() else break => match message {
                Message::Sync(answer) if answer.is_closed() => {}
                Message::Sync(answer) => {
                    answers.push(answer);
                    idle = None;
                }
                Message::Ring => *rung = true,
            },
            () = doorbell => *rung = true,
            () = due => idle = None,
            () = earliest => idle = None,
            () = self.tracker.turn() => self.tracker.progressed(),
        }
        drop(held);
        info!(source = self.source.name(), "driver stopped");
        Ok(())
    }

    /// Takes everything that waits, in the inbox and at the doorbell: the next pass serves all of it.
    fn collect(&mut self, answers: &mut Vec<Answer>) {
        let _ = self.doorbell.rung().now_or_never();
        while let Ok(message) = self.inbox.try_recv() {
            if let Message::Sync(answer) = message {
                answers.push(answer);
            }
        }
    }

    /// One pass. Says how long to wait before the next one, or nothing when told to stop; fails only
    /// where the driver must end.
    async fn pass(&mut self, answers: &mut Vec<Answer>) -> Result<Option<Pause>, Fault> {
        let mut guard = Bounded {
            context: &*self.context,
            tracker: &self.tracker,
            about: self.source.name(),
            stop: self.stop.clone(),
            deadline: self.config.deadline,
            contact: false,
        };
        if !self.compared {
            let compared =
                turning(&self.tracker, guard.wait(self.source.chain_info()).boxed()).await;
            let compared =
                compared.and_then(|theirs| same_chain(&*self.source, &self.chain_info, &theirs));
            self.compared = compared.is_ok();
            if let Err(fault) = compared {
                return self.settle(Err(fault), &[], Cost::default(), answers);
            }
        }
        guard.contact = true;
        let mut pass = Pass::new(
            &*self.source,
            &mut self.view,
            &self.chain_info,
            self.config.mode,
            guard,
            &self.tracker,
        )
        .remembering(&mut self.forks);
        let result = turning(&self.tracker, pass.run().boxed()).await;
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
    ) -> Result<Option<Pause>, Fault> {
        self.tracker.metrics().pass(&ended, cost);
        for fault in faults {
            warn!(kind = fault.kind.as_str(), %fault, "pass went on");
            self.tracker.fault(fault);
        }
        // A source can say `Stopped` too, when its own actor has gone: that is a fault like any other.
        let told = self.stop.is_stopped();
        if told && ended.as_ref().is_err_and(|fault| fault.kind == FaultKind::Stopped) {
            return Ok(None); // The closed channel answers those who wait.
        }
        for answer in answers.drain(..) {
            let _ = answer.send(ended.clone()); // The caller may have left.
        }
        if let Some(verdict) = verdict(&ended, faults) {
            self.source.judged(verdict);
        }
        let (poll, pace) = (self.config.poll, self.config.pace);
        match ended {
            Ok(ended) => {
                self.backoff.succeed();
                let conflicted = ended == Ended::Conflicted;
                let fault = faults.last().map(|fault| fault.kind);
                // What was withheld leaves it open whether a conflict has passed.
                self.tracker.ended(fault, (conflicted || fault.is_none()).then_some(conflicted));
                debug!(?ended, calls = cost.total(), "pass ended");
                Ok(Some(Pause { wait: poll, pace }))
            }
            Err(fault) => {
                warn!(kind = fault.kind.as_str(), %fault, "pass failed");
                self.tracker.fault(&fault);
                if fault.conflict.is_some() {
                    self.tracker.contradicted();
                }
                self.tracker.ended(Some(fault.kind), None);
                match fault.severity() {
                    Severity::Corrupt | Severity::Config | Severity::Bug => Err(fault),
                    Severity::Behind => Ok(Some(Pause { wait: poll, pace })),
                    Severity::Transient | Severity::Invalid => {
                        let wait = self.backoff.fail(&mut *self.context);
                        Ok(Some(Pause { wait, pace: poll.max(pace) }))
                    }
                }
            }
        }
    }
}

impl<E, S, V, M> Actor for Driver<E, S, V, M>
where
    E: Spawner + Clock + Register + Rng,
    S: Source,
    V: LocalView<Block = S::Block>,
    M: Monitor,
{
    fn name(&self) -> String {
        "driver".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}

/// What a pass says of the source's answers, if anything: whether the view could use all of them.
fn verdict<'a>(
    ended: &'a Result<Ended, Fault>,
    faults: &'a [Fault],
) -> Option<Result<(), &'a Fault>> {
    match ended {
        Ok(_) => Some(faults.last().map_or(Ok(()), Err)),
        Err(fault) => {
            let useless = matches!(fault.severity(), Severity::Behind | Severity::Invalid)
                || matches!(fault.reason(), Some(Error::NoProposed));
            useless.then_some(Err(fault))
        }
    }
}

/// Whether the source is of the view's chain.
fn same_chain(source: &impl Source, ours: &ChainInfo, theirs: &ChainInfo) -> Result<(), Fault> {
    if ours == theirs {
        return Ok(());
    }
    let (ours, theirs) = (ours.clone(), theirs.clone());
    Err(Fault::new(source.name(), Error::WrongChain { ours, theirs }))
}
