//! The application's loop.

use super::{
    Layer, Parts,
    config::Config,
    ingress::{Delivered, Mailbox},
    metrics::Metrics,
};
use crate::{Execution, ExecutionError};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::{select, select_loop};
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact};
use rand::Rng;
use std::fmt;
use tidewatch_certified::follow::Marshal;
use tidewatch_core::{Actor, Backoff, Block as _, Fault, FaultKind, Height, Stopper, Stopping};
use tracing::{debug, info, warn};

/// Executes what a marshal delivers: see the [module](super).
pub struct Application<E, X: Execution, M> {
    context: ContextCell<E>,
    layer: Layer<X>,
    marshal: M,
    config: Config,
    metrics: Metrics,
    inbox: Receiver<Delivered<X::Block>>,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox<X::Block>,
}

impl<E, X: Execution, M> fmt::Debug for Application<E, X, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl<E, X, M> Application<E, X, M>
where
    E: Spawner + Clock + Register + Rng,
    X: Execution,
    M: Marshal<Block = X::Block>,
{
    /// An application, and the mailbox whose reporter brings in what the marshal delivers.
    pub fn new(context: E, parts: Parts<X, M>, config: Config) -> (Self, Mailbox<X::Block>) {
        let Parts { execution, executor, marshal, order } = parts;
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let own = Mailbox { sender, stopper };
        let metrics = Metrics::new(&context);
        let layer = Layer::new(execution, executor, order);
        let (context, mailbox) = (ContextCell::new(context), own.clone());
        (Self { context, layer, marshal, config, metrics, inbox, stop, own }, mailbox)
    }

    /// Starts it. The handle resolves with success when it was stopped, and with the fault that ended it
    /// otherwise.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.with_runtime(&*self.context);
        let mut ended = Ok(());
        select_loop! {
            self.context,
            on_stopped => {},
            () = stop.stopped() => break,
            Some(first) = self.inbox.recv() else break => {
                let (blocks, acknowledgements) = self.collect(first);
                // A stop gives up the wait for a client.
                let executed = select! {
                    () = stop.stopped() => break,
                    executed = self.execute(&blocks) => executed,
                };
                if executed.is_err() {
                    ended = executed;
                    break;
                }
                acknowledgements.into_iter().for_each(Exact::acknowledge);
                if let Some(last) = blocks.last() {
                    self.metrics.acknowledged(last.reference().height);
                }
            },
        }
        match &ended {
            Ok(()) => debug!("application stopped"),
            Err(fault) => warn!(%fault, "application ended"),
        }
        drop(held);
        ended
    }

    /// What waits, up to the limit.
    fn collect(&mut self, first: Delivered<X::Block>) -> (Vec<X::Block>, Vec<Exact>) {
        let Delivered(block, acknowledgement) = first;
        let (mut blocks, mut acknowledgements) = (vec![block], vec![acknowledgement]);
        while blocks.len() < self.config.batch_max.get()
            && let Ok(Delivered(block, acknowledgement)) = self.inbox.try_recv()
        {
            blocks.push(block);
            acknowledgements.push(acknowledgement);
        }
        (blocks, acknowledgements)
    }

    /// Has `blocks` executed, however often that takes. Fails for good alone.
    async fn execute(&mut self, blocks: &[X::Block]) -> Result<(), Fault> {
        let mut backoff = Backoff::new(self.config.backoff_base, self.config.backoff_cap);
        let mut taken = self.layer.execute(blocks).await;
        while let Err(fault) = taken {
            if is_final(&fault) {
                return Err(fault);
            }
            self.metrics.failures.inc();
            let wait = backoff.fail(&mut *self.context);
            debug!(%fault, ?wait, "the client has not taken what was delivered");
            self.context.sleep(wait).await;
            taken = match self.heal(blocks).await {
                Ok(()) => self.layer.execute(blocks).await,
                Err(fault) => Err(fault),
            };
        }
        Ok(())
    }

    /// Gives the client what it lost below `blocks`.
    async fn heal(&self, blocks: &[X::Block]) -> Result<(), Fault> {
        let Some(first) = blocks.first().map(|block| block.reference().height) else {
            return Ok(());
        };
        let client = self.layer.client();
        let stands = client.standing().await?.forkchoice.head;
        let mut height = stands.height.next();
        if height < first {
            info!(%stands, before = %first, "blocks that the client lost are given again");
        }
        while height < first {
            let end = first.min(Height::new(height.get() + self.config.batch_max.get() as u64));
            let mut lost = Vec::with_capacity(self.config.batch_max.get());
            while height < end {
                let block = self.marshal.block(height).await;
                lost.push(block.ok_or_else(|| {
                    Fault::new(client.name(), ExecutionError::Lost { height, stands })
                })?);
                height = height.next();
            }
            self.layer.execute(&lost).await?;
            self.metrics.healed.inc_by(lost.len() as u64);
        }
        Ok(())
    }
}

/// Whether the client, or what talks to it, will not take the blocks however often they are given.
fn is_final(fault: &Fault) -> bool {
    fault.kind == FaultKind::Stopped || fault.severity().is_fatal()
}

impl<E, X, M> Actor for Application<E, X, M>
where
    E: Spawner + Clock + Register + Rng,
    X: Execution,
    M: Marshal<Block = X::Block>,
{
    fn name(&self) -> String {
        "application".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
