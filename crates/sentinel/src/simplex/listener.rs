//! The listener's loop.

pub use super::hearing::{ROUNDS_MAX, VOTES_MAX};
use super::{Electorate, Reporter, hearing::Hearing, ingress::Message, metrics::Metrics};
use crate::{Observation, Slot};
use commonware_actor::mailbox::{self, Receiver};
use commonware_consensus::simplex::scheme::Scheme;
use commonware_cryptography::{ed25519::PublicKey, sha256::Digest};
use commonware_macros::select_loop;
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::NZUsize;
use rand::CryptoRng;
use std::{fmt, num::NonZeroUsize, time::Duration};
use tidewatch_core::{
    Actor, Fault, Stopper, Stopping,
    watch::{self, watch},
};

/// Takes what was observed; returns at once.
pub type HandIn = Box<dyn FnMut(Observation) + Send>;

/// Limits and intervals of a listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long votes are gathered before they are verified together: a fraction of a slot.
    pub gather: Duration,
    /// Messages that wait for it before its overflow takes them.
    pub mailbox_size: NonZeroUsize,
}

impl Default for Config {
    /// A tenth of a second, 1,024 messages.
    fn default() -> Self {
        Self { gather: Duration::from_millis(100), mailbox_size: NZUsize!(1_024) }
    }
}

/// Verifies what a [`Reporter`] takes, and hands it in: see the [module](super).
pub struct Listener<E: Spawner + Clock, S: Scheme<Digest>> {
    context: ContextCell<E>,
    config: Config,
    inbox: Receiver<Message<S>>,
    hand_in: HandIn,
    hearing: Hearing<S>,
    heard: watch::Sender<Option<Slot>>,
    metrics: Metrics,
    stopper: Stopper,
    stop: Stopping,
    /// Keeps the inbox open when all other reporters are gone.
    _own: Reporter<S>,
}

impl<E: Spawner + Clock, S: Scheme<Digest>> fmt::Debug for Listener<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<E, S> Listener<E, S>
where
    E: Spawner + Clock + Register + CryptoRng,
    S: Scheme<Digest, PublicKey = PublicKey>,
{
    /// A listener that hands in what the validators of `electorate` send; the reporter that feeds it; and up to which
    /// slot it has decided what was wholly heard.
    pub fn new(
        context: E,
        config: Config,
        electorate: Electorate,
        hand_in: HandIn,
    ) -> (Self, Reporter<S>, watch::Receiver<Option<Slot>>) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let reporter = Reporter { sender };
        let (stopper, stop) = Stopper::new();
        let (heard, hears) = watch(None);
        let metrics = Metrics::new(&context);
        let (context, own) = (ContextCell::new(context), reporter.clone());
        let hearing = Hearing::new(electorate);
        let listener = Self {
            context,
            config,
            inbox,
            hand_in,
            hearing,
            heard,
            metrics,
            stopper,
            stop,
            _own: own,
        };
        (listener, reporter, hears)
    }

    /// Starts it. The handle resolves when it was stopped.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        let mut next = self.context.current() + self.config.gather;
        select_loop! {
            self.context,
            on_stopped => {},
            () = stop.stopped() => break,
            () = self.context.sleep_until(next) => {
                self.pass();
                next = self.context.current() + self.config.gather;
            },
            Some(message) = self.inbox.recv() else break => {
                self.metrics.dropped.inc_by(self.hearing.take(message));
            },
        }
        drop(held);
        Ok(())
    }

    fn pass(&mut self) {
        let outcome = self.hearing.pass(&mut *self.context);
        self.metrics.votes.inc_by(outcome.verified);
        self.metrics.invalid.inc_by(outcome.invalid);
        self.metrics.missed.inc_by(outcome.missed);
        for observation in outcome.observations {
            (self.hand_in)(observation);
        }
        // Only after what it is about was handed in.
        let swept = self.hearing.swept();
        self.heard.change(|heard| std::mem::replace(heard, swept) != swept);
    }
}

impl<E, S> Actor for Listener<E, S>
where
    E: Spawner + Clock + Register + CryptoRng,
    S: Scheme<Digest, PublicKey = PublicKey>,
{
    fn name(&self) -> String {
        "listener".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
