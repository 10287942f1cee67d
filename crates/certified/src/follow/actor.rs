//! The driver's loop.

use super::{
    Boundaries, Config, ExecutionLayer, Mailbox, Marshal, Parts,
    begin::{ABOUT, Begun, begin, learn},
    decide::{State, Verdict},
    ingress::{Message, Waiting},
    metrics::Metrics,
};
use crate::{Epochs, Error, Finalized};
use commonware_actor::mailbox::{self, Receiver};
use commonware_consensus::types::{Epoch, Round};
use commonware_cryptography::certificate::Provider;
use commonware_macros::{select, select_loop};
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact};
use rand::Rng;
use std::{fmt, sync::Arc};
use tidewatch_core::{Actor, Block as _, BlockRef, Fault, Height, Stopper, Stopping};
use tracing::{debug, info};

/// Feeds a marshal and keeps it going over epochs: see the [module](super).
pub struct FollowDriver<E, M: Marshal, X, L, P> {
    context: ContextCell<E>,
    parts: Arc<Parts<M, X, L, P>>,
    config: Config,
    metrics: Metrics,
    inbox: Receiver<Message<M::Scheme, M::Block>>,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox<M::Scheme, M::Block>,
}

impl<E, M: Marshal, X, L, P> fmt::Debug for FollowDriver<E, M, X, L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowDriver").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a driver knows while it runs.
struct Running<M: Marshal> {
    state: State,
    /// The next height that the marshal delivers.
    next: Height,
    /// The newest finalization of a later epoch.
    held: Option<Finalized<M::Scheme, M::Block>>,
    /// What the execution layer has at its newest height of the start, until that was delivered.
    durable: Option<BlockRef>,
}

