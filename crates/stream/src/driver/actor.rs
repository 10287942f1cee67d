//! The driver's loop.

use super::{
    Config, Mailbox,
    ingress::{Answer, Message},
    metrics::Metrics,
    tracker::Tracker,
};
use crate::{
    Cost, Ended, Guard, Pass, Stopper,
    stop::{StopSignal, with_runtime},
};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::select;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use futures::{FutureExt as _, pin_mut};
use rand::Rng;
use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{
    Backoff, ChainInfo, Fault, FaultKind, LocalView, Monitor, Rule, Severity, Source,
};
use tracing::{debug, info, warn};

/// Runs passes over one source for one view: see the [module](super).
pub struct Driver<E: Spawner + Clock, S, V, M> {
    context: ContextCell<E>,
    source: Arc<S>,
    view: V,
    chain_info: ChainInfo,
    config: Config,
    inbox: Receiver<Message>,
    stop: StopSignal,
    /// Keeps the inbox open and the stop signal from resolving when all other mailboxes are gone.
    _own: Mailbox,
    tracker: Tracker<E, M>,
    backoff: Backoff,
}

impl<E: Spawner + Clock, S, V, M> std::fmt::Debug for Driver<E, S, V, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("chain_info", &self.chain_info)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Ends a wait on the source by deadline and by stop, and says meanwhile what it makes of the tip.
struct Bounded<'a, E, M> {
    context: &'a E,
    tracker: &'a Tracker<E, M>,
    about: &'a str,
    stop: StopSignal,
    deadline: Duration,
}

