//! The delivery's loop.

use super::{Config, metrics::Metrics};
use crate::{
    Stopper,
    stop::{StopSignal, with_runtime},
};
use commonware_macros::select;
use commonware_runtime::{
    Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell,
    telemetry::metrics::GaugeExt as _,
};
use commonware_utils::NZUsize;
use futures::FutureExt as _;
use rand::Rng;
use std::{future::Future, panic::AssertUnwindSafe, time::Duration};
use tidewatch_core::{
    Ack, Backoff, Consumer, Cursor, Fault, FaultKind, History, LogError, Monitor, Record, Resume,
    ResumeError, Rule, Severity,
};
use tracing::{debug, warn};

/// Hands the events of one log to one consumer: see the [module](super).
pub struct Delivery<E: Spawner, L, C, M> {
    context: ContextCell<E>,
    log: L,
    consumer: C,
    monitor: M,
    config: Config,
    metrics: Metrics,
    backoff: Backoff,
    stop: StopSignal,
    _stopper: Stopper,
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
    /// A delivery from `log` to `consumer`, and what stops it. `monitor` is told of the consumer's
    /// failures.
    pub fn new(context: E, log: L, consumer: C, monitor: M, config: Config) -> (Self, Stopper) {
        let (stopper, stop) = Stopper::new();
        let metrics = Metrics::new(&context);
        let delivery = Self {
            context: ContextCell::new(context),
            log,
            consumer,
            monitor,
            metrics,
            backoff: Backoff::new(config.backoff, config.backoff_max),
            config,
            stop,
            _stopper: stopper.clone(),
        };
        (delivery, stopper)
    }

