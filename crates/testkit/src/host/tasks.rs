//! Task starvation of a host.

use super::Trouble;
use commonware_runtime::Clock;
use futures::future::BoxFuture;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A task that is sometimes not polled although it is runnable. It counts as running until it is
/// dropped.
pub(super) struct Starving<E, T> {
    clock: Box<E>,
    trouble: Trouble,
    task: BoxFuture<'static, T>,
    nap: Option<BoxFuture<'static, ()>>,
}

impl<E, T> Starving<E, T> {
    pub(super) fn new(
        clock: E,
        trouble: Trouble,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        trouble.state.lock().running += 1;
        Self { clock: Box::new(clock), trouble, task: Box::pin(task), nap: None }
    }
}

impl<E: Clock, T> Future for Starving<E, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if self.nap.is_none() {
            let nap = self.trouble.nap();
            self.nap = nap.map(|nap| Box::pin(self.clock.sleep(nap)) as BoxFuture<'static, ()>);
        }
        if let Some(nap) = &mut self.nap {
            if nap.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.nap = None;
        }
        self.task.as_mut().poll(context)
    }
}

impl<E, T> Drop for Starving<E, T> {
    fn drop(&mut self) {
        self.trouble.state.lock().running -= 1;
    }
}
