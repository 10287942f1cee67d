//! What attempts and submissions say, and what time brings.

use super::{
    super::{
        AfterFailure, Chain, Content, Decided, EpochAt, Kind, Outcome, PostMortem, Publisher,
        RangeProgram, SessionId, SessionState, Trigger,
    },
    actor::Manager,
    ingress::{Message, Report},
};
use crate::Error;
use commonware_runtime::Spawner;
use commonware_storage::Context;
use rand::Rng;
use tidewatch_core::within;
use tracing::{debug, warn};

impl<E, C, P, U, M> Manager<E, C, P, U, M>
where
    E: Context + Spawner + Rng,
    C: Chain<Heavy = Content> + 'static,
    P: RangeProgram,
    U: Publisher,
    M: PostMortem,
{
    pub(super) async fn report(&mut self, report: Report) -> Result<(), Error> {
        match report {
            Report::Proved { job, key, proof, prover, handle } => {
                // It is kept whoever wants it: the blocks may come back. Then the prover may forget it.
                self.core.kept.put(&key, &proof).await?;
                if let Some(prover) = self.provers.get(prover).cloned() {
                    let call = self.config.proving.call;
                    self.context.child("release").spawn(move |context| async move {
                        within(&context, call, prover.release(&handle)).await;
                    });
                }
                self.tasks.remove(&job);
                self.core.proved(&job).await?;
                self.drain().await
            }
            Report::Failed { job, failure } => {
                self.tasks.remove(&job);
                let now = self.now();
                let after = self.core.failed(&job, &failure, now, &mut *self.context).await?;
                debug!(?job, %failure, ?after, "attempt failed");
                self.metrics.failure(&failure);
                match after {
                    Some(AfterFailure::Split(..)) => self.metrics.event("split"),
                    Some(AfterFailure::Poisoned) => self.metrics.event("poisoned"),
                    _ => {}
                }
                Ok(())
            }
            Report::Submitted(landed) => {
                for decided in self.core.publishing.submitted(landed) {
                    self.decided(decided).await?;
                }
                // Without a publisher it waits for the next tick.
                if landed.is_some() { self.drain().await } else { Ok(()) }
            }
        }
    }

    /// Looks at what waits to be published, where the chain can be read.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        if self.core.publishing.waiting() == 0 || self.stop.is_stopped() {
            return Ok(());
        }
        let chain = self.timely();
        let (proven, slot) = (chain.proven().await, chain.slot().await);
        let (Ok(proven), Ok(slot)) = (proven, slot) else { return Ok(()) };
        let height = proven.map_or(0, |proven| proven.height);
        // At a slot that is not known nothing expires.
        for decided in self.core.publishing.drain(height, slot.unwrap_or_default()) {
            self.decided(decided).await?;
        }
        Ok(())
    }

    pub(super) async fn decided(&mut self, decided: Decided) -> Result<(), Error> {
        let (candidate, outcome) = match decided {
            Decided::Submit(_) => return self.submit().await,
            Decided::Ended(candidate, outcome) => (candidate, outcome),
        };
        self.metrics.outcome(outcome);
        let Some(id) = self.core.candidates.remove(&candidate) else { return Ok(()) };
        match outcome {
            Outcome::Published => self.core.end(id, SessionState::Completed).await,
            Outcome::Superseded => self.core.end(id, SessionState::Superseded).await,
            Outcome::Expired => self.core.end(id, SessionState::TimedOut).await,
            Outcome::Withdrawn => self.core.end(id, SessionState::Cancelled).await,
            Outcome::Failed => self.core.broke_off(id).await,
        }
    }

    /// Whether the chain has every checkpoint that `id` is over. The prune that says otherwise may be still to come.
    async fn is_on_chain(&mut self, id: SessionId) -> bool {
        let Some(session) = self.core.sessions.get(id) else { return false };
        let (epoch, content) = (session.spec.epoch, session.content.clone());
        let there = self.timely().epoch(epoch).await;
        let has = |at: &EpochAt| content.iter().all(|ours| at.checkpoints.contains(&ours.id));
        there.as_ref().is_ok_and(has)
    }

    /// Submits the candidate whose turn it is: looked up first, as an earlier submission may have landed.
    async fn submit(&mut self) -> Result<(), Error> {
        let Some((candidate, range)) = self.core.publishing.in_flight() else { return Ok(()) };
        let id = self.core.candidates.get(&candidate).copied();
        if let Some(id) = id
            && !self.is_on_chain(id).await
        {
            // It waits for the next tick.
            self.core.publishing.submitted(None);
            return Ok(());
        }
        let span = id.and_then(|id| self.core.span(id));
        let key = span.map(|span| self.core.kept.key(span.first, span.last));
        let proof = match &key {
            Some(key) => self.core.kept.get(key).await?,
            None => None,
        };
        let (Some(id), Some(proof)) = (id, proof) else {
            // It is damaged: it is made again, and a candidate then.
            self.core.publishing.submitted(None);
            self.core.publishing.withdraw(candidate);
            if let Some(id) = self.core.candidates.remove(&candidate) {
                self.core.sessions.moved(id, SessionState::AwaitingCheckpoints);
                self.core.advance(id).await?;
            }
            return Ok(());
        };
        debug!(session = id.0, ?range, "submitted");
        let (publisher, mailbox) = (self.publisher.clone(), self.own.clone());
        let (call, longest) = (self.config.proving.call, self.config.submit);
        self.context.child("publish").spawn(move |context| async move {
            let landed = match within(&context, call, publisher.landed(&range)).await {
                Some(Ok(true)) => Some(true),
                Some(Ok(false)) => {
                    match within(&context, longest, publisher.submit(&range, proof)).await {
                        Some(Ok(landed)) => Some(landed),
                        Some(Err(fault)) => {
                            warn!(epoch = range.epoch, %fault, "a submission broke off");
                            fault.severity().is_fatal().then_some(false)
                        }
                        None => None,
                    }
                }
                Some(Err(_)) | None => None,
            };
            let _ = mailbox.sender.enqueue(Message::Report(Report::Submitted(landed)));
        });
        Ok(())
    }

    /// What time brings: sessions past their deadline, the epoch after the proven tip, epochs that were asked for
    /// before a restart, and what waits to be published.
    pub(super) async fn tick(&mut self) -> Result<(), Error> {
        let asked = self.core.kept.asked();
        let (view, slot) = {
            let chain = self.timely();
            (self.core.view(&chain, asked.clone()).await, chain.slot().await)
        };
        let (view, slot) = match (view, slot) {
            (Ok(view), Ok(slot)) => (view, slot),
            (Err(fault), _) | (_, Err(fault)) => {
                debug!(%fault, "looked at again at the next tick");
                return Ok(());
            }
        };
        let in_flight = self.core.publishing.in_flight();
        let in_flight = in_flight.and_then(|(id, _)| self.core.candidates.get(&id).copied());
        let late = self.core.sessions.list().filter(|(id, session)| {
            let deadline = self.config.geometry.deadline(session.spec.epoch);
            let past = slot.is_some_and(|slot| slot >= deadline);
            past && !session.state.is_terminal() && Some(*id) != in_flight
        });
        let late: Vec<_> = late.map(|(id, _)| id).collect();
        for id in late {
            self.core.end(id, SessionState::TimedOut).await?;
        }
        self.core.reconcile(&Trigger::Tick, &view).await?;
        for epoch in asked {
            let there = self.core.sessions.list().any(|(_, session)| {
                session.spec.epoch == epoch
                    && (session.spec.kind == Kind::Partial || !session.state.is_terminal())
            });
            if there {
                continue;
            }
            let super::core::Core { sessions, checkpoints, .. } = &mut self.core;
            match sessions.start(epoch, checkpoints, &view) {
                Ok((_, action)) => self.core.act(action.into_iter().collect()).await?,
                Err(super::super::NotStarted::Proven) => self.core.kept.ask(epoch, false).await?,
                Err(reason) => debug!(epoch, %reason, "asked for, and not begun yet"),
            }
        }
        self.drain().await
    }
}
