//! Simulated consumers, each with its own behaviour.

use crate::watch::{Observation, Watch};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{Ack, Consumer, Fault, FaultKind, Record, Watermarks};

/// Behaviour of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Handles every batch immediately and durably.
    Prompt,
    /// Handles every batch durably after a delay.
    Slow,
    /// Fails at random.
    Failing,
    /// Sometimes persists a batch, then panics before it acknowledges.
    Panicking,
    /// Acknowledges most batches as accepted, and only every fourth as durable.
    Late,
    /// Acknowledges every batch as accepted, never as durable.
    Forgetful,
}

impl Temper {
    /// Every behaviour.
    pub const ALL: [Self; 6] =
        [Self::Prompt, Self::Slow, Self::Failing, Self::Panicking, Self::Late, Self::Forgetful];
}

/// State of a consumer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Book {
    /// Fold of the events that it has handled.
    pub watermarks: Watermarks,
    /// Sequence of the next event.
    pub next: u64,
}

/// A consumer's own database: it survives the follower's process.
#[derive(Debug, Default)]
pub struct Books {
    /// State that survives a crash.
    pub durable: Book,
    /// State in memory.
    pub held: Book,
}

/// A consumer of a simulated follower.
pub struct Reader<E> {
    name: &'static str,
    temper: Temper,
    books: Arc<Mutex<Books>>,
    calm: Arc<AtomicBool>,
    rng: StdRng,
    clock: E,
    watch: Watch,
    /// Batches since the last durable acknowledgement.
    late: u32,
}

impl<E> std::fmt::Debug for Reader<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<E: Clock> Reader<E> {
    /// A consumer that has just started from its durable state. Once `calm` is set, it behaves like
    /// [`Temper::Prompt`].
    pub fn new(
        (name, temper): (&'static str, Temper),
        books: Arc<Mutex<Books>>,
        calm: Arc<AtomicBool>,
        seed: u64,
        clock: E,
        watch: Watch,
    ) -> Self {
        {
            let mut books = books.lock();
            books.held = books.durable;
        }
        let rng = StdRng::seed_from_u64(seed ^ 0xc0_2e);
        Self { name, temper, books, calm, rng, clock, watch, late: 0 }
    }

    fn take(&self, records: &[Record], durable: bool) {
        let mut books = self.books.lock();
        // Records of a bridge have one sequence, so that they are taken in together or not at all.
        let next = books.held.next;
        for record in records {
            if record.sequence() >= next {
                books.held.watermarks.apply(&record.event);
                books.held.next = record.cursor.handled();
            }
        }
        if durable {
            books.durable = books.held;
        }
    }

    fn refused(&self, records: &[Record]) -> Fault {
        let records = records.to_vec();
        self.watch.see(Observation::NotHandled { consumer: self.name, records });
        FaultKind::Consumer.fault(self.name, "not now")
    }
}

impl<E: Clock> Consumer for Reader<E> {
    fn name(&self) -> &str {
        self.name
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let calm = self.calm.load(Ordering::Relaxed);
        let mut durable = true;
        match self.temper {
            _ if calm => {}
            Temper::Prompt => {}
            Temper::Slow => {
                let wait = self.rng.random_range(0..3_000);
                self.clock.sleep(Duration::from_millis(wait)).await;
            }
            Temper::Failing => {
                if self.rng.random_bool(0.3) {
                    return Err(self.refused(records));
                }
            }
            Temper::Panicking => {
                if self.rng.random_bool(0.2) {
                    self.take(records, true);
                    let fault = self.refused(records);
                    std::panic::resume_unwind(Box::new(fault));
                }
            }
            Temper::Late => {
                self.late += 1;
                durable = self.late.is_multiple_of(4);
            }
            Temper::Forgetful => durable = false,
        }
        self.take(records, durable);
        let (consumer, records) = (self.name, records.to_vec());
        self.watch.see(Observation::Handled { consumer, records, durable });
        Ok(if durable { Ack::Durable } else { Ack::Accepted })
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        let mut books = self.books.lock();
        books.held = Book { watermarks: oldest.watermarks, next: oldest.cursor.handled() };
        books.durable = books.held;
        drop(books);
        let (consumer, oldest) = (self.name, oldest.clone());
        self.watch.see(Observation::StartedAgain { consumer, oldest });
        Ok(())
    }
}