impl<E, M, X, L, P> FollowDriver<E, M, X, L, P>
where
    E: Clock + Spawner + Register + Rng,
    M: Marshal,
    X: Epochs<Scheme = M::Scheme> + Provider<Scope = Epoch, Scheme = M::Scheme>,
    L: ExecutionLayer<Block = M::Block>,
    P: Boundaries<M::Scheme, M::Block>,
{
    /// A driver, and the mailbox whose reporters bring in finality and updates.
    pub fn new(
        context: E,
        parts: Parts<M, X, L, P>,
        config: Config,
    ) -> (Self, Mailbox<M::Scheme, M::Block>) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let mailbox = Mailbox { sender, stopper };
        let driver = Self {
            metrics: Metrics::new(&context),
            context: ContextCell::new(context),
            parts: Arc::new(parts),
            config,
            inbox,
            stop,
            own: mailbox.clone(),
        };
        (driver, mailbox)
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Starts it. The handle resolves with success when it was stopped, and with the fault that ended it
    /// otherwise.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.with_runtime(&*self.context);
        let begun = select! {
            () = stop.stopped() => return Ok(()),
            begun = begin(&mut *self.context, &self.parts, &self.config, &self.metrics) => begun?,
        };
        let Begun { epoch, durable, processed } = begun;
        let mut running = Running {
            state: State::new(epoch, self.config.skip),
            next: processed.map_or_else(Height::zero, Height::next),
            held: None,
            durable: Some(durable),
        };
        info!(%epoch, %durable, ?processed, "following");
        self.metrics.epoch(epoch);
        let mut asking = Box::pin(self.poll());
        let mut ended = Ok(());
        select_loop! {
            self.context,
            on_stopped => {},
            () = stop.stopped() => break,
            Some(first) = self.inbox.recv() else break => {
                let waiting = self.collect(first);
                // A stop gives up the wait for a disk.
                let taken = select! {
                    () = stop.stopped() => break,
                    taken = self.take(&mut running, waiting) => taken,
                };
                if taken.is_err() {
                    ended = taken;
                    break;
                }
            },
            () = &mut asking => break,
        }
        drop(held);
        debug!("follow driver stopped");
        ended
    }

    /// Asks the upstream now and then; never ends.
    fn poll(&self) -> impl Future<Output = ()> + Send + use<E, M, X, L, P> {
        let (parts, metrics, poll) = (self.parts.clone(), self.metrics.clone(), self.config.poll);
        let clock = self.context.child("poll");
        async move {
            loop {
                if let Err(fault) = parts.upstream.ask().await {
                    debug!(%fault, "the upstream was asked in vain");
                    metrics.failures.inc();
                }
                clock.sleep(poll).await;
            }
        }
    }

    /// Everything that waits.
    fn collect(&mut self, first: Message<M::Scheme, M::Block>) -> Waiting<M::Scheme, M::Block> {
        let mut waiting = Waiting::default();
        waiting.push(first);
        while let Ok(next) = self.inbox.try_recv() {
            waiting.push(next);
        }
        waiting
    }

    async fn take(
        &self,
        running: &mut Running<M>,
        waiting: Waiting<M::Scheme, M::Block>,
    ) -> Result<(), Fault> {
        if let Some(epoch) = waiting.claimed() {
            running.state.claim(epoch);
        }
        let Waiting { blocks, tip, finalized, coalesced, .. } = waiting;
        self.metrics.stale.inc_by(coalesced);
        for (block, acknowledgement) in blocks {
            self.delivered(running, &block, acknowledgement).await?;
        }
        if let Some(finalized) = finalized {
            self.finalized(running, finalized.into_inner());
        }
        self.hint(running);
        if let Some((round, height)) = tip {
            self.tip(running, round, height).await;
        }
        Ok(())
    }

    /// The marshal delivers a block.
    async fn delivered(
        &self,
        running: &mut Running<M>,
        block: &M::Block,
        acknowledgement: Exact,
    ) -> Result<(), Fault> {
        let name = block.reference();
        if running.durable.is_some_and(|durable| durable.height <= name.height)
            && let Some(said) = running.durable.take()
            && said.height == name.height
            && said != name
        {
            return Err(Fault::new(ABOUT, Error::OtherHistory { said, proved: name }));
        }
        let epochs = &self.parts.epochs;
        if epochs.is_boundary(name.height) {
            learn(&self.parts, block).await?;
            self.metrics.boundaries.inc();
            let epoch = epochs.epoch(name.height.next()).unwrap_or_default();
            running.state.entered(epoch);
            self.metrics.epoch(epoch);
            debug!(block = %name, %epoch, "the next epoch is known, and that is durable");
        }
        acknowledgement.acknowledge();
        self.metrics.acknowledged(name.height);
        running.next = running.next.max(name.height.next());
        if let Some(held) = running.held.take() {
            self.finalized(running, held);
        }
        self.hint(running);
        Ok(())
    }

    /// A finalization verified.
    fn finalized(&self, running: &mut Running<M>, finalized: Finalized<M::Scheme, M::Block>) {
        match running.state.finalized(finalized.finalization.round()) {
            Verdict::Report => {
                self.metrics.reported.inc();
                self.parts.marshal.finalized(finalized);
            }
            Verdict::Stale => drop(self.metrics.stale.inc()),
            Verdict::Hold => {
                let round = |held: &Finalized<_, _>| held.finalization.round();
                match &running.held {
                    Some(held) if round(held) >= round(&finalized) => {}
                    _ => running.held = Some(finalized),
                }
            }
        }
    }

    /// Hints at the boundary of this epoch, if the chain is said to be in a later one.
    fn hint(&self, running: &mut Running<M>) {
        if let Some(epoch) = running.state.hint()
            && let Some(boundary) = self.parts.epochs.boundary(epoch)
        {
            debug!(%epoch, %boundary, "a later epoch: the marshal is to fetch the boundary");
            self.metrics.hints.inc();
            self.parts.marshal.hint(boundary);
        }
    }

    /// The marshal knows a newer finalized block.
    async fn tip(&self, running: &mut Running<M>, round: Round, height: Height) {
        debug!(?round, %height, "the marshal's tip");
        self.metrics.tip(height);
        let Some(boundary) = self.parts.epochs.boundary(running.state.epoch()) else { return };
        if !running.state.may_skip(boundary, running.next, height) {
            return;
        }
        // It is the marshal's own, so its epoch is one that it can check.
        if let Some(finalization) = self.parts.marshal.finalization(boundary).await {
            info!(%boundary, "the marshal goes on from the boundary");
            self.metrics.floors.inc();
            self.parts.marshal.floor(finalization);
            running.state.skipped();
        }
    }
}

impl<E, M, X, L, P> Actor for FollowDriver<E, M, X, L, P>
where
    E: Clock + Spawner + Register + Rng,
    M: Marshal,
    X: Epochs<Scheme = M::Scheme> + Provider<Scope = Epoch, Scheme = M::Scheme>,
    L: ExecutionLayer<Block = M::Block>,
    P: Boundaries<M::Scheme, M::Block>,
{
    fn name(&self) -> String {
        ABOUT.into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
