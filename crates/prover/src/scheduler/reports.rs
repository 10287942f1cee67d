//! What attempts and provers say.

use super::{
    actor::Scheduler,
    ingress::{Message, Report},
};
use crate::{
    Class, Error, Failure, Key, Offer, Program, Prover,
    plan::{Cancel, ProverId, State, Taken, Token, Verdict},
};
use bytes::Bytes;
use commonware_runtime::{Handle, Spawner};
use commonware_storage::Context;
use rand::Rng;
use std::sync::Arc;
use tidewatch_core::within;
use tracing::{debug, warn};

impl<E: Context + Spawner + Rng, P: Program> Scheduler<E, P> {
    pub(super) fn offered(&mut self, prover: ProverId, offer: Result<Offer, Failure>) {
        let Some(name) = self.plan.provers().get(prover.0).map(|prover| prover.name.clone()) else {
            return;
        };
        match offer {
            Ok(offer) => {
                let known = self.plan.provers()[prover.0].deadline;
                self.plan.advertise(prover, offer);
                let now = self.now();
                let status = self.plan.status(now).provers.into_iter().nth(prover.0);
                if let Some(warning) = status.and_then(|status| status.warning)
                    && known != offer.deadline
                {
                    warn!(prover = %name, %warning, "a proof that takes longer can never succeed");
                }
            }
            Err(failure) => debug!(prover = %name, %failure, "offers nothing"),
        }
    }

    pub(super) async fn report(&mut self, report: Report) -> Result<(), Error> {
        let now = self.now();
        match report {
            Report::Alive(token) => {
                self.plan.alive(token, now);
            }
            Report::Submitted { token, handle, wanted } => {
                let is_wanted = self.plan.submitted(token, handle.clone(), now);
                if is_wanted && let Some((key, name)) = self.lease(token) {
                    self.disk.change(&key, |job| job.handles.push((name, handle))).await?;
                }
                let _ = wanted.send(is_wanted);
            }
            Report::Failed { token, failure } => {
                self.tasks.remove(&token);
                self.failed(token, &failure).await?;
            }
            Report::Proved { key, token, proof, answer } => {
                self.proved(key, token, proof).await?;
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        Ok(())
    }

    /// The job and the prover's name of an attempt that holds a slot.
    pub(super) fn lease(&self, token: Token) -> Option<(Key, String)> {
        self.plan.lease_of(token).and_then(|(key, lease)| {
            let name = self.plan.provers().get(lease.prover.0)?.name.clone();
            Some((key, name))
        })
    }

    pub(super) async fn failed(&mut self, token: Token, failure: &Failure) -> Result<(), Error> {
        let lease = self.plan.lease_of(token).map(|(key, lease)| (key, lease.clone()));
        let now = self.now();
        let verdict = self.plan.failed(token, failure, now, &mut *self.context);
        let Some((key, lease)) = lease else { return Ok(()) };
        debug!(block = %key, %failure, ?verdict, "attempt failed");
        let poisoned = match &verdict {
            Verdict::Poisoned(reason) => {
                warn!(block = %key, %reason, "poisoned: nothing above it is proven until it is");
                Some(State::Poisoned(reason.clone()))
            }
            _ => None,
        };
        // What has not changed on disk is not written.
        let handle = lease.handle;
        if failure.class() != Class::Logical && handle.is_none() {
            return Ok(());
        }
        let logical = self.plan.job(key.block.height).map_or(0, |job| job.logical);
        self.disk
            .change(&key, |job| {
                job.logical = logical;
                job.state = poisoned.unwrap_or_else(|| job.state.clone());
                if let Some(handle) = &handle {
                    job.handles.retain(|(_, ours)| ours != handle);
                }
            })
            .await
    }

    /// A second attempt at the head makes room: its handle is forgotten before its prover may forget the job.
    pub(super) async fn preempted(&mut self, cancel: Cancel) -> Result<(), Error> {
        let names = self.plan.provers().get(cancel.prover.0).map(|prover| prover.name.clone());
        let head = self.plan.job(self.plan.proven().height.next()).map(|job| job.key);
        if let (Some(handle), Some(name), Some(key)) = (&cancel.handle, names, head) {
            self.disk
                .change(&key, |job| job.handles.retain(|(at, ours)| (at, ours) != (&name, handle)))
                .await?;
        }
        self.cancel(cancel);
        Ok(())
    }

    /// Takes in a proof that verified: durably, then in the plan; then provers may forget it.
    pub(super) async fn proved(
        &mut self,
        key: Key,
        token: Option<Token>,
        proof: Bytes,
    ) -> Result<(), Error> {
        let lease = token.and_then(|token| self.plan.lease_of(token));
        let ours = lease.and_then(|(_, lease)| Some((lease.prover, lease.handle.clone()?)));
        let stored = self.disk.proved(&key, &proof).await?;
        let now = self.now();
        let taken = match stored {
            Some(stored) => self.plan.proved(&key, token, stored, now),
            None => self.plan.proved(&key, token, crate::Stored::of(&proof), now),
        };
        if let Some(token) = token {
            self.tasks.remove(&token);
        }
        if let Some((prover, handle)) = ours {
            self.release(prover, handle);
        }
        if let Taken::Proved(cancels) = taken {
            cancels.into_iter().for_each(|cancel| self.cancel(cancel));
        }
        self.commit().await
    }

    /// Asks each prover what it offers, now and then.
    pub(super) fn ask_for_offers(&self) -> Vec<Handle<()>> {
        let ask = |(at, prover): (usize, &Arc<dyn Prover>)| {
            let (prover, mailbox) = (prover.clone(), self.own.clone());
            let (call, every) = (self.config.call, self.config.offers);
            self.context.child("offers").spawn(move |context| async move {
                loop {
                    let offer = within(&context, call, prover.offer()).await;
                    let silent = || Err(Failure::Unavailable(format!("no answer within {call:?}")));
                    let offer = offer.unwrap_or_else(silent);
                    let message = Message::Offer { prover: at, offer };
                    if !mailbox.sender.enqueue(message).accepted() {
                        return;
                    }
                    context.sleep(every).await;
                }
            })
        };
        self.provers.iter().enumerate().map(ask).collect()
    }
}