    /// Starts it. The handle resolves when it was stopped or its log was closed, or with the fault
    /// that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = with_runtime(&self.stop, &*self.context);
        self.stop = stop;
        let mut next = self.resume().await?;
        loop {
            let ready = select! {
                () = self.stop.clone() => break,
                ready = self.log.wait(next) => ready,
            };
            let step = match ready {
                Ok(()) => self.step(next).await?,
                Err(error) => self.refused(error).await?,
            };
            match step {
                Next::Stopped => break,
                Next::At(sequence) => next = sequence,
            }
        }
        drop(held);
        debug!(consumer = self.consumer.name(), next, "delivery stopped");
        Ok(())
    }

    /// The first event that the consumer has not durably taken in, after bridging a gap in history
    /// where its position is not one of this log.
    async fn resume(&mut self) -> Result<u64, Fault> {
        let Some(cursor) = self.log.load(self.consumer.name()).await? else { return Ok(0) };
        match self.log.resume(&cursor).await {
            Ok(Resume::Exact { next }) => Ok(next),
            Ok(Resume::Forked { bridge, next, .. }) => {
                if !bridge.is_empty() {
                    self.hand_over(&bridge).await?;
                }
                Ok(next)
            }
            // Its position says nothing here, not even where to look: the history starts anew.
            Err(ResumeError::TooOld { .. }) => match self.start_again(0).await? {
                Next::At(next) => Ok(next),
                Next::Stopped => Ok(0),
            },
            Err(ResumeError::Fault(fault)) => Err(fault),
            Err(error) => Err(FaultKind::CorruptRecord.fault(self.consumer.name(), error)),
        }
    }

    async fn step(&mut self, next: u64) -> Result<Next, Fault> {
        match self.log.read(next, self.config.batch_max).await {
            Ok(records) if records.is_empty() => Ok(Next::At(next)),
            Ok(records) => self.hand_over(&records).await,
            Err(error) => self.refused(error).await,
        }
    }

    /// Hands `records` over until the consumer takes them in.
    async fn hand_over(&mut self, records: &[Record]) -> Result<Next, Fault> {
        let Some(last) = records.last() else {
            return Err(FaultKind::Bug.fault(self.consumer.name(), "nothing to hand over"));
        };
        loop {
            let call = async { self.consumer.handle(records).await };
            let handled = attempt(&*self.context, &self.stop, self.config.grace, call).await;
            self.metrics.handled.inc_by(records.len() as u64);
            match handled {
                Some(Ok(ack)) => {
                    self.backoff.succeed();
                    if ack == Ack::Durable || !Rule::DurableAck.kept() {
                        self.acknowledge(&last.cursor).await?;
                    }
                    return Ok(Next::At(last.cursor.handled()));
                }
                Some(Err(_)) if !Rule::Again.kept() => {
                    return Ok(Next::At(last.cursor.handled()));
                }
                Some(Err(fault)) => self.failed(fault).await?,
                None => return Ok(Next::Stopped),
            }
            if self.is_stopped() {
                return Ok(Next::Stopped);
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.clone().now_or_never().is_some()
    }

    async fn acknowledge(&mut self, cursor: &Cursor) -> Result<(), Fault> {
        self.log.store(self.consumer.name(), cursor).await?;
        let _ = self.metrics.acknowledged.try_set(cursor.handled());
        Ok(())
    }

    /// Counts a failure of the consumer, and waits before it is tried again, unless told to stop.
    async fn failed(&mut self, fault: Fault) -> Result<(), Fault> {
        self.metrics.failures.inc();
        self.monitor.fault(&fault);
        match fault.severity() {
            Severity::Config | Severity::Bug | Severity::Corrupt => return Err(fault),
            Severity::Transient | Severity::Behind | Severity::Invalid => {}
        }
        let wait: Duration = self.backoff.fail(&mut *self.context);
        warn!(%fault, ?wait, "consumer failed, its events come again");
        select! {
            () = self.stop.clone() => {},
            () = self.context.sleep(wait) => {},
        }
        Ok(())
    }

    /// The log does not have what was asked for: start again from what it has, or end.
    async fn refused(&mut self, error: LogError) -> Result<Next, Fault> {
        match error {
            LogError::Fault(fault) if fault.kind == FaultKind::Stopped => Ok(Next::Stopped),
            LogError::Fault(fault) => Err(fault),
            LogError::TooOld { oldest, .. } if !Rule::NoHole.kept() => Ok(Next::At(oldest)),
            LogError::TooOld { oldest, .. } => self.start_again(oldest).await,
        }
    }

    /// Starts the consumer again from the event `oldest`, or from the first one after it that is kept.
    async fn start_again(&mut self, oldest: u64) -> Result<Next, Fault> {
        let mut from = oldest;
        loop {
            match self.log.read(from, NZUsize!(1)).await {
                Ok(records) => match records.first() {
                    Some(record) => return self.restart(record).await,
                    None => return Ok(Next::At(from)),
                },
                // Pruned again in between.
                Err(LogError::TooOld { oldest, .. }) if oldest > from => from = oldest,
                Err(LogError::TooOld { .. }) => return Ok(Next::At(from)),
                Err(LogError::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// Asks the consumer to start again from `oldest`, until it has.
    async fn restart(&mut self, oldest: &Record) -> Result<Next, Fault> {
        loop {
            let call = async { self.consumer.restart(oldest).await };
            let restarted = attempt(&*self.context, &self.stop, self.config.grace, call).await;
            match restarted {
                Some(Ok(())) => {
                    self.backoff.succeed();
                    self.metrics.restarts.inc();
                    return Ok(Next::At(oldest.cursor.handled()));
                }
                Some(Err(fault)) => self.failed(fault).await?,
                None => return Ok(Next::Stopped),
            }
            if self.is_stopped() {
                return Ok(Next::Stopped);
            }
        }
    }
}

/// One call of a consumer. Nothing where it was not done `grace` after the delivery was told to stop.
async fn attempt<T>(
    clock: &impl Clock,
    stop: &StopSignal,
    grace: Duration,
    call: impl Future<Output = Result<T, Fault>>,
) -> Option<Result<T, Fault>> {
    let expired = async {
        stop.clone().await;
        clock.sleep(grace).await;
    };
    select! {
        // A consumer that panics must not take the follower with it.
        result = AssertUnwindSafe(call).catch_unwind() => {
            Some(result.unwrap_or_else(|_| {
                Err(FaultKind::Consumer.fault("consumer", "it panicked"))
            }))
        },
        () = expired => None,
    }
}
