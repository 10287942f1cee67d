//! Recording consumers of a log.

use super::told;
use commonware_runtime::{Clock as _, Handle, Supervisor as _, deterministic};
use commonware_utils::sync::Mutex;
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Ack, Consumer, Fault, History, Monitor, Record};
use tidewatch_stream::{Delivery, Stopper, delivery};

type Manner = Box<dyn FnMut(&[Record]) -> Result<Ack, Fault> + Send>;

/// A consumer that records its batches, and acknowledges them as the test specifies.
pub(crate) struct Sink {
    name: String,
    pause: Option<(deterministic::Context, Duration)>,
    manner: Manner,
    taken: Taken,
}

/// Batches that a [`Sink`] received. Clones share them, so that they outlive the sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Arc<Mutex<Given>>);

#[derive(Debug, Default)]
struct Given {
    offered: Vec<Vec<Record>>,
    taken: Vec<Record>,
}

impl Taken {
    /// Every batch delivered, including failed ones.
    pub(crate) fn offered(&self) -> Vec<Vec<Record>> {
        self.0.lock().offered.clone()
    }

    /// Every record handled, in order, including repetitions.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.0.lock().taken.clone()
    }

    /// The events of the records handled, in compact notation.
    pub(crate) fn words(&self) -> Vec<String> {
        told(&self.records())
    }

    /// The sequences of the records handled.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.records().iter().map(Record::sequence).collect()
    }
}

impl Sink {
    /// A consumer that handles everything durably.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| Ok(Ack::Durable))
    }

    /// A consumer that returns the result of `manner` for each batch; `manner` may panic.
    pub(crate) fn with(
        name: &str,
        manner: impl FnMut(&[Record]) -> Result<Ack, Fault> + Send + 'static,
    ) -> Self {
        let (pause, taken) = (None, Taken::default());
        Self { name: name.into(), pause, manner: Box::new(manner), taken }
    }

    /// Delays every batch.
    pub(crate) fn slow(self, context: &deterministic::Context, pause: Duration) -> Self {
        Self { pause: Some((context.child("slow"), pause)), ..self }
    }

    /// The batches received so far.
    pub(crate) fn taken(&self) -> Taken {
        self.taken.clone()
    }
}

impl Consumer for Sink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.taken.0.lock().offered.push(records.to_vec());
        if let Some((clock, pause)) = &self.pause {
            clock.sleep(*pause).await;
        }
        let ack = (self.manner)(records)?;
        self.taken.0.lock().taken.extend_from_slice(records);
        Ok(ack)
    }
}

/// Delivers the events of `log` to `sink`. Returns the batches received, the stopper of the delivery, and
/// its handle.
pub(crate) fn hand_over(
    context: &deterministic::Context,
    log: impl History,
    sink: Sink,
    monitor: impl Monitor,
    config: delivery::Config,
) -> (Taken, Stopper, Handle<Result<(), Fault>>) {
    let taken = sink.taken();
    let context = context.child("delivery").with_attribute("to", &sink.name);
    let parts = delivery::Parts { log, consumer: sink, monitor };
    let (delivery, mailbox) = Delivery::new(context, parts, config);
    (taken, mailbox.stopper(), delivery.start())
}
