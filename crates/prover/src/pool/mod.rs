//! A prover in this process.
//!
//! # Overview
//!
//! Each job runs on a thread of its own, beside the async runtime: whatever is computed there, nobody else waits
//! for it. A slot is held until the computation has really ended, also where nobody waits for it any more: no
//! more than `slots` ever run. A job that is submitted while it runs, or whose proof is there, is that same job,
//! so that an attempt after one that took too long goes on where that one is. A panic is a failed attempt.
//!
//! # Restart safety
//!
//! None: what runs here ends with the process, and its handle is lost. A scheduler that is started again in the
//! same process finds its jobs.

#[cfg(test)]
mod tests;

use crate::{Failure, Handle, Key, Offer, Progress, Prove, Prover, Released};
use bytes::Bytes;
use commonware_runtime::Spawner;
use commonware_utils::sync::Mutex;
use futures::future::BoxFuture;
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{
    watch::{Receiver, Sender, watch},
    within,
};

/// Proofs and failures that wait to be fetched, for each slot. The oldest are dropped beyond that.
const KEPT: usize = 8;

type Outcome = Result<Bytes, Failure>;

struct Entry {
    released: Released,
    outcome: Receiver<Option<Outcome>>,
    number: u64,
}

#[derive(Default)]
struct Jobs {
    entries: BTreeMap<Handle, Entry>,
    /// Computations that have not ended.
    running: usize,
    number: u64,
}

impl Jobs {
    /// Drops the oldest outcomes beyond `max`.
    fn bound(&mut self, max: usize) {
        let ended = |entry: &Entry| entry.outcome.current().is_some();
        while self.entries.values().filter(|entry| ended(entry)).count() > max {
            let oldest = (self.entries.iter().filter(|(_, entry)| ended(entry)))
                .min_by_key(|(_, entry)| entry.number)
                .map(|(handle, _)| handle.clone());
            let Some(oldest) = oldest else { return };
            self.entries.remove(&oldest);
        }
    }
}

/// Gives a slot back when the computation has ended, however it did.
struct Slot(Arc<Mutex<Jobs>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

/// A prover in this process: see the [module](self).
pub struct Pool<E, P> {
    context: Arc<Mutex<E>>,
    name: String,
    prove: Arc<P>,
    slots: NonZeroUsize,
    jobs: Arc<Mutex<Jobs>>,
}

impl<E, P> fmt::Debug for Pool<E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

impl<E: Spawner + commonware_runtime::Clock, P: Prove> Pool<E, P> {
    /// A pool of `slots` computations at once.
    pub fn new(context: E, name: impl Into<String>, prove: P, slots: NonZeroUsize) -> Self {
        let (context, prove) = (Arc::new(Mutex::new(context)), Arc::new(prove));
        Self { context, name: name.into(), prove, slots, jobs: Arc::default() }
    }

    /// Computations that have not ended, whether anybody waits for them or not.
    pub fn running(&self) -> usize {
        self.jobs.lock().running
    }

    fn start(&self, key: Key, inputs: Bytes) -> Result<Handle, Failure> {
        let handle = Handle::of(&key);
        let released = Released::default();
        let (sender, outcome) = watch(None);
        let (slot, number) = {
            let mut jobs = self.jobs.lock();
            if let Some(entry) = jobs.entries.get(&handle) {
                let failed = matches!(entry.outcome.current(), Some(Err(_)));
                if !failed {
                    entry.released.set(false);
                    return Ok(handle);
                }
            }
            if jobs.running >= self.slots.get() {
                return Err(Failure::Full);
            }
            jobs.running += 1;
            jobs.number += 1;
            let number = jobs.number;
            let entry = Entry { released: released.clone(), outcome, number };
            jobs.entries.insert(handle.clone(), entry);
            (Slot(self.jobs.clone()), number)
        };
        self.spawn((key, inputs), (handle.clone(), number), released, sender, slot);
        Ok(handle)
    }

    fn spawn(
        &self,
        (key, inputs): (Key, Bytes),
        (handle, number): (Handle, u64),
        released: Released,
        sender: Sender<Option<Outcome>>,
        slot: Slot,
    ) {
        let (prove, kept) = (self.prove.clone(), self.slots.get() * KEPT);
        let context = self.context.lock().child("proof").dedicated();
        context.spawn(move |_| async move {
            let proved = AssertUnwindSafe(|| prove.prove(&key, &inputs, &released));
            let outcome = match catch_unwind(proved) {
                Ok(Ok(proof)) => Ok(proof),
                Ok(Err(reason)) => Err(Failure::Unprovable(reason)),
                Err(panic) => Err(Failure::Unprovable(format!("it panicked: {}", said(&*panic)))),
            };
            let jobs = slot.0.clone();
            drop(slot);
            sender.change(|waiting| waiting.replace(outcome).is_none());
            let mut jobs = jobs.lock();
            let ours = jobs.entries.get(&handle).is_some_and(|entry| entry.number == number);
            if released.is_set() && ours {
                jobs.entries.remove(&handle);
            }
            jobs.bound(kept);
        });
    }
}

impl<E: Spawner + commonware_runtime::Clock, P: Prove> Prover for Pool<E, P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        let offer = Offer { slots: self.slots.get(), deadline: None };
        Box::pin(async move { Ok(offer) })
    }

    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        Box::pin(async move { self.start(key, inputs) })
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async move {
            let entry = self.jobs.lock().entries.get(handle).map(|entry| entry.outcome.clone());
            let outcome = entry.ok_or(Failure::Lost)?;
            let clock = self.context.lock().child("poll");
            let ended = within(&clock, patience, outcome.until(Option::is_some)).await;
            match ended {
                None => Ok(Progress::Running),
                Some(Ok(Some(Ok(proof)))) => Ok(Progress::Proved(proof)),
                Some(Ok(Some(Err(failure)))) => Err(failure),
                Some(Ok(None) | Err(_)) => Err(Failure::Lost),
            }
        })
    }

    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut jobs = self.jobs.lock();
            let Some(entry) = jobs.entries.get(handle) else { return };
            entry.released.set(true);
            if entry.outcome.current().is_some() {
                jobs.entries.remove(handle);
            }
        })
    }
}
