//! The acknowledgements that are awaited, and what they make durable.

use super::window::{Batch, Window};
use std::{
    collections::BTreeMap,
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};
use tidewatch_core::{Cursor, Record, Waiter};

/// Where a consumer has to go on after an acknowledgement was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// The first event that is not acknowledged.
    pub(super) from: u64,
    /// The consumer's position before it; `None` at the beginning.
    pub(super) stands: Option<Cursor>,
}

/// The position of a consumer before and after a batch.
#[derive(Debug)]
struct Step {
    before: Option<Cursor>,
    after: Cursor,
}

/// What came of batches that were out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// The position that is durable now: the newest of however many batches were acknowledged.
    pub(super) position: Option<Cursor>,
    /// How many acknowledgements were given.
    pub(super) acknowledged: u64,
    /// An acknowledgement was dropped: all that is out is forgotten.
    pub(super) again: Option<Again>,
}

/// The batches that are out, with those who acknowledge them.
#[derive(Debug, Default)]
pub(super) struct Flight {
    window: Window<Step>,
    waiters: BTreeMap<Batch, Waiter>,
}

impl Flight {
    /// How many batches are out.
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// `records`, which lead on from `before`, are acknowledged later.
    pub(super) fn later(&mut self, before: Option<Cursor>, records: &[Record], waiter: Waiter) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let step = Step { before, after: last.cursor.clone() };
        let batch = self.window.push(first.sequence(), step);
        self.waiters.insert(batch, waiter);
    }

    /// `records`, which lead on from `before`, are acknowledged. Returns the position that is durable
    /// now, if nothing before them is out.
    pub(super) fn now(&mut self, before: Option<Cursor>, records: &[Record]) -> Option<Cursor> {
        let (first, last) = (records.first()?, records.last()?);
        let step = Step { before, after: last.cursor.clone() };
        let batch = self.window.push(first.sequence(), step);
        self.window.acknowledge(batch).map(|step| step.after)
    }

    /// Resolves when something came of a batch; never, where none is out. Everything that is there by
    /// then is taken at once, so that one write makes all of it durable.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has taken nothing.
    pub(super) async fn settled(&mut self) -> Settled {
        poll_fn(|context| self.poll(context)).await
    }

    /// What has come of batches by now.
    pub(super) fn settle(&mut self) -> Settled {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll(&mut context) {
            Poll::Ready(settled) => settled,
            Poll::Pending => Settled::default(),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Settled> {
        let mut settled = Settled::default();
        let (mut done, mut canceled) = (Vec::new(), false);
        for (batch, waiter) in &mut self.waiters {
            match Pin::new(waiter).poll(context) {
                Poll::Ready(Ok(())) => done.push(*batch),
                Poll::Ready(Err(_)) => canceled = true,
                Poll::Pending => {}
            }
        }
        for batch in done {
            self.waiters.remove(&batch);
            settled.acknowledged += 1;
            let moved = self.window.acknowledge(batch).map(|step| step.after);
            settled.position = moved.or(settled.position.take());
        }
        if canceled {
            settled.again = self.forget();
            debug_assert!(settled.again.is_some(), "what was canceled was out");
        }
        if settled == Settled::default() { Poll::Pending } else { Poll::Ready(settled) }
    }

    /// Forgets all that is out. Returns where the consumer has to go on, if any is.
    pub(super) fn forget(&mut self) -> Option<Again> {
        self.waiters.clear();
        self.window.rewind().map(|(from, step)| Again { from, stands: step.before })
    }
}