impl<E: Clock, M: Monitor> Guard for Bounded<'_, E, M> {
    async fn wait<T: Send>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        // Measured by sleeping: the wall clock may be set back meanwhile.
        let deadline = self.context.sleep(Rule::Deadline.bounds(self.deadline));
        pin_mut!(call, deadline);
        loop {
            select! {
                () = self.stop.clone() => {
                    return Err(FaultKind::Stopped.fault(self.about, "the driver was told to stop"));
                },
                result = &mut call => {
                    if result.is_ok() {
                        self.tracker.contact();
                    }
                    return result;
                },
                () = &mut deadline => {
                    self.tracker.refresh();
                    let detail = format!("no answer within {:?}", self.deadline);
                    return Err(FaultKind::Timeout.fault(self.about, detail));
                },
                () = self.tracker.turn() => {},
            }
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

/// Why the driver woke up.
enum Wake {
    Stop,
    Message(Option<Message>),
    Doorbell,
    /// The next pass is due.
    Due,
    /// The status turned, because time passed.
    Turn,
}

impl<E, S, V, M> Driver<E, S, V, M>
where
    E: Spawner + Clock + Register + Rng,
    S: Source,
    V: LocalView<Block = S::Block>,
    M: Monitor,
{
    /// A driver over `source` for `view`, which it alone writes, and the mailbox to talk to it.
    /// `chain_info` is what the source answered at start, and the view was opened with.
    pub fn new(
        context: E,
        source: Arc<S>,
        view: V,
        chain_info: ChainInfo,
        monitor: M,
        config: Config,
    ) -> (Self, Mailbox) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let metrics = Metrics::new(&context);
        let tracker = Tracker::new(context.child("clock"), monitor, metrics, config.thresholds);
        let mailbox = Mailbox { sender, stopper };
        let backoff = Backoff::new(config.poll, config.backoff_max);
        let context = ContextCell::new(context);
        let driver = Self {
            context,
            source,
            view,
            chain_info,
            config,
            inbox,
            stop,
            _own: mailbox.clone(),
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
        let (stop, held) = with_runtime(&self.stop, &*self.context);
        self.stop = stop;
        let watermarks = self.view.watermarks().await?;
        self.tracker.moved(&watermarks);
        let mut answers = Vec::new();
        loop {
            self.collect(&mut answers);
            let Some(pause) = self.pass(&mut answers).await? else { break };
            if !self.idle(&pause, &mut answers).await {
                break;
            }
        }
        drop(held);
        info!(source = self.source.name(), "driver stopped");
        Ok(())
    }

    /// Takes everything that waits, in the inbox and at the doorbell: the next pass serves all of it.
    fn collect(&mut self, answers: &mut Vec<Answer>) {
        let _ = self.source.doorbell().now_or_never();
        while let Ok(message) = self.inbox.try_recv() {
            if let Message::Sync(answer) = message {
                answers.push(answer);
            }
        }
    }

    /// One pass. Says how long to wait before the next one, or nothing when told to stop; fails only
    /// where the driver must end.
    async fn pass(&mut self, answers: &mut Vec<Answer>) -> Result<Option<Pause>, Fault> {
        let guard = Bounded {
            context: &*self.context,
            tracker: &self.tracker,
            about: self.source.name(),
            stop: self.stop.clone(),
            deadline: self.config.deadline,
        };
        let mut pass = Pass::new(
            &*self.source,
            &mut self.view,
            &self.chain_info,
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
        if !Rule::Requery.kept() {
            self.collect(answers);
        }
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
        let told = self.stop.clone().now_or_never().is_some();
        if told && ended.as_ref().is_err_and(|fault| fault.kind == FaultKind::Stopped) {
            return Ok(None); // Whoever waits is told by the closed channel.
        }
        for answer in answers.drain(..) {
            let _ = answer.send(ended.clone()); // Whoever asked may have left.
        }
        let (poll, pace) = (self.config.poll, self.config.pace);
        match ended {
            Ok(ended) => {
                self.backoff.succeed();
                let conflicted = ended == Ended::Conflicted && Rule::Conflicted.kept();
                self.tracker.ended(!conflicted, Some(conflicted));
                debug!(?ended, calls = cost.total(), "pass ended");
                Ok(Some(Pause { wait: poll, pace }))
            }
            Err(fault) => {
                warn!(kind = fault.kind.as_str(), %fault, "pass failed");
                self.tracker.fault(&fault);
                if fault.conflict.is_some() {
                    self.tracker.contradicted();
                }
                self.tracker.ended(false, None);
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

    /// Waits until the next pass is due, or earlier if there is a reason, but never sooner than the
    /// pace allows unless somebody waits for it. False when told to stop.
    async fn idle(&mut self, pause: &Pause, answers: &mut Vec<Answer>) -> bool {
        let due = self.context.sleep(Rule::Poll.bounds(pause.wait));
        let earliest = self.context.sleep(pause.pace.min(pause.wait));
        pin_mut!(due, earliest);
        // One hint is as good as many: after the first, nobody listens until the pass.
        let mut rung = false;
        loop {
            match self.wake(due.as_mut(), earliest.as_mut(), rung).await {
                Wake::Stop | Wake::Message(None) => return false,
                Wake::Message(Some(Message::Sync(answer))) => {
                    if !answer.is_closed() {
                        answers.push(answer);
                        return true;
                    }
                }
                Wake::Message(Some(Message::Ring)) | Wake::Doorbell => rung = true,
                Wake::Due => return true,
                Wake::Turn => {}
            }
        }
    }

    async fn wake(
        &mut self,
        due: impl Future<Output = ()> + Send,
        earliest: impl Future<Output = ()> + Send,
        rung: bool,
    ) -> Wake {
        let doorbell = async {
            if rung || !Rule::Doorbell.kept() {
                pending::<()>().await;
            } else {
                self.source.doorbell().await;
            }
        };
        let hinted = async {
            if rung {
                earliest.await;
            } else {
                pending::<()>().await;
            }
        };
        select! {
            // A stop comes before anything else, a request before a mere hint.
            () = self.stop.clone() => Wake::Stop,
            message = self.inbox.recv() => Wake::Message(message),
            () = doorbell => Wake::Doorbell,
            () = due => Wake::Due,
            () = hinted => Wake::Due,
            () = self.tracker.turn() => Wake::Turn,
        }
    }
}
