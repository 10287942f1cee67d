//! The delivery's loop.

use super::{Config, metrics::Metrics};
use crate::{
    Backoff, Stopper,
    stop::{StopSignal, either},
};
use commonware_macros::select;
use commonware_runtime::{
    Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell,
    telemetry::metrics::GaugeExt as _,
};
use commonware_utils::NZUsize;
use futures::FutureExt as _;
use rand::Rng;
use std::{panic::AssertUnwindSafe, time::Duration};
use tidewatch_core::{
    Ack, Consumer, Cursor, EventLog, Fault, FaultKind, LogError, Monitor, Record, Resume,
    ResumeError, Severity,
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
    L: EventLog,
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
        let shutdown = self.context.stopped().map(drop).boxed().shared();
        self.stop = either(&self.stop, shutdown.clone());
        let mut next = self.resume().await?;
        loop {
            let ready = select! {
                () = self.stop.clone() => break,
                ready = self.log.wait(next) => ready,
            };
            let step = match ready {
                Ok(()) => self.step(next).await?,
                Err(error) => self.refused(next, error).await?,
            };
            match step {
                Next::Stopped => break,
                Next::At(sequence) => next = sequence,
            }
        }
        // Held until here, so that whoever stops the runtime waits for the events at hand.
        drop(shutdown);
        debug!(consumer = self.consumer.name(), next, "delivery stopped");
        Ok(())
    }

    /// The first event that the consumer has not durably taken in, after bridging a gap in history
    /// where its position is not one of this log.
    async fn resume(&mut self) -> Result<u64, Fault> {
        let Some(cursor) = self.log.acknowledged(self.consumer.name()).await? else { return Ok(0) };
        match self.log.resume(&cursor).await {
            Ok(Resume::Exact { next }) => Ok(next),
            Ok(Resume::Forked { bridge, next, .. }) => {
                if !bridge.is_empty() {
                    self.hand_over(&bridge).await?;
                }
                Ok(next)
            }
            Err(ResumeError::TooOld { .. }) => Ok(cursor.handled()),
            Err(ResumeError::Fault(fault)) => Err(fault),
            Err(error) => Err(FaultKind::CorruptRecord.fault(self.consumer.name(), error)),
        }
    }

    async fn step(&mut self, next: u64) -> Result<Next, Fault> {
        match self.log.read(next, self.config.batch_max).await {
            Ok(records) if records.is_empty() => Ok(Next::At(next)),
            Ok(records) => self.hand_over(&records).await,
            Err(error) => self.refused(next, error).await,
        }
    }

    /// Hands `records` over until the consumer takes them in.
    async fn hand_over(&mut self, records: &[Record]) -> Result<Next, Fault> {
        let Some(last) = records.last() else {
            return Err(FaultKind::Bug.fault(self.consumer.name(), "nothing to hand over"));
        };
        loop {
            // A consumer that panics must not take the follower with it.
            let handled = AssertUnwindSafe(self.consumer.handle(records)).catch_unwind().await;
            self.metrics.handled.inc_by(records.len() as u64);
            let fault = match handled {
                Ok(Ok(ack)) => {
                    self.backoff.succeed();
                    if ack == Ack::Durable {
                        self.acknowledge(&last.cursor).await?;
                    }
                    return Ok(Next::At(last.cursor.handled()));
                }
                Ok(Err(fault)) => fault,
                Err(_) => FaultKind::Consumer.fault(self.consumer.name(), "it panicked"),
            };
            if let Some(stopped) = self.failed(fault).await? {
                return Ok(stopped);
            }
        }
    }

    async fn acknowledge(&mut self, cursor: &Cursor) -> Result<(), Fault> {
        self.log.acknowledge(self.consumer.name(), cursor).await?;
        let _ = self.metrics.acknowledged.try_set(cursor.handled());
        Ok(())
    }

    /// Counts a failure of the consumer, and waits before it is tried again.
    async fn failed(&mut self, fault: Fault) -> Result<Option<Next>, Fault> {
        self.metrics.failures.inc();
        self.monitor.fault(&fault);
        match fault.severity() {
            Severity::Config | Severity::Bug | Severity::Corrupt => return Err(fault),
            Severity::Transient | Severity::Behind | Severity::Lied => {}
        }
        let wait: Duration = self.backoff.fail(&mut *self.context);
        warn!(%fault, ?wait, "consumer failed, its events come again");
        Ok(select! {
            () = self.stop.clone() => Some(Next::Stopped),
            () = self.context.sleep(wait) => None,
        })
    }

    /// The log does not have `next`: start again from what it has, or end.
    async fn refused(&mut self, next: u64, error: LogError) -> Result<Next, Fault> {
        let oldest = match error {
            LogError::Fault(fault) if fault.kind == FaultKind::Stopped => return Ok(Next::Stopped),
            LogError::Fault(fault) => return Err(fault),
            LogError::TooOld { oldest, .. } => oldest,
        };
        let record = match self.log.read(oldest, NZUsize!(1)).await {
            Ok(records) => records.into_iter().next(),
            Err(LogError::TooOld { .. }) => None, // Pruned again in between.
            Err(LogError::Fault(fault)) => return Err(fault),
        };
        let Some(record) = record else { return Ok(Next::At(next)) };
        self.metrics.restarts.inc();
        self.consumer.restart(&record).await?;
        Ok(Next::At(record.cursor.handled()))
    }
}
