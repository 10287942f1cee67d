//! The upstream's loop.

use super::{Config, Mailbox, connection::Connection, ingress::Message};
use crate::{CertifiedBlock, Epochs, Transport};
use commonware_actor::mailbox::{self, Receiver};
use commonware_macros::select_loop;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::NZUsize;
use rand::CryptoRng;
use std::{num::NonZeroUsize, time::Duration};
use tidewatch_core::{Actor, Backoff, Fault, Stopper, Stopping};
use tracing::{debug, info};

/// Messages that wait before they are coalesced. There is one kind, and of it one is as good as many.
const MAILBOX_SIZE: NonZeroUsize = NZUsize!(1);

/// Keeps one push connection open: see the [module](super). Made by [`open`](crate::open).
pub struct Upstream<E, T, X: Epochs, B: CertifiedBlock> {
    context: ContextCell<E>,
    connection: Connection<T, X, B>,
    inbox: Receiver<Message>,
    stop: Stopping,
    /// Keeps the inbox open when all other mailboxes are gone.
    own: Mailbox,
}

impl<E, T, X: Epochs, B: CertifiedBlock> std::fmt::Debug for Upstream<E, T, X, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("metrics", &self.connection.metrics)
            .finish_non_exhaustive()
    }
}

impl<E, T, X, B> Upstream<E, T, X, B>
where
    E: Clock + Spawner + Register + CryptoRng,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// An upstream, and the mailbox to talk to it.
    pub(crate) fn new(context: E, config: Config<T, X, B>) -> (Self, Mailbox) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), MAILBOX_SIZE);
        let (stopper, stop) = Stopper::new();
        let mailbox = Mailbox { sender, stopper };
        let upstream = Self {
            context: ContextCell::new(context),
            connection: Connection::new(config),
            inbox,
            stop,
            own: mailbox.clone(),
        };
        (upstream, mailbox)
    }

    /// Starts it. The handle resolves with success when it was stopped; nothing that an endpoint does
    /// ends it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.with_runtime(&*self.context);
        let (limits, name) = (&self.connection.limits, self.connection.metrics.name());
        let mut backoff = Backoff::new(limits.backoff_base, limits.backoff_cap);
        // The wait before the next attempt; nothing before the first one.
        let mut wait = Duration::ZERO;
        select_loop! {
            self.context,
            on_stopped => {},
            // An attempt that another arm interrupts is dropped, and its connection closed.
            () = stop.stopped() => break,
            Some(message) = self.inbox.recv() else break => match message {
                Message::Reconnect => {
                    debug!(upstream = name, "asked to reconnect");
                    wait = Duration::ZERO;
                }
            },
            fault = self.connection.attempt(&*self.context, wait, &mut backoff) => {
                self.connection.metrics.absorbed(&fault);
                wait = backoff.fail(&mut *self.context);
                debug!(upstream = name, ?wait, "waiting before connecting again");
            },
        }
        drop(held);
        info!(upstream = name, "upstream stopped");
        Ok(())
    }
}

impl<E, T, X, B> Actor for Upstream<E, T, X, B>
where
    E: Clock + Spawner + Register + CryptoRng,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    fn name(&self) -> String {
        "upstream".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
