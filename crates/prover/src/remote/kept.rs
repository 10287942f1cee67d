//! Finished proofs that survive the process that made them.
//!
//! # Overview
//!
//! [`Kept`] stands before a prover: every proof that it finishes is written to disk, whether somebody waits for it or
//! not, and stays there until it is released. After a restart it is there under the same handle, so that a scheduler
//! which polls on finds it and nothing is proven twice.
//!
//! # Restart safety
//!
//! A proof is kept once [`Observe::kept`] was called with it. A file that was not written whole is removed at the next
//! start; jobs that were running are lost, and said to be.
//!
//! # Limits
//!
//! No more than so many proofs are kept: beyond that the one that was finished first is dropped, after a restart the
//! one of the lowest block. A proof that cannot be written stays with the prover behind it, as if this were not here;
//! so does that of a range of blocks.

use crate::{
    Error, Failure, Handle, Key, Offer, Progress, Prover,
    disk::{
        Config,
        files::{Files, Kind},
    },
};
use bytes::Bytes;
use commonware_runtime::Spawner;
use commonware_storage::Context;
use commonware_utils::sync::Mutex;
use futures::future::BoxFuture;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};
use tidewatch_core::Digest;
use tracing::warn;

/// How long the prover behind may wait for news before it is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait after it could not be asked.
const AGAIN: Duration = Duration::from_secs(1);

/// Notified of what is kept.
pub trait Observe: Send + Sync + 'static {
    /// A proof of so many bytes is on disk.
    fn kept(&self, key: &Key, bytes: usize);
}

impl Observe for () {
    fn kept(&self, _: &Key, _: usize) {}
}

/// A job whose proof is awaited.
struct Awaited {
    /// What the prover behind calls it.
    behind: Handle,
    released: bool,
    /// Handed in again: that the one before it came to nothing says nothing of it.
    again: bool,
}

#[derive(Default)]
struct State {
    /// In the order in which they were finished.
    kept: VecDeque<(Handle, Key)>,
    awaited: BTreeMap<Handle, Awaited>,
}

impl State {
    fn kept(&self, handle: &Handle) -> Option<Key> {
        self.kept.iter().find(|(kept, _)| kept == handle).map(|(_, key)| *key)
    }

    fn forget(&mut self, handle: &Handle) -> Option<Key> {
        let at = self.kept.iter().position(|(kept, _)| kept == handle)?;
        self.kept.remove(at).map(|(_, key)| key)
    }
}

/// What the tasks and the prover share.
struct Shared<E: Context> {
    prover: Arc<dyn Prover>,
    files: Files<E>,
    state: Mutex<State>,
    max: usize,
    observer: Arc<dyn Observe>,
}

/// A prover whose finished proofs are on disk until they are released, whether somebody waits for them or not. After a
/// restart they are there under the same handles; jobs that were running are lost, and said to be.
pub struct Kept<E: Context> {
    context: Mutex<E>,
    shared: Arc<Shared<E>>,
}

impl<E: Context> fmt::Debug for Kept<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("prover", &self.shared.prover.name()).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner> Kept<E> {
    /// Keeps at most `max` finished proofs of `prover`, which proves `program`, in partitions that begin with that
    /// of `config`.
    ///
    /// # Errors
    ///
    /// The disk.
    pub async fn open(
        context: E,
        prover: Arc<dyn Prover>,
        (program, max): (Digest, NonZeroUsize),
        config: Config,
        observer: Arc<dyn Observe>,
    ) -> Result<Self, Error> {
        // A proof of another program is not taken for one of this.
        let partition = format!("{}-{:.16}", config.partition, program.to_string());
        let files = Files::new(context.child("files"), Config { partition, ..config });
        let mut kept = VecDeque::new();
        for block in files.scan(Kind::Finished, 0).await? {
            let key = Key::one(block, program);
            let whole = files.read(Kind::Finished, &key).await?.is_some();
            if whole {
                kept.push_back((Handle::of(&key), key));
            } else {
                files.remove(Kind::Finished, &key).await;
            }
        }
        kept.make_contiguous().sort_by_key(|(_, key)| key.block.height);
        let state = Mutex::new(State { kept, awaited: BTreeMap::new() });
        let shared = Shared { prover, files, state, max: max.get(), observer };
        shared.bound().await;
        Ok(Self { context: Mutex::new(context), shared: Arc::new(shared) })
    }

    /// Proofs that are kept.
    pub fn count(&self) -> usize {
        self.shared.state.lock().kept.len()
    }

