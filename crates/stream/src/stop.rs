//! Telling an actor to stop, without dropping what it is in the middle of.

use commonware_runtime::{Spawner, signal::Signal};
use commonware_utils::{channel::oneshot, sync::Mutex};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use std::sync::Arc;
use tidewatch_core::Rule;

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
        self.0.lock().take_if(|_| Rule::Stop.kept());
    }
}

/// A signal that resolves when `signal` does or the runtime is told to stop, and what the actor has to
/// hold until its end: whoever stops the runtime waits until that is dropped. It is never polled,
/// because a signal that has resolved holds nobody up.
pub(crate) fn with_runtime(signal: &StopSignal, context: &impl Spawner) -> (StopSignal, Signal) {
    let shutdown = context.stopped().map(drop).boxed();
    let either = futures::future::select(signal.clone(), shutdown).map(drop).boxed().shared();
    (either, context.stopped())
}
