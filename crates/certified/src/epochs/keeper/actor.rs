//! The keeper's loop.

use super::{
    config::{Config, RECORD_MAX},
    ingress::{Mailbox, Message},
};
use crate::{Boundary, CertifiedBlock, Error, Schemes};
use bytes::Bytes;
use commonware_actor::mailbox::{self, Receiver};
use commonware_codec::{Decode as _, Encode as _, RangeCfg};
use commonware_consensus::types::{Epoch, Epocher};
use commonware_macros::select_loop;
use commonware_runtime::{ContextCell, Handle, Spawner, spawn_cell};
use commonware_storage::{
    Context,
    metadata::{self, Metadata},
};
use commonware_utils::{NZUsize, sequence::U64};
use std::{fmt, num::NonZeroUsize};
use tidewatch_core::{Actor, BlockRef, Fault, Stopper, Stopping};
use tracing::{debug, info};

/// Boundaries that wait before they overflow into a queue.
const MAILBOX_SIZE: NonZeroUsize = NZUsize!(64);

/// Under this key is the name of the chain. No epoch has this number.
const CHAIN: u64 = u64::MAX;

type Disk<E> = Metadata<E, U64, Bytes>;

/// A boundary on disk: its name, its certificate if it came with one, and the block.
type Record = (BlockRef, Option<Bytes>, Bytes);

/// Makes boundaries durable: see the [module](super).
pub struct Keeper<E: Context> {
    context: ContextCell<E>,
    disk: Option<Disk<E>>,
    about: String,
    inbox: Receiver<Message>,
    stop: Stopping,
    /// Keeps the inbox open when the table is gone.
    own: Mailbox,
}

impl<E: Context> fmt::Debug for Keeper<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("about", &self.about).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner> Keeper<E> {
    /// Opens the directory, gives `schemes` every boundary that is in it, and has it hand over what it
    /// learns from now on.
    ///
    /// # Errors
    ///
    /// The disk fails, what it holds does not decode, or it belongs to another chain.
    pub async fn open<EP: Epocher, P: Boundary<B>, B: CertifiedBlock>(
        context: E,
        config: Config,
        schemes: &Schemes<EP, P, B>,
    ) -> Result<Self, Fault> {
        let Config { chain, partition } = config;
        let about = format!("the epochs of {chain}");
        let failed = |error| Fault::new(about.clone(), Error::Disk(error));
        let codec_config = RangeCfg::from(0..=RECORD_MAX);
        let disk_config = metadata::Config { partition, codec_config };
        let disk = Disk::init(context.child("disk"), disk_config).await.map_err(failed)?;
        let name = Bytes::copy_from_slice(chain.as_str().as_bytes());
        let disk = match disk.get(&U64::new(CHAIN)) {
            Some(found) if *found == name => disk,
            Some(found) => {
                let found = String::from_utf8_lossy(found).into_owned();
                return Err(Fault::new(about, Error::OtherChain { found, chain }));
            }
            None => disk.put_sync(U64::new(CHAIN), name).await.map_err(failed)?,
        };
        let mut kept = 0;
        for epoch in disk.keys().map(u64::from).filter(|epoch| *epoch != CHAIN).collect::<Vec<_>>()
        {
            let Some(bytes) = disk.get(&U64::new(epoch)) else { continue };
            let unreadable = |error| {
                Fault::new(about.clone(), Error::Unreadable { epoch: Epoch::new(epoch), error })
            };
            let part = RangeCfg::from(0..=RECORD_MAX);
            let (name, _, block) =
                Record::decode_cfg(bytes.clone(), &((), part, part)).map_err(unreadable)?;
            schemes.take(name, block).map_err(|error| Fault::new(about.clone(), error))?;
            kept += 1;
        }
        info!(chain = %about, kept, "epochs loaded");
        let (sender, inbox) = mailbox::new(context.child("mailbox"), MAILBOX_SIZE);
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { sender, stopper };
        schemes.keep(own.clone());
        Ok(Self { context: ContextCell::new(context), disk: Some(disk), about, inbox, stop, own })
    }

    /// Starts it. The handle resolves with success when it was stopped and everything that waited is
    /// written, and with a fault when the disk failed.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.with_runtime(&*self.context);
        let mut failed = Ok(());
        select_loop! {
            self.context,
            on_stopped => {},
            () = stop.stopped() => break,
            Some(first) = self.inbox.recv() else break => {
                failed = self.write(first).await;
                if failed.is_err() {
                    break;
                }
            },
        }
        // What was handed over before the stop is written: nobody hands it over again before a restart.
        while failed.is_ok()
            && let Ok(next) = self.inbox.try_recv()
        {
            failed = self.write(next).await;
        }
        drop(held);
        debug!(chain = %self.about, "keeper stopped");
        failed
    }

    /// Writes a boundary, and all that wait behind it.
    async fn write(&mut self, first: Message) -> Result<(), Fault> {
        let Some(mut disk) = self.disk.take() else { return Ok(()) };
        let mut next = Some(first);
        while let Some(Message { epoch, name, block, proof }) = next {
            let record: Record = (name, proof, block);
            disk.put(U64::new(epoch.get()), record.encode());
            next = self.inbox.try_recv().ok();
        }
        let disk = disk.sync().await;
        let disk = disk.map_err(|error| Fault::new(self.about.clone(), Error::Disk(error)))?;
        self.disk = Some(disk);
        Ok(())
    }
}

impl<E: Context + Spawner> Actor for Keeper<E> {
    fn name(&self) -> String {
        "epochs".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
