//! The port to those who read events.

use crate::{Fault, FaultKind, Record};
use std::future::Future;

/// How strongly a consumer has taken events in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Handled, but a crash of the consumer may lose it: its durable position stays, and after a
    /// restart the events come again.
    Accepted,
    /// Handled, and it survives a crash: the durable position moves up to here.
    Durable,
}

/// Handles events: at least once, in order, at its own pace.
///
/// A consumer that fails is given the same events again, after a back-off; others are not held up.
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
