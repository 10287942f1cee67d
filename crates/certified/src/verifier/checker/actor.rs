//! The checker's loop.

use super::{Config, Mailbox, ingress::Request, seen::Seen};
use crate::Scheme;
use commonware_actor::mailbox::{self, UnreliableReceiver};
use commonware_consensus::simplex::types::verify_certificates;
use commonware_macros::select_loop;
use commonware_parallel::Sequential;
use commonware_runtime::{ContextCell, Handle, Metrics as Register, Spawner};
use rand::{CryptoRng, SeedableRng as _, rngs::StdRng};
use std::{fmt, num::NonZeroUsize, sync::Arc};
use tidewatch_core::Digest;
use tracing::debug;

/// Checks certificates: see the [module](super).
pub struct Checker<E, S: Scheme> {
    context: ContextCell<E>,
    requests: UnreliableReceiver<Request<S>>,
    rng: StdRng,
    seen: Seen,
    batch_max: NonZeroUsize,
}

impl<E, S: Scheme> fmt::Debug for Checker<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("batch_max", &self.batch_max).finish_non_exhaustive()
    }
}

impl<E: Spawner + Register + CryptoRng, S: Scheme> Checker<E, S> {
    /// A checker, and the mailbox to request checks from it.
    pub fn new(mut context: E, config: Config) -> (Self, Mailbox<S>) {
        let Config { waiting_max, batch_max, seen_max } = config;
        let (sender, requests) = mailbox::new_unreliable(context.child("mailbox"), waiting_max);
        let rng = StdRng::from_rng(&mut context);
        let seen = Seen::new(seen_max.get());
        let context = ContextCell::new(context);
        let checker = Self { context, requests, rng, seen, batch_max };
        (checker, Mailbox { sender, waiting_max })
    }

    /// Starts it, on a thread of its own where the runtime has threads. The handle resolves when all
    /// mailboxes are gone or the runtime is told to stop.
    pub fn start(mut self) -> Handle<()> {
        let context = self.context.take().dedicated();
        context.spawn(move |context| {
            self.context.restore(context);
            self.run()
        })
    }

    async fn run(mut self) {
        select_loop! {
            self.context,
            on_stopped => {
                debug!("checker stopped");
            },
            Some(first) = self.requests.recv() else break => {
                let waiting = self.collect(first);
                self.check(waiting);
            },
        }
    }

    /// Everything that waits, up to the size of a batch, without what nobody waits for any longer.
    fn collect(&mut self, first: Request<S>) -> Vec<Request<S>> {
        let mut waiting = vec![first];
        while waiting.len() < self.batch_max.get()
            && let Ok(next) = self.requests.try_recv()
        {
            waiting.push(next);
        }
        waiting.retain(|request| !request.answer.is_closed());
        waiting
    }

    fn check(&mut self, mut waiting: Vec<Request<S>>) {
        while let Some(first) = waiting.first() {
            let scheme = first.scheme.clone();
            let same = |request: &Request<S>| Arc::ptr_eq(&request.scheme, &scheme);
            let (batch, others) = waiting.into_iter().partition(same);
            self.check_batch(&scheme, batch);
            waiting = others;
        }
    }

    /// Answers requests that are all under `scheme`.
    fn check_batch(&mut self, scheme: &S, batch: Vec<Request<S>>) {
        let mut fresh: Vec<&Request<S>> = Vec::with_capacity(batch.len());
        // For each request its place among the certificates that have to be verified.
        let mut places = Vec::with_capacity(batch.len());
        for request in &batch {
            let kind = request.certificate.kind();
            if self.seen.contains(kind, &request.proof) {
                places.push(None);
                continue;
            }
            let same = |other: &&Request<S>| {
                other.certificate.kind() == kind && other.proof == request.proof
            };
            let place = fresh.iter().position(same).unwrap_or_else(|| {
                fresh.push(request);
                fresh.len() - 1
            });
            places.push(Some(place));
        }
        let verdicts = self.verify(scheme, &fresh);
        for (request, verifies) in fresh.iter().zip(&verdicts) {
            request.metrics.checked(request.reason);
            if *verifies {
                self.seen.insert(request.certificate.kind(), request.proof.clone());
            }
        }
        for (request, place) in batch.into_iter().zip(places) {
            let verifies = place.is_none_or(|place| verdicts[place]);
            let _ = request.answer.send(verifies); // The caller may have left meanwhile.
        }
    }

    /// For each of `requests` whether it verifies.
    fn verify(&mut self, scheme: &S, requests: &[&Request<S>]) -> Vec<bool> {
        let Some(first) = requests.first() else { return Vec::new() };
        first.metrics.batched();
        let rng = &mut self.rng;
        let verdicts = match requests {
            [one] => vec![one.certificate.verify(rng, scheme)],
            several => {
                let several: Vec<_> =
                    several.iter().map(|request| request.certificate.signed()).collect();
                verify_certificates::<_, _, Digest>(rng, scheme, &several, &Sequential)
            }
        };
        assert_eq!(verdicts.len(), requests.len(), "one verdict for each certificate");
        verdicts
    }
}
