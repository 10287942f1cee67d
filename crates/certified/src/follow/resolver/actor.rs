//! The resolver's loop.

use super::{
    Config, Mailbox, Parts,
    fetch::{Failure, From, fetch, request},
    ingress::Message,
    metrics::Metrics,
    wanted::{Wait, Wanted},
};
use crate::{Epochs, Transport, follow::ExecutionLayer};
use bytes::Bytes;
use commonware_actor::mailbox::{self, Receiver};
use commonware_consensus::marshal::resolver::handler::{Annotation, Key};
use commonware_cryptography::PublicKey;
use commonware_macros::select_loop;
use commonware_resolver::{Consumer, Delivery, Outcome};
use commonware_runtime::{Clock, ContextCell, Handle, Metrics as Register, Spawner, spawn_cell};
use commonware_utils::futures::Pool;
use std::{fmt, marker::PhantomData, sync::Arc};
use tidewatch_core::{Actor, Digest, Fault, Stopper, Stopping};
use tracing::{debug, warn};

/// Something that was waited for.
enum Done {
    /// A wait has passed.
    Due(Key<Digest>, u64),
    /// A request ended.
    Fetched(Key<Digest>, Result<(Bytes, From), Failure>),
    /// The marshal looked at what it was given; nothing if it did not say.
    Judged(Key<Digest>, From, Vec<Annotation>, Option<Outcome>),
}

/// Serves what a marshal asks for: see the [module](super).
pub struct Resolver<E, T, L, X, C> {
    context: ContextCell<E>,
    parts: Arc<Parts<T, L, X, C>>,
    consumer: C,
    config: Config,
    metrics: Metrics,
    wanted: Wanted<Key<Digest>>,
    in_flight: usize,
    inbox: Receiver<Message>,
    stop: Stopping,
    /// Keeps the inbox open when the marshal is gone.
    own: Mailbox<()>,
}

impl<E, T, L, X, C> fmt::Debug for Resolver<E, T, L, X, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<E, T, L, X, C> Resolver<E, T, L, X, C>
where
    E: Clock + Spawner + Register,
    T: Transport,
    L: ExecutionLayer,
    X: Epochs,
    C: Consumer<Key = Key<Digest>, Value = Bytes, Subscriber = Annotation> + Sync,
{
    /// A resolver, and the mailbox to start a marshal with, whose peers have keys of type `K`.
    pub fn new<K: PublicKey>(
        context: E,
        parts: Parts<T, L, X, C>,
        config: Config,
    ) -> (Self, Mailbox<K>) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), config.mailbox_size);
        let (stopper, stop) = Stopper::new();
        let resolver = Self {
            metrics: Metrics::new(&context),
            context: ContextCell::new(context),
            consumer: parts.consumer.clone(),
            parts: Arc::new(parts),
            wanted: Wanted::new(&config),
            config,
            in_flight: 0,
            inbox,
            stop,
            own: Mailbox { sender: sender.clone(), stopper: stopper.clone(), peers: PhantomData },
        };
        (resolver, Mailbox { sender, stopper, peers: PhantomData })
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Starts it. The handle resolves with success when it was stopped; nothing that an upstream does ends
    /// it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.with_runtime(&*self.context);
        let mut pool = Pool::default();
        select_loop! {
            self.context,
            on_start => {
                self.ask(&mut pool);
                self.metrics.wanted(self.wanted.len());
            },
            on_stopped => {},
            () = stop.stopped() => break,
            done = pool.next_completed() => self.take(done, &mut pool),
            Some(message) = self.inbox.recv() else break => self.request(message, &mut pool),
        }
        drop(held);
        debug!("resolver stopped");
        Ok(())
    }

    fn request(&mut self, message: Message, pool: &mut Pool<'_, Done>) {
        let now = self.context.current();
        match message {
            Message::Retain(keeps) => self.wanted.retain(keeps, now),
            Message::Fetch(wants) => {
                for want in wants {
                    if request(&want.key).is_none() {
                        warn!(key = %want.key, "no upstream serves this");
                        continue;
                    }
                    let wait = self.wanted.want(want.key, (want.subscriber, want.span), now);
                    self.wait(wait, pool);
                }
            }
        }
    }

    /// Asks for what is wanted, as far as there is room.
    fn ask(&mut self, pool: &mut Pool<'_, Done>) {
        while self.in_flight < self.config.concurrency.get()
            && let Some((key, local)) = self.wanted.next()
        {
            let Some(request) = request(&key) else { continue };
            let (parts, config) = (self.parts.clone(), self.config.clone());
            let (clock, metrics) = (self.context.child("fetch"), self.metrics.clone());
            self.in_flight += 1;
            pool.push(async move {
                let answer = fetch(&clock, &parts, request, local, &config, &metrics).await;
                Done::Fetched(key, answer)
            });
        }
    }

    fn wait(&self, wait: Option<Wait<Key<Digest>>>, pool: &mut Pool<'_, Done>) {
        let Some(Wait { key, number, delay }) = wait else { return };
        let passed = self.context.sleep(delay);
        pool.push(async move {
            passed.await;
            Done::Due(key, number)
        });
    }

    fn retry(
        &mut self,
        key: Key<Digest>,
        failure: Failure,
        local: bool,
        pool: &mut Pool<'_, Done>,
    ) {
        debug!(%key, reason = failure.as_str(), "asked for again later");
        self.metrics.retry(failure);
        let wait = self.wanted.failed(key, local);
        self.wait(wait, pool);
    }

    fn take(&mut self, done: Done, pool: &mut Pool<'_, Done>) {
        match done {
            Done::Due(key, number) => self.wanted.due(&key, number),
            Done::Fetched(key, answer) => {
                self.in_flight -= 1;
                // What nobody wants any more by now is of no use.
                let Some(subscribers) = self.wanted.subscribers(&key) else { return };
                let (bytes, from) = match answer {
                    Ok(answer) => answer,
                    Err(failure) => return self.retry(key, failure, true, pool),
                };
                let served = subscribers.iter().map(|(annotation, _)| *annotation).collect();
                let verdict = self.consumer.deliver(Delivery { key, subscribers }, bytes);
                pool.push(async move {
                    let verdict = verdict.await.ok().map(Into::into);
                    Done::Judged(key, from, served, verdict)
                });
            }
            Done::Judged(key, from, served, verdict) => match verdict {
                Some(Outcome::Invalid) => {
                    warn!(%key, ?from, "what was sent for this is wrong");
                    self.retry(key, Failure::Invalid, from != From::Execution, pool);
                }
                Some(Outcome::Ambiguous) => self.retry(key, Failure::Missing, true, pool),
                Some(Outcome::Complete) => {
                    self.metrics.delivered.inc();
                    self.wanted.done(&key, &served);
                }
                Some(Outcome::Ignored) | None => self.wanted.done(&key, &served),
            },
        }
    }
}

impl<E, T, L, X, C> Actor for Resolver<E, T, L, X, C>
where
    E: Clock + Spawner + Register,
    T: Transport,
    L: ExecutionLayer,
    X: Epochs,
    C: Consumer<Key = Key<Digest>, Value = Bytes, Subscriber = Annotation> + Sync,
{
    fn name(&self) -> String {
        "resolver".into()
    }

    fn stopper(&self) -> Stopper {
        self.own.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
