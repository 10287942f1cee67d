//! Between the delivery and the consumer: remembers what was handed over and acknowledged, and has a
//! crash when told to.

use crate::patience::{NoAnswer, caught};
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, pin_mut};
use std::{
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    sync::Arc,
    task::{Poll, Waker},
};
use tidewatch_core::{Ack, Consumer, Fault, FaultKind, Record, Waiter, Watermarks};

/// When the process ends without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Never,
    /// In the batch of this number, from 1, at this await of the consumer.
    Inside {
        batch: u64,
        awaits: u32,
    },
    /// When the consumer has taken in the batch of this number, before anybody knows.
    After {
        batch: u64,
    },
    /// When it acknowledges one of so many batches that are out, in whatever order.
    Out {
        batches: usize,
    },
    /// When the consumer has started again, before anybody knows.
    AfterRestart,
}

/// What came of a consumer since it was first opened.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every event that was handed over, repetitions included: how many events lead there, and where.
    pub(super) handed: Vec<(u64, Watermarks)>,
    /// Which of them was last acknowledged as durable, with everything before it.
    pub(super) durable: Option<usize>,
    /// Batches of this life that are not acknowledged, or stand behind one that is not: where each ends
    /// in `handed`, and whether it is acknowledged.
    out: VecDeque<(usize, bool)>,
    /// Batches that were acknowledged later, in all lives.
    pub(super) later: u64,
    /// How many events were handled, in this life.
    pub(super) through: u64,
    /// Times that it started again.
    pub(super) restarts: u64,
    /// Faults of this life.
    pub(super) faults: Vec<Fault>,
    pub(super) panicked: Option<String>,
    pub(super) crashed: bool,
    /// Whether no consumer is there: the last one was dropped.
    pub(super) gone: bool,
}

impl Seen {
    /// How many batches are not acknowledged.
    pub(super) fn out(&self) -> usize {
        self.out.iter().filter(|(_, acknowledged)| !acknowledged).count()
    }

    /// The batch that ends at `last` in `handed` is acknowledged as durable.
    fn acknowledged(&mut self, last: usize) {
        match self.out.iter_mut().find(|(end, _)| *end == last) {
            Some(batch) => batch.1 = true,
            None => self.out.push_back((last, true)),
        }
        while let Some((end, true)) = self.out.front() {
            self.durable = Some(*end);
            self.out.pop_front();
        }
    }
}

/// What was seen, and who waits for more. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<(Seen, Option<Waker>)>>);

impl Notes {
    /// Reads, or changes, what was seen.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let (result, waiting) = {
            let mut notes = self.0.lock();
            (change(&mut notes.0), notes.1.take())
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
        result
    }

    /// Resolves when `happened` holds. One waits at a time.
    pub(super) async fn until(&self, happened: impl Fn(&Seen) -> bool) {
        poll_fn(|context| {
            let mut notes = self.0.lock();
            if happened(&notes.0) {
                return Poll::Ready(());
            }
            notes.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The process ends here.
    async fn crash<T>(&self) -> T {
        self.with(|seen| seen.crashed = true);
        pending().await
    }

    fn note<T>(&self, answer: Result<Result<T, Fault>, NoAnswer>) -> Result<T, Fault> {
        let answer = answer.unwrap_or_else(|error| {
            let message = match error {
                NoAnswer::Panicked(message) => message,
                NoAnswer::Late => "late".into(),
            };
            self.with(|seen| seen.panicked = Some(message.clone()));
            Err(FaultKind::Bug.fault("consumer", message))
        });
        if let Err(fault) = &answer {
            self.with(|seen| seen.faults.push(fault.clone()));
        }
        answer
    }
}

/// Tells that its consumer is gone.
struct Life(Notes);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.with(|seen| seen.gone = true);
    }
}

/// A consumer under examination, from one opening to a stop or a crash.
pub(super) struct Watched<C> {
    name: String,
    consumer: C,
    crash: Crash,
    batches: u64,
    notes: Notes,
    /// The last field: dropped after the consumer.
    _life: Life,
}

impl<C: Consumer> Watched<C> {
    pub(super) fn new(consumer: C, crash: Crash, notes: Notes) -> Self {
        notes.with(|seen| {
            seen.faults.clear();
            (seen.crashed, seen.gone, seen.through) = (false, false, 0);
            seen.out.clear();
        });
        let (name, life) = (consumer.name().into(), Life(notes.clone()));
        Self { name, consumer, crash, batches: 0, notes, _life: life }
    }
}

/// Polls `call` up to its await number `awaits`; nothing if it came there.
async fn up_to<T>(awaits: u32, call: impl Future<Output = T>) -> Option<T> {
    pin_mut!(call);
    let mut seen = 0;
    poll_fn(|context| match call.poll_unpin(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            seen += 1;
            if seen < awaits { Poll::Pending } else { Poll::Ready(None) }
        }
    })
    .await
}

impl<C> Watched<C> {
    /// Notes what comes of the batch that ends at `last` in what was handed over.
    fn watch(&self, ack: Ack, last: usize) -> Ack {
        match ack {
            Ack::Accepted => Ack::Accepted,
            Ack::Durable => {
                self.notes.with(|seen| seen.acknowledged(last));
                Ack::Durable
            }
            Ack::Later(waiter) => {
                self.notes.with(|seen| {
                    seen.out.push_back((last, false));
                    seen.later += 1;
                });
                let (notes, crash) = (self.notes.clone(), self.crash);
                Ack::Later(Waiter::new(async move {
                    let acknowledged = waiter.await;
                    notes.with(|seen| match acknowledged {
                        Ok(()) => {
                            let out = seen.out.len();
                            seen.crashed |=
                                matches!(crash, Crash::Out { batches } if out >= batches);
                            seen.acknowledged(last);
                        }
                        // Everything that is out comes again.
                        Err(_) => seen.out.clear(),
                    });
                    acknowledged
                }))
            }
        }
    }
}

impl<C: Consumer> Consumer for Watched<C> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        self.batches += 1;
        let last = self.notes.with(|seen| {
            seen.handed
                .extend(records.iter().map(|record| (record.cursor.handled(), record.watermarks)));
            seen.handed.len() - 1
        });
        let (consumer, batch) = (&mut self.consumer, self.batches);
        let call = caught(async { consumer.handle(records).await });
        let answer = match self.crash {
            Crash::Inside { batch: at, awaits } if at == batch => match up_to(awaits, call).await {
                Some(answer) => answer,
                None => return self.notes.crash().await,
            },
            _ => call.await,
        };
        let ack = self.watch(self.notes.note(answer)?, last);
        let crash = matches!(self.crash, Crash::After { batch: at } if at == batch);
        self.notes.with(|seen| {
            seen.through = records.last().map_or(seen.through, |record| record.cursor.handled());
            // At once: whoever waits for `through` must not miss the crash.
            seen.crashed |= crash;
        });
        if crash { pending().await } else { Ok(ack) }
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        let consumer = &mut self.consumer;
        let answer = caught(async { consumer.restart(oldest).await }).await;
        self.notes.note(answer)?;
        let crash = self.crash == Crash::AfterRestart;
        self.notes.with(|seen| {
            seen.restarts += 1;
            seen.handed.push((oldest.cursor.handled(), oldest.watermarks));
            seen.through = oldest.cursor.handled();
            seen.crashed = crash;
        });
        if crash { pending().await } else { Ok(()) }
    }
}
