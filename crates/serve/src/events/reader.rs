//! A position in the log, and what comes next there.

use super::{
    ask::{Ask, Mode},
    fold::{Fold, Folded},
    open::{self, Opened, Refusal},
    select::Select,
};
use crate::{served::Served, shared::Shared, tail::Entry};
use commonware_utils::NZUsize;
use futures::FutureExt as _;
use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc, time::SystemTime};
use tidewatch_core::{
    Cursor, Fault, Height, LogError, Record, Resume, ResumeError, Tier, Watermarks,
    json::{Lagged, Skipped},
};

/// Events that are taken in one step.
const STEP: NonZeroUsize = NZUsize!(64);

/// Events that are read at once to be folded.
const FOLD: NonZeroUsize = NZUsize!(1_024);

/// A reader of the newest that has more events than this to go is notified of what it does not get; so is one whose
/// next event is older than [`Config::lagged`](crate::Config::lagged).
const LAGGED: u64 = 4_096;

/// Where one consumer stands.
pub(crate) struct Reader<L> {
    shared: Arc<Shared<L>>,
    select: Select,
    mode: Mode,
    /// The stream ends once this height is final.
    until: Option<Height>,
    cursor: Cursor,
    watermarks: Watermarks,
    /// Events that are in no log, which come first.
    bridge: VecDeque<Record>,
    /// The position after the bridge, where it is not that of its last event.
    then: Option<(Cursor, Watermarks)>,
    /// The first event of the log after the bridge.
    next: u64,
    /// Events that there are at least.
    end: u64,
    /// Events that were left out since the consumer last got a cursor.
    passed_over: u64,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Events that were asked for: perhaps none of those that were read.
    Events(Vec<Arc<Entry>>),
    /// Events do not come; what comes next leads over them.
    Lagged(Lagged),
    /// No event leads on.
    Reset(Box<Refusal>),
    /// There is nothing more.
    Idle,
}

impl<L: Served> Reader<L> {
    pub(crate) fn new(shared: Arc<Shared<L>>, opened: Opened, ask: &Ask) -> Self {
        let Ask { select, mode, until, .. } = *ask;
        let Opened { cursor, watermarks, bridge, next, end, .. } = opened;
        let bridge = bridge.into();
        let (then, passed_over) = (None, 0);
        Self {
            shared,
            select,
            mode,
            until,
            cursor,
            watermarks,
            bridge,
            then,
            next,
            end,
            passed_over,
        }
    }

    /// The position of the consumer once it has handled everything that came out of here.
    pub(crate) const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Where the history stands there.
    pub(crate) const fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// The next event of the log.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Events that were left out since [`told`](Self::told).
    pub(crate) const fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The consumer got a cursor.
    pub(crate) const fn told(&mut self) {
        self.passed_over = 0;
    }

    /// What comes next at `now`, of a history with `end` events: no more than `max` of them.
    pub(crate) async fn step(
        &mut self,
        end: u64,
        max: u64,
        now: SystemTime,
    ) -> Result<Step, Fault> {
        let end = end.max(self.end);
        let max = usize::try_from(max).unwrap_or(usize::MAX).clamp(1, STEP.get());
        if self.bridge.is_empty()
            && let Some((cursor, watermarks)) = self.then.take()
        {
            (self.cursor, self.watermarks) = (cursor, watermarks);
        }
        if !self.bridge.is_empty() {
            let records: Vec<_> = self.bridge.iter().take(max).cloned().collect();
            let (taken, passed) = self.pass(records.into_iter().map(Entry::new));
            self.bridge.drain(..taken);
            return Ok(Step::Events(passed));
        }
        if self.next >= end {
            return Ok(Step::Idle);
        }
        if self.mode == Mode::Latest && end - self.next > 1 {
            return self.fold(now).boxed().await;
        }
        if let Some(entries) = self.shared.tail.read(self.next, max) {
            return Ok(Step::Events(self.follow(entries)));
        }
        self.further_back(max).boxed().await
    }

