//! The keeper's loop.

use super::{
    config::Config,
    ingress::{Mailbox, Message},
    record::{Records, about},
};
use crate::{Boundary, CertifiedBlock, Schemes};
use commonware_actor::mailbox::{self, Receiver};
use commonware_consensus::types::{Epoch, Epocher};
use commonware_macros::select_loop;
use commonware_runtime::{ContextCell, Handle, Spawner, spawn_cell};
use commonware_storage::Context;
use commonware_utils::{NZUsize, channel::oneshot};
use std::{collections::BTreeSet, fmt, num::NonZeroUsize};
use tidewatch_core::{Actor, Fault, Stopper, Stopping};
use tracing::{debug, info};

/// Boundaries that wait before they overflow into a queue.
const MAILBOX_SIZE: NonZeroUsize = NZUsize!(64);

/// Makes boundaries durable: see the [module](super).
pub struct Keeper<E: Context> {
    context: ContextCell<E>,
    disk: Option<Records<E>>,
    about: String,
    /// The epochs whose boundaries were dealt with.
    written: BTreeSet<Epoch>,
    /// Who waits for a boundary that was not handed over yet.
    waiting: Vec<(Epoch, oneshot::Sender<()>)>,
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
        let about = about(&config.chain);
        let disk = Records::open(&context, &config).await?;
        let mut written = BTreeSet::new();
        for record in disk.all()? {
            written.insert(record.epoch);
            schemes.certified(record.block, record.proof);
            let taken = schemes.take(record.block, record.bytes);
            taken.map_err(|error| Fault::new(about.clone(), error))?;
        }
        schemes.trusted(disk.is_pinned(), disk.trusted_ms());
        info!(chain = %about, kept = written.len(), "epochs loaded");
        let (sender, inbox) = mailbox::new(context.child("mailbox"), MAILBOX_SIZE);
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { sender, stopper };
        schemes.keep(own.clone());
        let (context, disk) = (ContextCell::new(context), Some(disk));
        Ok(Self { context, disk, about, written, waiting: Vec::new(), inbox, stop, own })
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

    /// Does what a message asks for, and all that wait behind it.
    async fn write(&mut self, first: Message) -> Result<(), Fault> {
        let Some(mut disk) = self.disk.take() else { return Ok(()) };
        let mut fresh = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Keep(record) => {
                    fresh.push(record.epoch);
                    disk.put(record);
                }
                Message::Await { epoch, answer } => self.waiting.push((epoch, answer)),
            }
            next = self.inbox.try_recv().ok();
        }
        self.disk = Some(if fresh.is_empty() { disk } else { disk.sync().await? });
        self.written.extend(fresh);
        let (written, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|(_, answer)| !answer.is_closed())
            .partition(|(epoch, _)| self.written.contains(epoch));
        self.waiting = waiting;
        for (_, answer) in written {
            let _ = answer.send(()); // It may have left meanwhile.
        }
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
