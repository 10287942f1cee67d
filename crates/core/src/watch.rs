//! A value that many tasks await: the base of [`Stopper`](crate::Stopper) and [`Heads`](crate::Heads).
//!
//! tokio's `watch` wakes its receivers in an order drawn from a thread-local generator once its `rt`
//! feature is unified in, so a simulated world would not replay from its seed. This one wakes them in the
//! order in which they began to wait.

use commonware_utils::sync::Mutex;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The sender is gone, and the value with it will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody updates the value any more")]
pub struct Closed;

#[derive(Debug)]
struct State<T> {
    value: T,
    /// How often the value has changed.
    version: u64,
    closed: bool,
    /// Those who wait, by the order in which they began to.
    waiting: BTreeMap<u64, Waker>,
    tickets: u64,
}

impl<T> State<T> {
    /// Takes everybody who waits, to be woken when the lock is released.
    fn wake(&mut self) -> BTreeMap<u64, Waker> {
        std::mem::take(&mut self.waiting)
    }
}

/// Changes the value. The last one that is dropped closes it.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<State<T>>>);

/// Reads and awaits the value. Cheap to clone; a clone has seen what its original had.
#[derive(Debug)]
pub struct Receiver<T> {
    state: Arc<Mutex<State<T>>>,
    /// The version that was seen last.
    seen: u64,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), seen: self.seen }
    }
}

/// A sender and a receiver of `value`. The receiver has seen it.
pub fn watch<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value, version: 0, closed: false, waiting: BTreeMap::new(), tickets: 0 };
    let state = Arc::new(Mutex::new(state));
    (Sender(state.clone()), Receiver { state, seen: 0 })
}

impl<T> Sender<T> {
    /// Changes the value in place. `change` returns whether it did: only then are receivers woken.
    pub fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        let woken = {
            let mut state = self.0.lock();
            if !change(&mut state.value) {
                return;
            }
            state.version += 1;
            state.wake()
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Another receiver, which has seen the value.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.lock().version;
        Receiver { state: self.0.clone(), seen }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let woken = {
            let mut state = self.0.lock();
            state.closed = true;
            state.wake()
        };
        woken.into_values().for_each(Waker::wake);
    }
}

/// Leaves the queue of those who wait when its future is dropped.
struct Ticket<'a, T> {
    state: &'a Mutex<State<T>>,
    number: Option<u64>,
}

impl<T> Ticket<'_, T> {
    fn poll<R>(
        &mut self,
        context: &Context<'_>,
        ready: &mut impl FnMut(&State<T>) -> Option<R>,
    ) -> Poll<R> {
        let mut state = self.state.lock();
        if let Some(result) = ready(&state) {
            return Poll::Ready(result);
        }
        let number = *self.number.get_or_insert_with(|| {
            state.tickets += 1;
            state.tickets
        });
        state.waiting.insert(number, context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.state.lock().waiting.remove(&number);
        }
    }
}

impl<T: Clone> Receiver<T> {
    /// The value as it is now. It does not count as seen.
    pub fn current(&self) -> T {
        self.state.lock().value.clone()
    }

    /// Whether the sender is gone.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Waits for a value that this receiver has not seen, and returns the newest. Values in between are
    /// skipped.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the sender is gone and its last value was seen.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has seen nothing.
    pub async fn changed(&mut self) -> Result<T, Closed> {
        let seen = self.seen;
        let (value, version) = self
            .wait(|state| {
                if state.version != seen {
                    Some(Ok((state.value.clone(), state.version)))
                } else {
                    state.closed.then_some(Err(Closed))
                }
            })
            .await?;
        self.seen = version;
        Ok(value)
    }

    /// Waits until the value satisfies `holds`, and returns it; at once if it does. Values that come
    /// and go between two looks can be missed.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the sender is gone and its last value does not satisfy it.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn until(&self, mut holds: impl FnMut(&T) -> bool) -> Result<T, Closed> {
        self.wait(|state| {
            if holds(&state.value) {
                Some(Ok(state.value.clone()))
            } else {
                state.closed.then_some(Err(Closed))
            }
        })
        .await
    }
}

impl<T> Receiver<T> {
    async fn wait<R>(&self, mut ready: impl FnMut(&State<T>) -> Option<R>) -> R {
        let mut ticket = Ticket { state: &self.state, number: None };
        poll_fn(|context| ticket.poll(context, &mut ready)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, executor::block_on};

    fn set(sender: &Sender<u64>, to: u64) {
        sender.change(|value| std::mem::replace(value, to) != to);
    }

    #[test]
    fn a_change_is_seen_once_and_values_in_between_are_skipped() {
        let (sender, mut receiver) = watch(0);
        assert!(receiver.changed().now_or_never().is_none());
        for value in [1, 2, 2] {
            set(&sender, value);
        }
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(2)));
        assert!(receiver.changed().now_or_never().is_none());
        assert_eq!(receiver.current(), 2);
    }

    #[test]
    fn a_receiver_that_waits_for_a_value_has_it_at_once_where_it_holds() {
        let (sender, receiver) = watch(0);
        let mut waits = Box::pin(receiver.until(|value| *value > 1));
        assert!((&mut waits).now_or_never().is_none());
        set(&sender, 1);
        assert!((&mut waits).now_or_never().is_none());
        set(&sender, 5);
        assert_eq!(waits.now_or_never(), Some(Ok(5)));
        assert_eq!(receiver.until(|value| *value == 5).now_or_never(), Some(Ok(5)));
    }

    #[test]
    fn the_last_value_is_seen_before_the_end_is() {
        let (sender, mut receiver) = watch(0);
        set(&sender, 7);
        drop(sender);
        assert!(receiver.is_closed());
        assert_eq!(block_on(receiver.changed()), Ok(7));
        assert_eq!(block_on(receiver.changed()), Err(Closed));
        assert_eq!(block_on(receiver.until(|value| *value == 7)), Ok(7));
        assert_eq!(block_on(receiver.until(|value| *value == 8)), Err(Closed));
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let (sender, receiver) = watch(0);
        for _ in 0..3 {
            assert!(receiver.until(|value| *value == 1).now_or_never().is_none());
        }
        assert!(sender.0.lock().waiting.is_empty());
    }

    #[test]
    fn those_who_wait_are_woken_in_the_order_in_which_they_began() {
        let (sender, receiver) = watch(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let waits: Vec<_> = (0..5)
            .map(|nth| {
                let (receiver, order) = (receiver.clone(), order.clone());
                async move {
                    receiver.until(|value| *value == 1).await.unwrap();
                    order.lock().push(nth);
                }
            })
            .collect();
        let mut all = futures::stream::FuturesUnordered::from_iter(waits);
        // FuturesUnordered polls in the order in which its futures were woken.
        assert!(futures::StreamExt::next(&mut all).now_or_never().is_none());
        let began: Vec<_> = sender.0.lock().waiting.keys().copied().collect();
        assert_eq!(began.len(), 5);
        order.lock().clear();
        set(&sender, 1);
        let mut first = Vec::new();
        while futures::StreamExt::next(&mut all).now_or_never().flatten().is_some() {
            first = order.lock().clone();
        }
        assert_eq!(first.len(), 5);
        assert!(first.is_sorted() || first.iter().rev().is_sorted(), "{first:?}");
    }
}
