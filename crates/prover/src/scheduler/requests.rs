//! What others ask of the scheduler.

use super::{
    actor::Scheduler,
    attempt::verify,
    ingress::{Answer, Listed, Message, NewBlock, Report},
};
use crate::{
    Error, Key, Program,
    plan::{Added, Job, NotAdded, ProverId, State},
};
use bytes::Bytes;
use commonware_runtime::Spawner;
use commonware_storage::Context;
use rand::Rng;
use tidewatch_core::{BlockRef, Fault, Height};

impl<E: Context + Spawner + Rng, P: Program> Scheduler<E, P> {
    /// Answers a request. What concerns the disk as such ends the scheduler too.
    pub(super) fn answer<T>(
        &self,
        answer: Answer<T>,
        result: Result<T, Error>,
    ) -> Result<(), Error> {
        let fatal = matches!(
            result,
            Err(Error::File { .. } | Error::Journal(_) | Error::Closed | Error::Table(_))
        );
        let _ = answer.send(result.map_err(|error| Fault::new(self.about.clone(), error)));
        // The next write fails with what is wrong: a table that a write failed on is closed.
        if fatal { Err(Error::Closed) } else { Ok(()) }
    }

    pub(super) async fn add(&mut self, blocks: Vec<NewBlock>) -> Result<(), Error> {
        let now = self.now();
        let program = self.program.id();
        let mut fresh: Vec<(Key, Bytes)> = Vec::with_capacity(blocks.len());
        for NewBlock { block, parent, inputs } in blocks {
            let above = fresh.last().map_or(self.plan.committed(), |(key, _)| key.block);
            match self.plan.follows(block, above)? {
                Added::New if parent != above.digest => {
                    return Err(NotAdded::Unlinked { wanted: block, above }.into());
                }
                Added::New => fresh.push((Key::one(block, program), inputs)),
                Added::Exists => {}
            }
        }
        for job in self.disk.add(&fresh).await? {
            let proof = if let State::Proved(proof) = job.state { Some(proof) } else { None };
            self.plan.add(job.key, job.inputs, proof, now)?;
        }
        self.publish().await
    }

    pub(super) async fn prune(&mut self, to: BlockRef) -> Result<(), Error> {
        self.disk.prune(to).await?;
        let removed = self.plan.prune(to);
        removed.cancels.into_iter().for_each(|cancel| self.cancel(cancel));
        self.publish().await
    }

    pub(super) async fn requeue(&mut self, height: Height) -> Result<BlockRef, Error> {
        let now = self.now();
        let key = self.plan.requeue(height, now)?;
        self.disk
            .change(&key, |job| {
                (job.state, job.logical) = (State::Open, 0);
            })
            .await?;
        Ok(key.block)
    }

    /// Has a proof from elsewhere verified, and reported as that of an attempt is.
    pub(super) fn supply(&self, height: Height, proof: Bytes, answer: Answer<()>) {
        let wanted = self.plan.wanted(height).map_err(Error::from);
        let wanted = wanted.and_then(|key| {
            let max = self.config.disk.proof_max;
            let bytes = proof.len() as u64;
            if bytes > max {
                return Err(Error::Oversized { what: "the proof", block: key.block, bytes, max });
            }
            self.plan.parent(&key).map(|parent| (key, parent)).ok_or(Error::Closed)
        });
        let about = self.about.clone();
        let (key, parent) = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return drop(answer.send(Err(Fault::new(about, error)))),
        };
        let (program, mailbox) = (self.program.clone(), self.own.clone());
        self.context.child("supply").spawn(move |context| async move {
            match verify(&context, &program, (parent, key.block), proof).await {
                Ok(proof) => {
                    let answer = Some(answer);
                    let report = Report::Proved { key, token: None, proof, answer };
                    let _ = mailbox.sender.enqueue(Message::Report(report));
                }
                Err(reason) => {
                    let error = Error::Rejected { block: key.block, reason };
                    let _ = answer.send(Err(Fault::new(about, error)));
                }
            }
        });
    }

    pub(super) fn listed(&self, job: &Job) -> Listed {
        let name = |prover: ProverId| self.plan.provers().get(prover.0).map(|p| p.name.clone());
        Listed {
            block: job.key.block,
            stage: job.stage(),
            attempts: job.attempts,
            logical: job.logical,
            failure: match &job.state {
                State::Poisoned(reason) => Some(reason.clone()),
                State::Open | State::Proved(_) => job.failure.clone(),
            },
            provers: job.leases().iter().filter_map(|lease| name(lease.prover)).collect(),
        }
    }
}