    /// Waits for the proof of a job that the prover behind took.
    fn wait_for(&self, key: Key, handle: Handle, behind: Handle) {
        {
            let mut state = self.shared.state.lock();
            if let Some(awaited) = state.awaited.get_mut(&handle) {
                *awaited = Awaited { behind, released: false, again: true };
                return;
            }
            let awaited = Awaited { behind: behind.clone(), released: false, again: false };
            state.awaited.insert(handle.clone(), awaited);
        }
        let shared = self.shared.clone();
        let context = self.context.lock().child("kept");
        context.spawn(move |context| async move {
            let mut behind = behind;
            loop {
                match shared.prover.poll(&behind, PATIENCE).await {
                    Ok(Progress::Proved(proof)) => return shared.proved(key, handle, proof).await,
                    Ok(Progress::Running) => {}
                    Err(Failure::Unavailable(_) | Failure::Full) => context.sleep(AGAIN).await,
                    // How it ended is for whoever polls.
                    Err(_) => match shared.came_to_nothing(&handle) {
                        Some(again) => behind = again,
                        None => return,
                    },
                }
            }
        });
    }
}

impl<E: Context> Shared<E> {
    /// Stops waiting for a job that came to nothing. What the prover behind calls it now, where it was handed in again
    /// meanwhile.
    fn came_to_nothing(&self, handle: &Handle) -> Option<Handle> {
        let mut state = self.state.lock();
        let awaited = state.awaited.get_mut(handle)?;
        if mem::take(&mut awaited.again) {
            return Some(awaited.behind.clone());
        }
        state.awaited.remove(handle);
        None
    }

    async fn proved(&self, key: Key, handle: Handle, proof: Bytes) {
        let written = self.files.write(Kind::Finished, &key, &proof).await;
        let released = {
            let mut state = self.state.lock();
            let awaited = state.awaited.remove(&handle);
            let released = awaited.is_some_and(|awaited| awaited.released);
            if written.is_ok() && !released {
                state.kept.push_back((handle, key));
            }
            released
        };
        match written {
            Err(error) => warn!(block = %key, %error, "a finished proof is not kept"),
            Ok(_) if released => self.files.remove(Kind::Finished, &key).await,
            Ok(_) => {
                self.bound().await;
                self.observer.kept(&key, proof.len());
            }
        }
    }

    async fn bound(&self) {
        loop {
            let dropped = {
                let mut state = self.state.lock();
                (state.kept.len() > self.max).then(|| state.kept.pop_front()).flatten()
            };
            let Some((handle, key)) = dropped else { return };
            warn!(block = %key, "too many proofs that nobody fetched: dropped");
            self.files.remove(Kind::Finished, &key).await;
            self.prover.release(&handle).await;
        }
    }

    /// The kept proof of `handle`.
    async fn proof(&self, handle: &Handle) -> Option<Bytes> {
        let key = self.state.lock().kept(handle)?;
        match self.files.read(Kind::Finished, &key).await {
            Ok(Some((_, proof))) => Some(proof),
            Ok(None) | Err(_) => {
                warn!(block = %key, "a finished proof is damaged on disk");
                self.state.lock().forget(handle);
                None
            }
        }
    }
}

impl<E: Context + Spawner> Prover for Kept<E> {
    fn name(&self) -> &str {
        self.shared.prover.name()
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        self.shared.prover.offer()
    }

    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        Box::pin(async move {
            if key.blocks() > 1 {
                return self.shared.prover.submit(key, inputs).await;
            }
            let handle = Handle::of(&key);
            if self.shared.state.lock().kept(&handle).is_some() {
                return Ok(handle);
            }
            let behind = self.shared.prover.submit(key, inputs).await?;
            self.wait_for(key, handle.clone(), behind);
            Ok(handle)
        })
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async move {
            if let Some(proof) = self.shared.proof(handle).await {
                return Ok(Progress::Proved(proof));
            }
            let behind = {
                let state = self.shared.state.lock();
                state.awaited.get(handle).map(|awaited| awaited.behind.clone())
            };
            self.shared.prover.poll(behind.as_ref().unwrap_or(handle), patience).await
        })
    }

    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (kept, behind) = {
                let mut state = self.shared.state.lock();
                let awaited = state.awaited.get_mut(handle).map(|awaited| {
                    awaited.released = true;
                    awaited.behind.clone()
                });
                (state.forget(handle), awaited)
            };
            if let Some(key) = kept {
                self.shared.files.remove(Kind::Finished, &key).await;
            }
            self.shared.prover.release(behind.as_ref().unwrap_or(handle)).await;
        })
    }
}

#[cfg(test)]
mod tests;
