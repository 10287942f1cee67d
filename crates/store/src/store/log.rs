//! What readers of events see: the log as of the last commit that is durable.
//!
//! Behind a lock of its own that is never held across a disk access. A reader takes the published
//! snapshot and reads its pages beside the writer: neither waits for the other.

use super::{
    fault::{Part, closed},
    layout::EventsReader,
};
use crate::{limits, waiters::Waiters};
use commonware_storage::{Context, journal::contiguous::Contiguous as _};
use commonware_utils::sync::Mutex;
use std::{num::NonZeroUsize, sync::Arc};
use tidewatch_core::{Fault, LogError, Record, Watermarks};

pub(super) struct Log<E: Context>(Mutex<Option<State<E>>>);

/// One durable moment.
pub(super) struct Moment<E: Context> {
    pub(super) watermarks: Watermarks,
    pub(super) oldest: u64,
    pub(super) end: u64,
    pub(super) reader: EventsReader<E>,
}

struct State<E: Context> {
    moment: Arc<Moment<E>>,
    waiters: Waiters,
}

impl<E: Context> Log<E> {
    pub(super) fn new(moment: Moment<E>) -> Self {
        Self(Mutex::new(Some(State { moment: Arc::new(moment), waiters: Waiters::default() })))
    }

    /// Shows `moment` to readers, and wakes those that waited for it.
    pub(super) fn publish(&self, moment: Moment<E>) {
        if let Some(state) = self.0.lock().as_mut() {
            state.waiters.wake(moment.end);
            state.moment = Arc::new(moment);
        }
    }

    /// Fails every later call, and every wait.
    pub(super) fn close(&self) {
        if let Some(mut state) = self.0.lock().take() {
            state.waiters.close();
        }
    }

    pub(super) fn moment(&self) -> Result<Arc<Moment<E>>, Fault> {
        self.0.lock().as_ref().map(|state| state.moment.clone()).ok_or_else(closed)
    }

    pub(super) async fn read(&self, from: u64, max: NonZeroUsize) -> Result<Vec<Record>, LogError> {
        let moment = self.moment()?;
        let positions: Vec<_> = limits::readable(from, max, moment.oldest, moment.end)?.collect();
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let read = moment.reader.read_many(&positions).await;
        let records = read.map_err(|error| Part::Events.unreadable(from, &error))?;
        match records.iter().zip(positions).find(|(record, at)| record.sequence() != *at) {
            Some((record, at)) => Err(misplaced(at, record).into()),
            None => Ok(records),
        }
    }

    pub(super) async fn wait(&self, sequence: u64) -> Result<(), LogError> {
        let parked = {
            let mut state = self.0.lock();
            let state = state.as_mut().ok_or_else(closed)?;
            if sequence < state.moment.end {
                return Ok(());
            }
            state.waiters.park(sequence)
        };
        parked.await.map_err(|_| closed().into())
    }

    #[cfg(test)]
    pub(super) fn parked(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |state| state.waiters.parked())
    }
}

/// A record that says it stands elsewhere.
pub(super) fn misplaced(at: u64, record: &Record) -> Fault {
    Part::Events.corrupt(at, format!("the record is that of event {}", record.sequence()))
}
