//! The log and the consumer as a delivery sees them.

use super::world::{Act, Shared, World, unless_dead};
use futures::future::{pending, ready};
use std::{num::NonZeroUsize, panic::resume_unwind};
use tidewatch_core::{
    Ack, Consumer, Cursor, EventLog, Fault, FaultKind, History, LogError, Monitor, Positions,
    Record, Resume, ResumeError,
};

/// The name of the consumer.
pub(super) const READER: &str = "reader";

fn fault(of: &str) -> Fault {
    FaultKind::Unavailable.fault(of, "as told")
}

/// The log of a world.
#[derive(Clone)]
pub(super) struct Log(pub(super) Shared);

impl EventLog for Log {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        let (act, memory) = {
            let mut world = self.0.lock();
            let acts = [Act::Fails, Act::DiesAfter];
            let act = world.choose(format_args!("at the read of {sequence}"), &acts);
            (act, world.memory.clone())
        };
        if act == Some(Act::Fails) {
            return Err(fault("log").into());
        }
        unless_dead(&self.0, memory.read(sequence, max)).await
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        let memory = {
            let mut world = self.0.lock();
            world.choose(format_args!("before the wait for {sequence}"), &[Act::DiesAfter]);
            world.memory.clone()
        };
        unless_dead(&self.0, memory.wait(sequence)).await
    }
}

impl History for Log {
    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        let memory = {
            let mut world = self.0.lock();
            world.choose("before it resumes", &[Act::DiesAfter]);
            world.memory.clone()
        };
        unless_dead(&self.0, memory.resume(cursor)).await
    }
}

impl Positions for Log {
    async fn store(&self, consumer: &str, cursor: &Cursor) -> Result<(), Fault> {
        let (act, memory) = {
            let mut world = self.0.lock();
            world.acknowledged(cursor.handled());
            let acts = [Act::Fails, Act::DiesBefore, Act::DiesAfter];
            let act = world.choose("at the acknowledgement", &acts);
            (act, world.memory.clone())
        };
        match act {
            Some(Act::Fails) => return Err(fault("log")),
            Some(Act::DiesBefore) => return pending().await,
            _ => {}
        }
        memory.store(consumer, cursor).await?;
        self.0.lock().position = cursor.handled();
        unless_dead(&self.0, ready(Ok(()))).await
    }

    async fn load(&self, consumer: &str) -> Result<Option<Cursor>, Fault> {
        let memory = self.0.lock().memory.clone();
        memory.load(consumer).await
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        let memory = self.0.lock().memory.clone();
        memory.list().await
    }

    async fn forget(&self, consumer: &str) -> Result<bool, Fault> {
        let memory = self.0.lock().memory.clone();
        memory.forget(consumer).await
    }
}

/// The consumer of a world. What it has is kept there: it survives it, or does not.
pub(super) struct Reader(pub(super) Shared);

impl Consumer for Reader {
    fn name(&self) -> &str {
        READER
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let act = {
            let mut world = self.0.lock();
            let bridge = world.handed(records);
            let acts = [
                Act::Accepts,
                Act::Fails,
                Act::FailsLate,
                Act::Panics,
                Act::DiesBefore,
                Act::DiesAfter,
            ];
            let (first, last) = (records.first(), records.last());
            let sequence = |record: Option<&Record>| record.map_or(0, Record::sequence);
            let point = format!("handed {} to {}", sequence(first), sequence(last));
            let act = world.choose(point, &acts);
            let taken = !matches!(act, Some(Act::Fails | Act::Panics | Act::DiesBefore));
            if taken {
                let take = if bridge { World::cross } else { World::take };
                take(&mut world, records, act != Some(Act::Accepts));
            }
            let failed = matches!(act, Some(Act::Fails | Act::FailsLate | Act::Panics));
            world.failures += usize::from(failed);
            if !failed {
                world.expected = last.map_or(world.expected, |last| last.cursor.handled());
            }
            act
        };
        let result = match act {
            Some(Act::Fails | Act::FailsLate) => Err(fault(READER)),
            // Without a word of the panic hook, which would say it a thousand times.
            Some(Act::Panics) => resume_unwind(Box::new("as told")),
            Some(Act::Accepts) => Ok(Ack::Accepted),
            _ => Ok(Ack::Durable),
        };
        unless_dead(&self.0, ready(result)).await
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        let act = {
            let mut world = self.0.lock();
            world.restarted(oldest);
            let acts = [Act::Fails, Act::Panics, Act::DiesBefore, Act::DiesAfter];
            let point = format!("asked to start again from {}", oldest.sequence());
            let act = world.choose(point, &acts);
            let failed = matches!(act, Some(Act::Fails | Act::Panics));
            world.failures += usize::from(failed);
            if !failed && act != Some(Act::DiesBefore) {
                world.start_again(oldest);
                world.expected = oldest.sequence() + 1;
            }
            act
        };
        let result = match act {
            Some(Act::Fails) => Err(fault(READER)),
            Some(Act::Panics) => resume_unwind(Box::new("as told")),
            _ => Ok(()),
        };
        unless_dead(&self.0, ready(result)).await
    }
}

/// Counts what a delivery says of its consumer.
#[derive(Clone, Default)]
pub(super) struct Said(pub(super) std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Monitor for Said {
    fn fault(&self, _: &Fault) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}
