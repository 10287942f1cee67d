//! A runtime context whose disk counts what is done to it, and fails at a chosen write for ever.

use super::world::Dice;
use commonware_runtime::{
    Blob, BlobVersion, BufferPool, BufferPooler, Clock, Error, Handle, IoBufs, IoBufsMut, Metrics,
    Name, ReadOptions, Storage, Supervisor, WriteOptions,
    telemetry::metrics::{Metric, Registered, Registration},
};
use commonware_utils::sync::Mutex;
use std::{
    fmt,
    future::Future,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What was done to a disk since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Reads, and the bytes that they asked for.
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    /// Everything that changes the disk: opens, writes, resizes, syncs, removals.
    pub(crate) changes: u64,
    /// Barriers: syncs, and writes that are one.
    pub(crate) syncs: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    done: Done,
    /// Changes that still succeed.
    left: Option<u64>,
    /// Barriers do not come back.
    stalled: bool,
    /// How long each access gives way to other tasks, drawn from this.
    gives_way: Option<Dice>,
}

impl Disk {
    /// Lets `changes` more changes through, and fails every one after them.
    pub(crate) fn fail_after(&self, changes: u64) {
        self.0.lock().left = Some(changes);
    }

    /// Lets no barrier come back.
    pub(crate) fn stall(&self) {
        self.0.lock().stalled = true;
    }

    /// Every access gives way to other tasks, a while that `seed` draws, before and after it is made.
    pub(crate) fn give_way(&self, seed: u64) {
        self.0.lock().gives_way = Some(Dice::new(seed));
    }

    async fn pause(&self) {
        let turns = self.0.lock().gives_way.as_mut().map_or(0, |dice| dice.roll(4));
        for _ in 0..turns {
            commonware_runtime::reschedule().await;
        }
    }

    /// Waits for ever on a disk that was stalled.
    async fn barrier(&self) {
        self.pause().await;
        if self.0.lock().stalled {
            std::future::pending::<()>().await;
        }
    }

    /// What was done since the last look.
    pub(crate) fn take(&self) -> Done {
        std::mem::take(&mut self.0.lock().done)
    }

    fn read(&self, bytes: usize) {
        let done = &mut self.0.lock().done;
        done.reads += 1;
        done.read_bytes += bytes as u64;
    }

    fn change(&self, sync: bool) -> Result<(), Error> {
        let State { done, left, .. } = &mut *self.0.lock();
        if let Some(left) = left {
            *left = left.checked_sub(1).ok_or(Error::WriteFailed)?;
        }
        done.changes += 1;
        done.syncs += u64::from(sync);
        Ok(())
    }
}

/// A context on a [`Disk`].
pub(crate) struct OnDisk<E> {
    inner: E,
    disk: Disk,
}

impl<E> OnDisk<E> {
    pub(crate) fn new(inner: E) -> (Self, Disk) {
        let disk = Disk::default();
        (Self { inner, disk: disk.clone() }, disk)
    }
}

impl<E: Supervisor> Supervisor for OnDisk<E> {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), disk: self.disk.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl fmt::Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), disk: self.disk }
    }
}

impl<E: Clock> Clock for OnDisk<E> {
    fn current(&self) -> SystemTime {
        self.inner.current()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.inner.sleep(duration)
    }

    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static {
        self.inner.sleep_until(deadline)
    }
}

impl<E: Clock> governor::clock::Clock for OnDisk<E> {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl<E: Clock> governor::clock::ReasonablyRealtime for OnDisk<E> {}

impl<E: Metrics> Metrics for OnDisk<E> {
    /// Not exposed: nobody reads the metrics here, and most of opening a small store is registering them.
    fn register<N: Into<String>, H: Into<String>, M: Metric>(
        &self,
        _: N,
        _: H,
        metric: M,
    ) -> Registered<M> {
        Registered::with_registration(metric, Registration::from(()))
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl<E: BufferPooler> BufferPooler for OnDisk<E> {
    fn network_buffer_pool(&self) -> &BufferPool {
        self.inner.network_buffer_pool()
    }

    fn storage_buffer_pool(&self) -> &BufferPool {
        self.inner.storage_buffer_pool()
    }
}

impl<E: Storage> Storage for OnDisk<E> {
    type Blob = BlobOnDisk<E::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        self.disk.change(false)?;
        let (inner, len, version) = self.inner.open_versioned(partition, name, versions).await?;
        Ok((BlobOnDisk { inner, disk: self.disk.clone() }, len, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.disk.change(false)?;
        self.inner.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

#[derive(Clone)]
pub(crate) struct BlobOnDisk<B> {
    inner: B,
    disk: Disk,
}

impl<B: Blob> Blob for BlobOnDisk<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.disk.read(len);
        self.disk.pause().await;
        let read = self.inner.read_at_buf(offset, len, bufs, options).await;
        self.disk.pause().await;
        read
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.disk.read(len);
        self.disk.pause().await;
        let read = self.inner.read_at(offset, len, options).await;
        self.disk.pause().await;
        read
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.disk.change(options.contains(WriteOptions::SYNC))?;
        self.disk.pause().await;
        self.inner.write_at(offset, bufs, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.disk.change(false)?;
        self.disk.pause().await;
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.disk.change(true)?;
        self.disk.barrier().await;
        self.inner.sync().await
    }

    async fn start_sync(&self) -> Handle<()> {
        match self.disk.change(true) {
            Ok(()) => {
                // As late as it may be: what nobody waits for has not come to the disk at a crash.
                let (disk, inner) = (self.disk.clone(), self.inner.clone());
                Handle::from_future(async move {
                    disk.barrier().await;
                    inner.sync().await
                })
            }
            Err(error) => Handle::ready(Err(error)),
        }
    }
}
