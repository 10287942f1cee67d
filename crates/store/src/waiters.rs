//! Readers that wait for an event to come.

use futures::channel::oneshot;

/// Readers parked until an event is there. Bounded by the readers that are alive: those that gave up
/// are dropped when the next one parks.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Vec<(u64, oneshot::Sender<()>)>);

impl Waiters {
    /// Parks a reader. The receiver resolves when `sequence` was written, and fails when the log is
    /// closed.
    pub(crate) fn park(&mut self, sequence: u64) -> oneshot::Receiver<()> {
        self.0.retain(|(_, waiter)| !waiter.is_canceled());
        let (sender, receiver) = oneshot::channel();
        self.0.push((sequence, sender));
        receiver
    }

    /// Wakes every reader that waits for an event below `end`.
    pub(crate) fn wake(&mut self, end: u64) {
        for (_, waiter) in self.0.extract_if(.., |(sequence, _)| *sequence < end) {
            // A reader that gave up needs no waking.
            let _ = waiter.send(());
        }
    }

    /// Ends every wait with a failure.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }

    /// Readers that are parked, including those that gave up since the last one parked.
    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.0.len()
    }
}
