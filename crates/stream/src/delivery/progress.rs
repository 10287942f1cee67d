//! How far a consumer has come, and who waits for it.

use super::{
    flight::{Again, Flight, Settled},
    ingress::Message,
    metrics::Metrics,
};
use commonware_runtime::telemetry::metrics::GaugeExt as _;
use commonware_utils::channel::oneshot;
use tidewatch_core::{Ack, Backoff, Cursor, Fault, Positions, Record};

/// The consumer's position, durable and on its way there. It goes on while the consumer is busy.
pub(super) struct Progress<L> {
    pub(super) log: L,
    /// The consumer's name.
    pub(super) name: String,
    pub(super) metrics: Metrics,
    pub(super) backoff: Backoff,
    pub(super) flight: Flight,
    /// Where the consumer stands: after everything that it was handed and took in. `None` at the beginning.
    pub(super) stands: Option<Cursor>,
    /// An acknowledgement was dropped: events have to come again, before any other.
    again: Option<Again>,
    /// Events of this history that are durably handled.
    durable: u64,
    requests: Vec<(u64, oneshot::Sender<u64>)>,
}

impl<L: Positions> Progress<L> {
    pub(super) fn new(log: L, name: String, metrics: Metrics, backoff: Backoff) -> Self {
        Self {
            log,
            name,
            metrics,
            backoff,
            flight: Flight::default(),
            stands: None,
            again: None,
            durable: 0,
            requests: Vec::new(),
        }
    }

    /// The consumer's position is durably `cursor`, of this log or of another one.
    pub(super) fn begin(&mut self, cursor: Cursor) {
        self.stands = Some(cursor);
    }

    /// The consumer resumes exactly, with so many events durably handled.
    pub(super) fn exactly(&mut self, durable: u64) {
        self.durable = durable;
        self.answer();
    }

    /// The consumer took `records` in.
    pub(super) async fn handled(&mut self, records: &[Record], ack: Ack) -> Result<(), Fault> {
        if self.again.is_some() {
            // Earlier events come again, and these after them: the answer to this call is void.
            return Ok(());
        }
        let after = records.last().map(|last| last.cursor.clone());
        let before = std::mem::replace(&mut self.stands, after);
        match ack {
            Ack::Later(waiter) => {
                self.flight.later(before, records, waiter);
                self.count();
                Ok(())
            }
            Ack::Accepted => {
                self.backoff.succeed();
                Ok(())
            }
            Ack::Durable => {
                self.backoff.succeed();
                match self.flight.now(before, records) {
                    Some(cursor) => self.store(&cursor).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Something came of batches that were out.
    pub(super) async fn settled(&mut self, settled: Settled) -> Result<(), Fault> {
        let Settled { position, acknowledged, again } = settled;
        if acknowledged > 0 && again.is_none() {
            self.backoff.succeed();
        }
        self.again = again.or(self.again.take());
        self.count();
        match position {
            Some(cursor) => self.store(&cursor).await,
            None => Ok(()),
        }
    }

    /// The event that has to come again, if an acknowledgement was dropped: the consumer stands before
    /// it from now on.
    pub(super) fn take_again(&mut self) -> Option<u64> {
        let Again { from, stands } = self.again.take()?;
        self.stands = stands;
        Some(from)
    }

    /// The consumer starts anew: what is out says nothing any more.
    pub(super) fn forget(&mut self) {
        self.flight.forget();
        self.again = None;
        self.count();
    }

    async fn store(&mut self, cursor: &Cursor) -> Result<(), Fault> {
        self.log.store(&self.name, cursor).await?;
        let _ = self.metrics.acknowledged.try_set(cursor.handled());
        self.durable = cursor.handled();
        self.answer();
        Ok(())
    }

    pub(super) fn request(&mut self, message: Message) {
        let Message::Durable { handled, answer } = message;
        self.requests.retain(|(_, answer)| !answer.is_closed());
        self.requests.push((handled, answer));
        self.answer();
    }

    fn answer(&mut self) {
        for (handled, answer) in std::mem::take(&mut self.requests) {
            if self.durable >= handled {
                let _ = answer.send(self.durable); // The caller may have left.
            } else {
                self.requests.push((handled, answer));
            }
        }
    }

    fn count(&self) {
        let _ = self.metrics.in_flight.try_set(self.flight.len());
    }
}
