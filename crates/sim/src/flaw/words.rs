//! Consumers and monitors that are wrong about what is said.

use super::Flaw;
use tidewatch_core::{
    Ack, Consumer, Contact, Fault, Monitor, Record, Snapshot, State, Status, Watermarks,
};

/// A consumer in front of another one.
#[derive(Debug)]
pub(crate) struct Taker<C>(pub(crate) C, pub(crate) Option<Flaw>);

impl<C: Consumer> Consumer for Taker<C> {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let ack = self.0.handle(records).await?;
        Ok(if self.1 == Some(Flaw::AcceptedIsDurable) { Ack::Durable } else { ack })
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        self.0.restart(oldest).await
    }
}

/// A monitor in front of another one.
#[derive(Debug)]
pub(crate) struct Voice<M>(pub(crate) M, pub(crate) Option<Flaw>);

impl<M: Monitor> Monitor for Voice<M> {
    fn contact(&self, contact: &Contact<'_>) {
        self.0.contact(contact);
    }

    fn snapshot(&self, snapshot: &Snapshot) {
        self.0.snapshot(snapshot);
    }

    fn moved(&self, watermarks: &Watermarks) {
        self.0.moved(watermarks);
    }

    fn fault(&self, fault: &Fault) {
        self.0.fault(fault);
    }

    fn status(&self, status: &Status) {
        let live = Status { state: State::Live, ..*status };
        self.0.status(if self.1 == Some(Flaw::AlwaysLive) { &live } else { status });
    }

    fn progressed(&self) {
        self.0.progressed();
    }
}
