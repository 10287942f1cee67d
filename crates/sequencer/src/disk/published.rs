//! What was published, on disk.

use crate::{Block, Error, Publisher};
use bytes::Bytes;
use commonware_codec::RangeCfg;
use commonware_runtime::Spawner;
use commonware_storage::{
    Context,
    metadata::{Config, Metadata},
};
use commonware_utils::{
    sequence::U64,
    sync::{AsyncMutex, Mutex},
};
use futures::{FutureExt as _, future::BoxFuture};
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Fault, Height,
    watch::{Receiver, Sender, watch},
};

const ABOUT: &str = "the record of what was published";
const KEY: U64 = U64::new(0);

/// Publishes to whoever reads the chain here: remembers how far, durably.
pub struct Published<E: Context + Spawner> {
    context: Mutex<E>,
    /// Closed by a write that failed or was cut off.
    table: Arc<AsyncMutex<Option<Metadata<E, U64, Bytes>>>>,
    number: Arc<Sender<Height>>,
    numbers: Receiver<Height>,
}

impl<E: Context + Spawner> fmt::Debug for Published<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("number", &self.numbers.current()).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner> Published<E> {
    /// Opens the record in `partition`, or begins it.
    ///
    /// # Errors
    ///
    /// The disk, or damage.
    pub async fn open(context: E, partition: &str) -> Result<Self, Fault> {
        let partition = format!("{partition}-published");
        let config = Config { partition, codec_config: RangeCfg::from(0..=8) };
        let table = Metadata::<E, U64, Bytes>::init(context.child("published"), config).await;
        let table = table.map_err(|error| Fault::new(ABOUT, Error::Metadata(error)))?;
        let number = table.get(&KEY).and_then(|bytes| bytes.as_ref().try_into().ok());
        let number = Height::new(number.map_or(0, u64::from_be_bytes));
        let (number, numbers) = watch(number);
        let (table, number) = (Arc::new(AsyncMutex::new(Some(table))), Arc::new(number));
        Ok(Self { context: Mutex::new(context), table, number, numbers })
    }

    /// How far: to read and to await.
    pub fn numbers(&self) -> Receiver<Height> {
        self.numbers.clone()
    }
}

async fn put<E: Context>(
    table: &AsyncMutex<Option<Metadata<E, U64, Bytes>>>,
    number: &Sender<Height>,
    to: Height,
) -> Result<(), Error> {
    let mut table = table.lock().await;
    let mut open = table.take().ok_or(Error::Closed)?;
    open.put(KEY, Bytes::copy_from_slice(&to.get().to_be_bytes()));
    *table = Some(open.sync().await?);
    number.change(|number| std::mem::replace(number, to) != to);
    Ok(())
}

impl<E: Context + Spawner> Publisher for Published<E> {
    fn published(&self) -> Height {
        self.numbers.current()
    }

    fn publish<'a>(&'a self, block: &'a Block) -> BoxFuture<'a, Result<(), Fault>> {
        let (table, number, to) = (self.table.clone(), self.number.clone(), block.identity.number);
        if to <= self.published() {
            return futures::future::ready(Ok(())).boxed();
        }
        // On a task of its own: a caller that leaves does not cut a write off.
        let context = self.context.lock().child("publish");
        let put = context.spawn(move |_| async move { put(&table, &number, to).await });
        async move {
            let put = put.await.unwrap_or(Err(Error::Stopped));
            put.map_err(|error| Fault::new(ABOUT, error))
        }
        .boxed()
    }
}
