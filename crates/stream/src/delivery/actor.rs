//! The delivery's loop.

use super::{
    Config, Mailbox, Parts, bridge::Holds, call::attempt, ingress::Message, metrics::Metrics,
    progress::Progress,
};
use crate::Error;
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::{select, select_loop};
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::NZUsize;
use futures::{future::pending, pin_mut};
use rand::Rng;
use std::time::Duration;
use tidewatch_core::{
    Ack, Actor, Backoff, Canceled, Consumer, Cursor, Fault, FaultKind, History, LogError, Monitor,
    Record, Resume, ResumeError, Severity, Stopper, Stopping,
};
use tracing::{debug, warn};

/// Hands the events of one log to one consumer: see the [module](super).
pub struct Delivery<E: Spawner, L, C, M> {
    context: ContextCell<E>,
    consumer: C,
    monitor: M,
    config: Config,
    progress: Progress<L>,
    inbox: Receiver<Message>,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox,
}

impl<E: Spawner, L, C: Consumer, M> std::fmt::Debug for Delivery<E, L, C, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("consumer", &self.consumer.name())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What came of waiting for the consumer or the log.
enum Next {
    Stopped,
    /// Go on with this event.
    At(u64),
}

impl<E, L, C, M> Delivery<E, L, C, M>
where
    E: Spawner + Clock + Register + Rng,
    L: History,
    C: Consumer,
    M: Monitor,
{
    /// A delivery from `parts.log` to `parts.consumer`, and the mailbox to talk to it.
    pub fn new(context: E, parts: Parts<L, C, M>, config: Config) -> (Self, Mailbox) {
        let Parts { log, consumer, monitor } = parts;
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let mailbox = Mailbox { sender, stopper };
        let metrics = Metrics::new(&context);
        let backoff = Backoff::new(config.backoff, config.backoff_max);
        let delivery = Self {
            context: ContextCell::new(context),
            progress: Progress::new(log, consumer.name().into(), metrics, backoff),
            consumer,
            monitor,
            config,
            inbox,
            stop,
            own: mailbox.clone(),
        };
        (delivery, mailbox)
    }

    /// Starts it. The handle resolves when it was stopped or its log was closed, or with the fault
    /// that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.with_runtime(&*self.context);
        self.stop = stop;
        let mut next = match self.resume().await? {
            Next::At(sequence) => sequence,
            Next::Stopped => 0,
        };
        select_loop! {
            self.context,
            on_start => {
                if let Some(sequence) = self.progress.take_again() {
                    self.canceled().await?;
                    next = sequence;
                }
                let full = self.progress.flight.len() >= self.config.in_flight_max.get();
                let log = self.progress.log.clone();
                let ready = async {
                    if full {
                        pending::<()>().await;
                    }
                    log.wait(next).await
                };
            },
            on_stopped => {},
            () = self.stop.stopped() => break,
            Some(message) = self.inbox.recv() else break => self.progress.request(message),
            // Before more is handed over: it may make room, or void what comes next.
            settled = self.progress.flight.settled() => self.progress.settled(settled).await?,
            ready = ready => {
                let step = match ready {
                    Ok(()) => self.step(next).await?,
                    Err(error) => self.refused(error).await?,
                };
                match step {
                    Next::Stopped => break,
                    Next::At(sequence) => next = sequence,
                }
            },
        }
        // What is not acknowledged by now comes again.
        let settled = self.progress.flight.settle();
        self.progress.settled(settled).await?;
        drop(held);
        debug!(consumer = self.consumer.name(), next, "delivery stopped");
        Ok(())
    }

    /// The first event that the consumer has not durably taken in.
    async fn resume(&mut self) -> Result<Next, Fault> {
        let Some(cursor) = self.progress.log.load(self.consumer.name()).await? else {
            return Ok(Next::At(0));
        };
        self.progress.begin(cursor.clone());
        let next = self.go_on(&cursor, Holds::AtLeast).await?;
        let exactly = matches!(next, Next::At(next) if next == cursor.handled());
        if exactly && self.progress.stands.as_ref() == Some(&cursor) {
            self.progress.exactly(cursor.handled());
        }
        Ok(next)
    }

    /// The log no longer keeps what comes next.
    async fn behind(&mut self, oldest: u64) -> Result<Next, Fault> {
        // What is out may still be dropped, and then the consumer stands further back.
        if !self.settle().await? {
            return Ok(Next::Stopped);
        }
        let mut holds = Holds::Exactly;
        if self.progress.take_again().is_some() {
            self.canceled().await?;
            holds = Holds::AtLeast;
        }
        if let Some(stands) = self.progress.stands.clone() {
            return self.go_on(&stands, holds).await;
        }
        match self.oldest(oldest).await? {
            Some(record) => self.go_on(&record.cursor.restarted(), Holds::Exactly).await,
            None => Ok(Next::At(oldest)),
        }
    }

    /// Goes on from where the consumer stands, after bridging a gap in history where that is not a
    /// position that this log keeps.
    async fn go_on(&mut self, cursor: &Cursor, holds: Holds) -> Result<Next, Fault> {
        let mut told = false;
        loop {
            let error = match self.progress.log.resume(cursor).await {
                Ok(Resume::Exact { next }) => return Ok(Next::At(next)),
                Ok(Resume::Forked { bridge, next, .. }) => {
                    let bridge = holds.lead(cursor, bridge, next);
                    return self.bridge(&bridge, next).await;
                }
                // Nothing here leads on from there: the history starts anew.
                Err(ResumeError::TooOld { .. }) => return self.start_again(0).await,
                Err(ResumeError::Fault(fault)) => return Err(fault),
                Err(error) => error,
            };
            let ahead = matches!(error, ResumeError::Ahead { .. });
            let fault = Fault::new(self.consumer.name(), Error::from(error));
            if !ahead {
                return Err(fault);
            }
            // It was taken over from an instance that was further on: this one comes up to it.
            if !std::mem::replace(&mut told, true) {
                self.monitor.fault(&fault);
            }
            let wait = self.progress.backoff.fail(&mut *self.context);
            select! {
                () = self.stop.stopped() => return Ok(Next::Stopped),
                () = self.context.sleep(wait) => {},
            }
        }
    }

    /// Waits until nothing is out. `false` where it was stopped before.
    async fn settle(&mut self) -> Result<bool, Fault> {
        while self.progress.flight.len() > 0 {
            select! {
                () = self.stop.stopped() => return Ok(false),
                settled = self.progress.flight.settled() => self.progress.settled(settled).await?,
            }
        }
        Ok(true)
    }

    /// Hands `bridge` over and waits until it is acknowledged: its events are in no log, so that they
    /// could not be read again from there.
    async fn bridge(&mut self, bridge: &[Record], next: u64) -> Result<Next, Fault> {
        if bridge.is_empty() {
            return Ok(Next::At(next));
        }
        loop {
            if matches!(self.hand_over(bridge).await?, Next::Stopped) {
                return Ok(Next::Stopped);
            }
            if !self.settle().await? {
                return Ok(Next::Stopped);
            }
            if self.progress.take_again().is_none() {
                return Ok(Next::At(next));
            }
            self.canceled().await?;
        }
    }

    async fn step(&mut self, next: u64) -> Result<Next, Fault> {
        match self.progress.log.read(next, self.config.batch_max).await {
            Ok(records) if records.is_empty() => Ok(Next::At(next)),
            Ok(records) => self.hand_over(&records).await,
            Err(error) => self.refused(error).await,
        }
    }

    /// Hands `records` over until the consumer takes them in.
    async fn hand_over(&mut self, records: &[Record]) -> Result<Next, Fault> {
        let Some(last) = records.last() else {
            return Err(Fault::new(self.consumer.name(), Error::Nothing));
        };
        debug_assert!(records.is_sorted_by_key(Record::sequence), "{records:?}");
        loop {
            let handled = self.offer(records).await?;
            self.progress.metrics.handled.inc_by(records.len() as u64);
            match handled {
                Some(Ok(ack)) => {
                    self.progress.handled(records, ack).await?;
                    return Ok(Next::At(last.cursor.handled()));
                }
                Some(Err(fault)) => self.failed(fault).await?,
                None => return Ok(Next::Stopped),
            }
            if self.stop.is_stopped() {
                return Ok(Next::Stopped);
            }
        }
    }

    /// One call of the consumer with `records`. Acknowledgements of earlier batches are taken meanwhile.
    async fn offer(&mut self, records: &[Record]) -> Result<Option<Result<Ack, Fault>>, Fault> {
        let call = async { self.consumer.handle(records).await };
        let name = self.progress.name.clone();
        let call = attempt(&*self.context, &self.stop, self.config.grace, &name, call);
        pin_mut!(call);
        loop {
            select! {
                handled = &mut call => return Ok(handled),
                settled = self.progress.flight.settled() => self.progress.settled(settled).await?,
            }
        }
    }

    /// An acknowledgement was dropped: a failure of the consumer like any other.
    async fn canceled(&mut self) -> Result<(), Fault> {
        let fault = Fault::new(self.consumer.name(), Error::from(Canceled));
        self.failed(fault).await
    }

    /// Counts a failure of the consumer, and waits before it is tried again, unless told to stop.
    async fn failed(&mut self, fault: Fault) -> Result<(), Fault> {
        self.progress.metrics.failures.inc();
        self.monitor.fault(&fault);
        match fault.severity() {
            Severity::Config | Severity::Bug | Severity::Corrupt => return Err(fault),
            Severity::Transient | Severity::Behind | Severity::Invalid => {}
        }
        let wait: Duration = self.progress.backoff.fail(&mut *self.context);
        warn!(%fault, ?wait, "consumer failed, its events come again");
        select! {
            () = self.stop.stopped() => {},
            () = self.context.sleep(wait) => {},
        }
        Ok(())
    }

    /// The log does not have what was asked for: bridge the gap, or end.
    async fn refused(&mut self, error: LogError) -> Result<Next, Fault> {
        match error {
            LogError::Fault(fault) if fault.kind == FaultKind::Stopped => Ok(Next::Stopped),
            LogError::Fault(fault) => Err(fault),
            LogError::TooOld { oldest, .. } => self.behind(oldest).await,
        }
    }

    /// Starts the consumer again from the event `oldest`, or from the first one after it that is kept.
    async fn start_again(&mut self, oldest: u64) -> Result<Next, Fault> {
        self.progress.forget();
        match self.oldest(oldest).await? {
            Some(record) => self.restart(&record).await,
            None => Ok(Next::At(oldest)),
        }
    }

    /// The event `from`, or the first one after it that is kept.
    async fn oldest(&mut self, mut from: u64) -> Result<Option<Record>, Fault> {
        loop {
            match self.progress.log.read(from, NZUsize!(1)).await {
                Ok(records) => return Ok(records.into_iter().next()),
                // Trimmed again in between.
                Err(LogError::TooOld { oldest, .. }) if oldest > from => from = oldest,
                Err(LogError::TooOld { .. }) => return Ok(None),
                Err(LogError::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// Asks the consumer to start again from `oldest`, until it has.
    async fn restart(&mut self, oldest: &Record) -> Result<Next, Fault> {
        loop {
            let call = async { self.consumer.restart(oldest).await };
            let (grace, name) = (self.config.grace, &self.progress.name);
            let restarted = attempt(&*self.context, &self.stop, grace, name, call).await;
            match restarted {
                Some(Ok(())) => {
                    self.progress.backoff.succeed();
                    self.progress.metrics.restarts.inc();
                    self.progress.stands = Some(oldest.cursor.clone());
                    return Ok(Next::At(oldest.cursor.handled()));
                }
                Some(Err(fault)) => self.failed(fault).await?,
                None => return Ok(Next::Stopped),
            }
            if self.stop.is_stopped() {
                return Ok(Next::Stopped);
            }
        }
    }
}

impl<E, L, C, M> Actor for Delivery<E, L, C, M>
where
    E: Spawner + Clock + Register + Rng,
    L: History,
    C: Consumer,
    M: Monitor,
{
    fn name(&self) -> String {
        format!("consumer {}", self.consumer.name())
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
