//! Telling an actor to stop, without dropping what it is in the middle of.

use commonware_utils::{channel::oneshot, sync::Mutex};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use std::{future::Future, sync::Arc};

/// Resolves when the actor was told to stop.
pub(crate) type StopSignal = Shared<BoxFuture<'static, ()>>;

/// Tells an actor to stop: it gives up what it waits for, completes what it is writing, and ends.
/// Cheap to clone; dropping it tells nothing.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Stopper {
    pub(crate) fn new() -> (Self, StopSignal) {
        let (sender, receiver) = oneshot::channel();
        let signal = receiver.map(drop).boxed().shared();
        (Self(Arc::new(Mutex::new(Some(sender)))), signal)
    }

    /// Tells it. Safe to call again, and after the actor has ended.
    pub fn stop(&self) {
        self.0.lock().take();
    }
}

/// Resolves when either does.
pub(crate) fn either(
    signal: &StopSignal,
    other: impl Future<Output = ()> + Send + Unpin + 'static,
) -> StopSignal {
    futures::future::select(signal.clone(), other).map(drop).boxed().shared()
}
