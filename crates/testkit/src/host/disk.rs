//! Fault-injecting disk of a host.

use super::{Change, Trouble};
use commonware_runtime::{
    Blob, Clock, Error, Handle, IoBufs, IoBufsMut, ReadOptions, Storage, WriteOptions,
};
use std::{fmt, future::pending, sync::Arc};

/// Applies faults to one disk mutation: it may be delayed, fail, or never complete.
pub(super) async fn change(clock: &impl Clock, trouble: &Trouble, sync: bool) -> Result<(), Error> {
    match trouble.change(sync) {
        Change::Goes(None) => Ok(()),
        Change::Goes(Some(time)) => {
            clock.sleep(time).await;
            Ok(())
        }
        Change::Fails => Err(Error::WriteFailed),
        Change::Crashes => pending().await,
    }
}

/// A blob whose mutations may be delayed, fail, or never complete.
pub struct DiskBlob<E: Storage> {
    inner: E::Blob,
    clock: Arc<E>,
    trouble: Trouble,
}

impl<E: Storage> Clone for DiskBlob<E> {
    fn clone(&self) -> Self {
        let (inner, clock, trouble) =
            (self.inner.clone(), self.clock.clone(), self.trouble.clone());
        Self { inner, clock, trouble }
    }
}

impl<E: Storage> fmt::Debug for DiskBlob<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskBlob").finish_non_exhaustive()
    }
}

impl<E: Storage> DiskBlob<E> {
    pub(super) const fn new(inner: E::Blob, clock: Arc<E>, trouble: Trouble) -> Self {
        Self { inner, clock, trouble }
    }
}

impl<E: Storage + Clock> Blob for DiskBlob<E> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.trouble.read(len);
        self.trouble.turn(false).await;
        let read = self.inner.read_at_buf(offset, len, bufs, options).await;
        self.trouble.turn(false).await;
        read
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.trouble.read(len);
        self.trouble.turn(false).await;
        let read = self.inner.read_at(offset, len, options).await;
        self.trouble.turn(false).await;
        read
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let sync = options.contains(WriteOptions::SYNC);
        change(&*self.clock, &self.trouble, sync).await?;
        self.trouble.turn(sync).await;
        let options =
            if self.trouble.syncs() { options } else { options.without(WriteOptions::SYNC) };
        self.inner.write_at(offset, bufs, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        change(&*self.clock, &self.trouble, false).await?;
        self.trouble.turn(false).await;
        self.inner.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        change(&*self.clock, &self.trouble, true).await?;
        if !self.trouble.syncs() {
            return Ok(());
        }
        self.trouble.turn(true).await;
        self.inner.sync().await
    }

    async fn start_sync(&self) -> Handle<()> {
        match change(&*self.clock, &self.trouble, true).await {
            Ok(()) if !self.trouble.syncs() => Handle::ready(Ok(())),
            Ok(()) if self.trouble.syncs_when_waited_for() => {
                let (trouble, inner) = (self.trouble.clone(), self.inner.clone());
                Handle::from_future(async move {
                    trouble.turn(true).await;
                    inner.sync().await
                })
            }
            Ok(()) => self.inner.start_sync().await,
            Err(error) => Handle::ready(Err(error)),
        }
    }
}
