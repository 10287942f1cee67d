//! A runtime context whose disk fails at a chosen change, and at every one after it.

use commonware_runtime::{
    Blob, BlobVersion, BufferPool, BufferPooler, Clock, Error, Handle, IoBufs, IoBufsMut, Metrics,
    Name, ReadOptions, Spawner, Storage, Supervisor, WriteOptions,
    signal::Signal,
    telemetry::metrics::{Metric, Registered},
};
use commonware_utils::sync::Mutex;
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};

#[derive(Default)]
struct State {
    /// Changes that still succeed.
    left: Option<u64>,
    /// Removals fail.
    keeps: bool,
}

/// What the test decides of the disk.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// Lets `changes` more changes through, and fails every one after them.
    pub(crate) fn fail_after(&self, changes: u64) {
        self.0.lock().left = Some(changes);
    }

    /// Nothing can be removed, or it can again.
    pub(crate) fn keep(&self, keeps: bool) {
        self.0.lock().keeps = keeps;
    }

    fn change(&self) -> Result<(), Error> {
        let State { left, .. } = &mut *self.0.lock();
        if let Some(left) = left {
            *left = left.checked_sub(1).ok_or(Error::WriteFailed)?;
        }
        Ok(())
    }
}

/// A context on such a disk.
pub(crate) struct Faulty<E> {
    inner: E,
    faults: Faults,
}

impl<E> Faulty<E> {
    pub(crate) fn new(inner: E) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner, faults: faults.clone() }, faults)
    }
}

impl<E: Supervisor> Supervisor for Faulty<E> {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), faults: self.faults.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl fmt::Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), faults: self.faults }
    }
}

impl<E: Spawner> Spawner for Faulty<E> {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), faults: self.faults }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), faults: self.faults }
    }

    fn spawn<F, Fut, T>(self, f: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self { inner, faults } = self;
        inner.spawn(move |inner| f(Self { inner, faults }))
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl<E: rand::TryRng<Error = Infallible>> rand::TryRng for Faulty<E> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Infallible> {
        self.inner.try_fill_bytes(dest)
    }
}

impl<E: Clock> Clock for Faulty<E> {
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

impl<E: Clock> governor::clock::Clock for Faulty<E> {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl<E: Clock> governor::clock::ReasonablyRealtime for Faulty<E> {}

impl<E: Metrics> Metrics for Faulty<E> {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(
        &self,
        name: N,
        help: H,
        metric: M,
    ) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl<E: BufferPooler> BufferPooler for Faulty<E> {
    fn network_buffer_pool(&self) -> &BufferPool {
        self.inner.network_buffer_pool()
    }

    fn storage_buffer_pool(&self) -> &BufferPool {
        self.inner.storage_buffer_pool()
    }
}

impl<E: Storage> Storage for Faulty<E> {
    type Blob = FaultyBlob<E::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        self.faults.change()?;
        let (inner, len, version) = self.inner.open_versioned(partition, name, versions).await?;
        Ok((FaultyBlob { inner, faults: self.faults.clone() }, len, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.faults.change()?;
        if self.faults.0.lock().keeps {
            return Err(Error::WriteFailed);
        }
        self.inner.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

#[derive(Clone)]
pub(crate) struct FaultyBlob<B> {
    inner: B,
    faults: Faults,
}

impl<B: Blob> Blob for FaultyBlob<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.inner.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.inner.read_at(offset, len, options).await
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.faults.change()?;
        self.inner.write_at(offset, bufs, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.faults.change()?;
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.faults.change()?;
        self.inner.sync().await
    }

    async fn start_sync(&self) -> Handle<()> {
        match self.faults.change() {
            Ok(()) => {
                // As late as it may be: what nobody waits for has not come to the disk at a crash.
                let inner = self.inner.clone();
                Handle::from_future(async move { inner.sync().await })
            }
            Err(error) => Handle::ready(Err(error)),
        }
    }
}
