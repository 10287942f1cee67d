//! The newest events, encoded once for everybody who is at the tip, and the one watch that wakes them.
//!
//! A subscriber has no queue: it has a position. At the tip it takes what it has not had from here, further
//! back from the log, so that one who does not read costs what a position costs.

use crate::{frame::Frame, times::Times};
use commonware_utils::sync::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tidewatch_core::{Record, Status};
use tokio::sync::watch;

/// Events that are kept encoded: about 1.4 KiB each.
const KEPT: usize = 1_024;

/// An event of the log, encoded.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) frame: Frame,
    pub(crate) record: Record,
    /// When it came, if this server was there.
    pub(crate) came: Option<SystemTime>,
}

impl Entry {
    /// An event that is read again.
    pub(crate) fn new(record: Record) -> Arc<Self> {
        Arc::new(Self { frame: Frame::event(&record), record, came: None })
    }

    /// A new event.
    fn came(record: Record, now: SystemTime) -> Arc<Self> {
        Arc::new(Self { frame: Frame::event(&record), record, came: Some(now) })
    }
}

/// What subscribers are woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Events that there are: the sequence of the next one.
    pub(crate) end: u64,
    /// The follower's status. Subscribers are woken when its state is another one, and find the rest with it.
    pub(crate) status: Status,
    /// The server stops.
    pub(crate) draining: bool,
}

#[derive(Debug)]
pub(crate) struct Tail {
    /// Consecutive, up to the newest.
    entries: Mutex<VecDeque<Arc<Entry>>>,
    beat: watch::Sender<Beat>,
    times: Mutex<Times>,
    /// How often it was seen to that this is up to date.
    progress: AtomicU64,
}

impl Tail {
    /// Nothing is kept yet of a history that has `end` events at `now`.
    pub(crate) fn new(end: u64, status: Status, now: SystemTime) -> Self {
        let (beat, _) = watch::channel(Beat { end, status, draining: false });
        let (entries, times) = (Mutex::default(), Mutex::new(Times::new(now)));
        Self { entries, beat, times, progress: AtomicU64::new(0) }
    }

    /// Whoever keeps this up to date is not stuck.
    pub(crate) fn progressed(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Beat> {
        self.beat.subscribe()
    }

    pub(crate) fn beat(&self) -> Beat {
        *self.beat.borrow()
    }

    /// Up to `max` events from `sequence` on; `None` where that is not kept here.
    pub(crate) fn read(&self, sequence: u64, max: usize) -> Option<Vec<Arc<Entry>>> {
        let entries = self.entries.lock();
        let skip = sequence.checked_sub(entries.front()?.record.sequence())?;
        let skip = usize::try_from(skip).ok()?;
        let found: Vec<_> = entries.iter().skip(skip).take(max).cloned().collect();
        (!found.is_empty()).then_some(found)
    }

    /// How long ago the event `sequence` came, at the least; nothing before it was seen here.
    pub(crate) fn age(&self, sequence: u64, now: SystemTime) -> Duration {
        match sequence < self.beat().end {
            true => self.times.lock().age(sequence, now),
            false => Duration::ZERO,
        }
    }

    /// `records` follow what was there, and came at `now`.
    pub(crate) fn push(&self, records: Vec<Record>, now: SystemTime) {
        let Some(end) = records.last().map(|record| record.sequence() + 1) else { return };
        self.times.lock().came(end - records.len() as u64, now);
        let added: Vec<_> = records.into_iter().map(|record| Entry::came(record, now)).collect();
        {
            let mut entries = self.entries.lock();
            let follows = |entry: &Arc<Entry>| {
                added
                    .first()
                    .is_some_and(|first| first.record.sequence() == entry.record.sequence() + 1)
            };
            if !entries.back().is_none_or(follows) {
                entries.clear();
            }
            entries.extend(added);
            let over = entries.len().saturating_sub(KEPT);
            entries.drain(..over);
        }
        self.beat.send_modify(|beat| beat.end = end);
    }

    /// The follower's status is `status` now.
    pub(crate) fn turn(&self, status: Status) {
        self.beat.send_if_modified(|beat| {
            std::mem::replace(&mut beat.status, status).state != status.state
        });
    }

    /// Every stream ends.
    pub(crate) fn drain(&self) {
        self.beat.send_modify(|beat| beat.draining = true);
    }
}
