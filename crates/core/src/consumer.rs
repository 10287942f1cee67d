//! The port to those who read events.

use crate::{Fault, FaultKind, Record};
use commonware_utils::acknowledgement::{Acknowledgement as _, Exact};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

pub use commonware_utils::acknowledgement::Canceled;

/// Acknowledges one batch, from wherever in the process it was taken in. Every clone must acknowledge.
/// One that is dropped without it cancels the acknowledgement, which counts as a failure of the consumer.
pub type Acknowledgement = Exact;

/// Resolves when a batch is acknowledged, or was given up.
pub struct Waiter(BoxFuture<'static, Result<(), Canceled>>);

impl Waiter {
    /// Waits for `acknowledged`. It is polled by the delivery and must not block.
    pub fn new(acknowledged: impl Future<Output = Result<(), Canceled>> + Send + 'static) -> Self {
        Self(acknowledged.boxed())
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

impl Future for Waiter {
    type Output = Result<(), Canceled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// How strongly a consumer has taken a batch in.
#[derive(Debug)]
pub enum Ack {
    /// Handled, but a crash of the consumer may lose it: its durable position stays, and after a
    /// restart the events come again.
    Accepted,
    /// Handled, and it survives a crash: the durable position moves up to here, once every batch before
    /// this one is acknowledged.
    Durable,
    /// Accepted; that it survives a crash is acknowledged later, in any order with other batches. See
    /// [`Ack::later`].
    Later(Waiter),
}

impl Ack {
    /// An acknowledgement to be given later, and the answer that announces it.
    pub fn later() -> (Acknowledgement, Self) {
        let (acknowledgement, waiter) = Exact::handle();
        (acknowledgement, Self::Later(Waiter::new(waiter)))
    }
}

/// Handles events: at least once, in order, at its own pace.
///
/// A consumer that fails is given the same events again, after a back-off; others are not held up.
///
/// # Acknowledging later
///
/// A consumer that hands its work to others answers [`Ack::Later`], and is given the next batch at once,
/// as long as no more than `in_flight_max` are out. The durable position moves over the contiguous
/// prefix of what was acknowledged, whatever the order. If an acknowledgement is dropped, every event
/// from the first batch on that is not acknowledged comes again, in order, whatever came of the batches
/// after it: such a consumer must take events in again without harm.
pub trait Consumer: Send + 'static {
    /// Names the consumer's durable position. Two consumers of one log have two names.
    fn name(&self) -> &str;

    /// Takes in `records`: never empty, consecutive. The acknowledgement covers all of them.
    fn handle(&mut self, records: &[Record]) -> impl Future<Output = Result<Ack, Fault>> + Send;

    /// The events between this consumer's position and `oldest` are no longer kept. A consumer that
    /// can start again drops what it has and takes [`Record::watermarks`] of `oldest`, which include that
    /// event; what follows comes after it. By default it refuses, which ends its delivery.
    fn restart(&mut self, oldest: &Record) -> impl Future<Output = Result<(), Fault>> + Send {
        let detail = format!("events before {} are no longer kept: start again", oldest.sequence());
        let fault = FaultKind::TooOld.fault(self.name(), detail);
        async { Err(fault) }
    }
}
