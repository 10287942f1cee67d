//! The port to those who read events.

use crate::{Fault, Record};
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
}