    /// What comes next, from the log. What is rare is on the heap while it lasts: a stream at the tip has no room
    /// for it.
    async fn further_back(&mut self, max: usize) -> Result<Step, Fault> {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        match self.shared.served.read(self.next, max).await {
            Ok(records) if records.is_empty() => Ok(Step::Idle),
            Ok(records) => Ok(Step::Events(self.follow(records.into_iter().map(Entry::new)))),
            Err(LogError::TooOld { .. }) => self.fell_off().await,
            Err(LogError::Fault(fault)) => Err(fault),
        }
    }

    /// Whether the height that ends the stream is final.
    pub(crate) fn is_over(&self) -> bool {
        let finalized = self.watermarks.tips.block(Tier::Finalized);
        self.until.is_some_and(|until| finalized.is_some_and(|block| block.height >= until))
    }

    /// Moves over `entries`, which come next in the log, and gives those that were asked for.
    fn follow(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) -> Vec<Arc<Entry>> {
        let (taken, passed) = self.pass(entries);
        self.next += taken as u64;
        passed
    }

    /// Moves over `entries` up to the one that ends the stream. Gives how many that were, and those of them that
    /// were asked for.
    fn pass(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) -> (usize, Vec<Arc<Entry>>) {
        let (mut taken, mut passed) = (0, Vec::new());
        for entry in entries {
            if self.is_over() {
                break;
            }
            taken += 1;
            let before = std::mem::replace(&mut self.watermarks, entry.record.watermarks);
            self.cursor.clone_from(&entry.record.cursor);
            if self.select.passes(&entry.record.event, &before) {
                passed.push(entry);
            } else {
                self.passed_over += 1;
            }
        }
        if !passed.is_empty() {
            self.passed_over = 0;
        }
        (taken, passed)
    }

    /// Lays everything that there is together.
    async fn fold(&mut self, now: SystemTime) -> Result<Step, Fault> {
        let (from, chain) = (self.next, &self.shared.chain_info.id);
        let late = self.shared.tail.age(from, now) > self.shared.config.lagged;
        let mut fold = Fold::new(self.shared.ladder, chain, self.watermarks);
        loop {
            match self.shared.served.read(self.next, FOLD).await {
                Ok(records) => {
                    let last = records.len() < FOLD.get();
                    self.next += records.len() as u64;
                    records.into_iter().for_each(|record| fold.push(record));
                    if last {
                        break;
                    }
                }
                Err(LogError::TooOld { .. }) => return self.fell_off().await,
                Err(LogError::Fault(fault)) => return Err(fault),
            }
        }
        let Folded { records, skipped, then } = fold.finish();
        let cursor = self.cursor.to_string();
        (self.bridge, self.then) = (records.into(), then);
        if self.next - from > LAGGED || (late && skipped != Skipped::default()) {
            let (to, skipped) = (self.next, Some(skipped));
            return Ok(Step::Lagged(Lagged { from, to, skipped, cursor }));
        }
        Ok(Step::Events(Vec::new()))
    }

    /// What comes next is no longer kept: a bridge leads over it, where one can.
    async fn fell_off(&mut self) -> Result<Step, Fault> {
        let from = self.next;
        match self.shared.served.resume(&self.cursor).await {
            Ok(Resume::Exact { next }) => {
                self.next = next;
                Ok(Step::Events(Vec::new()))
            }
            Ok(Resume::Forked { bridge, next, .. }) => {
                let cursor = self.cursor.to_string();
                (self.bridge, self.then, self.next) = (bridge.into(), None, next);
                Ok(Step::Lagged(Lagged { from, to: next, skipped: None, cursor }))
            }
            Err(ResumeError::Fault(fault)) => Err(fault),
            Err(error) => {
                let refusal = open::refused(&self.shared.served, error).await?;
                Ok(Step::Reset(Box::new(refusal)))
            }
        }
    }
}
