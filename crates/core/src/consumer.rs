//! The port to those who read events.

use crate::{BlockRef, Cursor, Fault, FaultKind, Reason, Record};
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

    /// Takes in `records`: never empty. The acknowledgement covers all of them.
    ///
    /// They are consecutive, or they are a bridge: events that are in no log and lead on from the consumer's
    /// position where the log cannot. All records of a bridge have one sequence, that of the event that it
    /// leads to, so that they are taken in together or not at all.
    fn handle(&mut self, records: &[Record]) -> impl Future<Output = Result<Ack, Fault>> + Send;

    /// Neither the events between this consumer's position and `oldest` nor their blocks are kept, so that
    /// no bridge leads over the gap. A consumer that can start again drops what it has and takes
    /// [`Record::watermarks`] of `oldest`, which include that event; what follows comes after it. By default
    /// it refuses with [`LeftBehind`], which ends its delivery.
    fn restart(&mut self, oldest: &Record) -> impl Future<Output = Result<(), Fault>> + Send {
        let (stands, restart) = (oldest.watermarks.head(), oldest.cursor.clone());
        let fault = Fault::new(self.name(), LeftBehind { stands, restart });
        async { Err(fault) }
    }
}

/// What a consumer needs next is no longer kept, and it does not start again by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the events after its position are no longer kept, nor their blocks: what is kept begins after {}, \
     start again from cursor {restart}",
    .stands.map_or_else(|| "no block".into(), |block| format!("block {block}"))
)]
pub struct LeftBehind {
    /// The head where the history that is kept begins.
    pub stands: Option<BlockRef>,
    /// The position to start again from.
    pub restart: Cursor,
}

impl Reason for LeftBehind {
    fn kind(&self) -> FaultKind {
        FaultKind::TooOld
    }
}
