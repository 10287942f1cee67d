//! A consumer that keeps its position with its data, and takes it along from log to log.

use crate::{
    flaw::Flaw,
    watch::{Log, Observation, Resumed, Watch},
};
use commonware_storage::Context;
use commonware_utils::sync::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{num::NonZeroUsize, sync::Arc};
use tidewatch_core::{
    Ack, Consumer, Cursor, EventLog, Fault, History, LogError, Positions, Record, Resume,
    ResumeError, Watermarks,
};
use tidewatch_store::Reader as LogReader;
use tidewatch_stream::Mode;
use tidewatch_testkit::chain::TestBlock;

/// Its name.
pub(super) const TRAVELLER: &str = "dora";

/// What a traveller has with it: it survives the process.
#[derive(Debug, Default)]
pub(super) struct Luggage {
    /// Its durable position.
    durable: Option<Cursor>,
    /// Fold of the events that it has handled.
    held: Watermarks,
}

impl Luggage {
    /// Where it stands.
    pub(super) const fn stands(&self) -> Watermarks {
        self.held
    }
}

/// Takes in events wherever it is, and makes most of them durable.
pub(super) struct Traveller {
    luggage: Arc<Mutex<Luggage>>,
    mode: Mode,
    rng: StdRng,
    watch: Watch,
}

impl Traveller {
    /// It arrives at a log of `mode`, with what it has durably.
    pub(super) fn new(luggage: Arc<Mutex<Luggage>>, mode: Mode, seed: u64, watch: Watch) -> Self {
        let cursor = {
            let mut luggage = luggage.lock();
            luggage.held =
                luggage.durable.as_ref().map_or_else(Watermarks::none, Cursor::watermarks);
            luggage.durable.clone()
        };
        watch.see(Observation::Arrived { cursor });
        Self { luggage, mode, rng: StdRng::seed_from_u64(seed), watch }
    }
}

impl Consumer for Traveller {
    fn name(&self) -> &str {
        TRAVELLER
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let durable = self.rng.random_bool(0.7);
        {
            let mut luggage = self.luggage.lock();
            for record in records {
                luggage.held.apply(&record.event);
                if durable {
                    luggage.durable = Some(record.cursor.clone());
                }
            }
        }
        let (mode, records) = (self.mode, records.to_vec());
        self.watch.see(Observation::Travelled { mode, records });
        Ok(if durable { Ack::Durable } else { Ack::Accepted })
    }

    async fn restart(&mut self, oldest: &Record) -> Result<(), Fault> {
        {
            let mut luggage = self.luggage.lock();
            luggage.held = oldest.watermarks;
            luggage.durable = Some(oldest.cursor.clone());
        }
        self.watch.see(Observation::StartedOver { oldest: oldest.clone() });
        Ok(())
    }
}

/// A log whose reader keeps its position itself. What it answers to a position is written down.
pub(super) struct Carried<E: Context> {
    log: LogReader<E, TestBlock>,
    mode: Mode,
    luggage: Arc<Mutex<Luggage>>,
    watch: Watch,
    flaw: Option<Flaw>,
}

impl<E: Context> Clone for Carried<E> {
    fn clone(&self) -> Self {
        let (log, luggage, watch) = (self.log.clone(), self.luggage.clone(), self.watch.clone());
        Self { log, mode: self.mode, luggage, watch, flaw: self.flaw }
    }
}

impl<E: Context> Carried<E> {
    /// `log`, whose follower is in `mode`.
    pub(super) const fn new(
        log: LogReader<E, TestBlock>,
        mode: Mode,
        luggage: Arc<Mutex<Luggage>>,
        watch: Watch,
        flaw: Option<Flaw>,
    ) -> Self {
        Self { log, mode, luggage, watch, flaw }
    }

    /// What the log has now, as far as it matters to `cursor`.
    async fn look(&self, cursor: &Cursor) -> Result<Log, Fault> {
        let retained = self.log.retention().await?;
        let watermarks = self.log.watermarks()?;
        let head = cursor.head();
        let heights: Vec<_> = head.iter().map(|head| head.height).collect();
        let known = self.log.locate(&heights).await?.into_iter().flatten().next();
        Ok(Log {
            watermarks,
            oldest_event: retained.oldest_event,
            oldest_block: retained.oldest_block,
            has_head: head.is_some() && known == head,
        })
    }

    /// Whether the point to start again from, which a refusal names, can be resumed from.
    async fn leads(&self, answer: &Result<Resume, ResumeError>) -> bool {
        let Err(ResumeError::TooOld { restart }) = answer else { return true };
        !matches!(self.log.resume(restart).await, Err(ResumeError::TooOld { .. }))
    }
}

impl<E: Context> EventLog for Carried<E> {
    async fn read(&self, sequence: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        self.log.read(sequence, max).await
    }

    async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        self.log.wait(sequence).await
    }
}

impl<E: Context> History for Carried<E> {
    async fn resume(&self, cursor: &Cursor) -> Result<Resume, ResumeError> {
        let before = self.look(cursor).await?;
        let mut answer = self.log.resume(cursor).await;
        if let (Some(Flaw::BridgeInReverse), Ok(Resume::Forked { bridge, .. })) =
            (self.flaw, &mut answer)
        {
            bridge.reverse();
        }
        let leads = self.leads(&answer).await;
        let after = self.look(cursor).await?;
        let (mode, cursor) = (self.mode, cursor.clone());
        let resumed = Resumed { mode, cursor, answer: answer.clone(), leads, before, after };
        self.watch.see(Observation::Resumed(Box::new(resumed)));
        answer
    }
}

impl<E: Context> Positions for Carried<E> {
    async fn load(&self, _: &str) -> Result<Option<Cursor>, Fault> {
        Ok(self.luggage.lock().durable.clone())
    }

    /// It was stored with the data.
    async fn store(&self, _: &str, _: &Cursor) -> Result<(), Fault> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(String, Cursor)>, Fault> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: &str) -> Result<bool, Fault> {
        Ok(self.luggage.lock().durable.take().is_some())
    }
}
