//! The acknowledgements that are awaited, and what they make durable.

use super::window::{Batch, Window};
use std::{
    collections::BTreeMap,
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};
use tidewatch_core::{Cursor, Record, Waiter};

/// What came of batches that were out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// The position that is durable now: the newest of however many batches were acknowledged.
    pub(super) position: Option<Cursor>,
    /// How many acknowledgements were given.
    pub(super) acknowledged: u64,
    /// An acknowledgement was dropped: all that is out is forgotten, and this event comes next.
    pub(super) again_from: Option<u64>,
}

/// The batches that are out, with those who acknowledge them.
#[derive(Debug, Default)]
pub(super) struct Flight {
    window: Window<Cursor>,
    waiters: BTreeMap<Batch, Waiter>,
}

impl Flight {
    /// How many batches are out.
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// `records` are acknowledged later.
    pub(super) fn later(&mut self, records: &[Record], waiter: Waiter) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let batch = self.window.push(first.sequence(), last.cursor.clone());
        self.waiters.insert(batch, waiter);
    }

    /// `records` are acknowledged. Returns the position that is durable now, if nothing before them is
    /// out.
    pub(super) fn now(&mut self, records: &[Record]) -> Option<Cursor> {
        let (first, last) = (records.first()?, records.last()?);
        let batch = self.window.push(first.sequence(), last.cursor.clone());
        self.window.acknowledge(batch)
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
            settled.position = self.window.acknowledge(batch).or(settled.position.take());
        }
        if canceled {
            settled.again_from = self.forget();
            debug_assert!(settled.again_from.is_some(), "what was canceled was out");
        }
        if settled == Settled::default() { Poll::Pending } else { Poll::Ready(settled) }
    }

    /// Forgets all that is out. Returns the first event that is not acknowledged, if any is out.
    pub(super) fn forget(&mut self) -> Option<u64> {
        self.waiters.clear();
        self.window.rewind()
    }
}
