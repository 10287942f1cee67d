//! One job at a time, from its delivery to its end.

use super::{
    cluster::{Found, Queued, Taken},
    plan::{self, Begin, Step},
    settings::FILED_MAX,
    values::{Delivery, Job, JobId, Outcome, Record, Reference},
    worker::Worker,
};
use crate::{
    client::connects,
    patience::{OPEN, RETRY, RETRY_MAX, in_time},
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{Clock, Metrics as Register, Spawner, Supervisor};
use rand::{Rng, RngExt as _};
use std::time::Duration;
use tidewatch_core::{Backoff, Fault, Stopping, within};
use tidewatch_prover::{Failure, Handle, Progress, Prover};
use tracing::debug;

/// How long a request may take.
const CALL: Duration = Duration::from_secs(5);
/// How long a request for a job waits at the server.
const TAKE: Duration = Duration::from_secs(5);
/// How long it is tried to store a result. What the prover behind keeps is found by the next delivery of the job.
const INSIST: Duration = Duration::from_secs(120);

/// What a lane does after a delivery.
struct Ended {
    how: &'static str,
    /// It takes no other one for so long.
    pause: Option<Duration>,
}

const fn ended(how: &'static str) -> Ended {
    Ended { how, pause: None }
}

/// Takes one job at a time.
pub(super) struct Lane<'a, E: Spawner + Clock> {
    pub(super) worker: &'a Worker<E>,
    pub(super) context: E,
    pub(super) client: &'a async_nats::Client,
    pub(super) queued: Queued,
    pub(super) stop: Stopping,
}

impl<E> Lane<'_, E>
where
    E: Spawner + Clock + Register + Rng + Supervisor,
{
    pub(super) async fn run(mut self) -> Result<(), Fault> {
        let mut backoff = Backoff::new(RETRY, RETRY_MAX);
        while !self.stop.is_stopped() {
            let pause = match self.once().await {
                Ok(pause) => {
                    backoff.succeed();
                    pause
                }
                Err(fault) => {
                    self.worker.failed(&fault);
                    let pause = backoff.fail(&mut self.context);
                    self.pause(pause).await;
                    self.again().await?;
                    None
                }
            };
            if let Some(pause) = pause {
                self.pause(pause).await;
            }
        }
        Ok(())
    }

    async fn pause(&self, pause: Duration) {
        select! {
            () = self.stop.stopped() => {},
            () = self.context.sleep(pause) => {},
        }
    }

    /// Makes the queue again where it is gone.
    async fn again(&mut self) -> Result<(), Fault> {
        let replicas = self.worker.config.replicas;
        let again = self.queued.again(self.client.clone(), replicas);
        match within(&self.context, OPEN, again).await {
            Some(Ok(queued)) => self.queued = queued,
            Some(Err(fault)) if fault.severity().is_fatal() => return Err(fault),
            Some(Err(_)) | None => {}
        }
        Ok(())
    }

    async fn call<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        in_time(&self.context, CALL, what, request).await
    }

    /// Takes one job, if there is one, and works on it.
    async fn once(&mut self) -> Result<Option<Duration>, Fault> {
        let take = self.queued.take(TAKE);
        let taken = select! {
            () = self.stop.stopped() => return Ok(None),
            () = self.connected_anew() => return Ok(None),
            taken = in_time(&self.context, TAKE + CALL, "a request for a job", take) => taken?,
        };
        let Some(taken) = taken else {
            self.file().await?;
            return Ok(None);
        };
        self.worker.metrics.taken();
        let worked = self.work(taken).await;
        let how = worked.as_ref().map_or("unanswered", |ended| ended.how);
        debug!(how, "a job ended here");
        self.worker.metrics.ended(how);
        Ok(worked?.pause)
    }

    /// Resolves once the connection was made anew: a server that was started anew does not know who waits for a job.
    async fn connected_anew(&self) {
        let before = connects(self.client);
        while connects(self.client) == before {
            self.context.sleep(RETRY).await;
        }
    }

    /// Files what was given up.
    async fn file(&self) -> Result<(), Fault> {
        for _ in 0..FILED_MAX {
            let filed = self.call("a dead letter", self.queued.file(&self.worker.name)).await?;
            let Some(filed) = filed else { break };
            self.worker.metrics.dead.filed(filed);
        }
        Ok(())
    }

    async fn work(&mut self, Taken { delivery, job }: Taken) -> Result<Ended, Fault> {
        let found = match &job {
            Ok(job) => self.call("a result", self.queued.result(&job.id)).await?,
            Err(_) => Found::Nothing,
        };
        match plan::begin(job, found != Found::Nothing, self.worker.config.inputs_max) {
            Begin::Ack => {
                self.settle(&delivery, "+ACK".into()).await?;
                Ok(ended("repeated"))
            }
            Begin::Terminate(reason) => {
                self.settle(&delivery, format!("+TERM {reason}")).await?;
                Ok(ended("refused"))
            }
            Begin::Poison(job, reason) => self.poison(&delivery, &job.id, reason).await,
            Begin::Prove(job) => self.prove(&delivery, job).await,
        }
    }

    async fn settle(&self, delivery: &Delivery, answer: String) -> Result<(), Fault> {
        self.call("an acknowledgement", self.queued.answer(delivery, answer)).await
    }

    async fn poison(
        &self,
        delivery: &Delivery,
        id: &JobId,
        reason: String,
    ) -> Result<Ended, Fault> {
        let outcome = Outcome::Unprovable { reason: reason.clone() };
        self.insist(delivery, (id, None, &outcome), &format!("+TERM {reason}")).await?;
        Ok(ended("unprovable"))
    }

    async fn prove(&mut self, delivery: &Delivery, job: Job) -> Result<Ended, Fault> {
        let object = match &job.inputs.object {
            Some(_) => self.call("inputs", self.queued.get(&job.inputs)).await?,
            None => None,
        };
        let Some(inputs) = plan::inputs(&job, object) else {
            self.settle(delivery, "+TERM its inputs are gone, or are others".into()).await?;
            return Ok(ended("without_inputs"));
        };
        let prover = &*self.worker.config.prover;
        let mut behind = None;
        let step = loop {
            let answer = select! {
                () = self.stop.stopped() => {
                    self.forget(behind.as_ref()).await;
                    self.settle(delivery, "-NAK".into()).await?;
                    return Ok(ended("stopped"));
                },
                answer = self.ask(prover, &job, &inputs, &mut behind) => answer,
            };
            match plan::step(answer, delivery.number) {
                Step::Renew => {}
                step => break step,
            }
            // Where nobody answers, the proof goes on: the lease says how long it is ours.
            let _ = self.queued.beat(delivery).await;
            if let Ok(false) = self.call("a job", self.queued.waits(&job.id)).await {
                self.forget(behind.as_ref()).await;
                return Ok(ended("released"));
            }
        };
        let ended = match step {
            Step::Renew => ended("renewed"),
            Step::Prove(proof) => {
                let (number, random) = (delivery.number, self.context.random::<u32>());
                let object = format!("{}.{number}.{random:08x}", job.id.handle());
                let outcome = Outcome::Proved(Reference::to(&proof, Some(object)));
                self.insist(delivery, (&job.id, Some(&proof), &outcome), "+ACK").await?;
                ended("proved")
            }
            Step::Record(outcome) => {
                self.insist(delivery, (&job.id, None, &outcome), "+ACK").await?;
                ended("timed_out")
            }
            Step::Poison(outcome, reason) => {
                let answer = format!("+TERM {reason}");
                self.insist(delivery, (&job.id, None, &outcome), &answer).await?;
                ended("unprovable")
            }
            Step::GiveBack(pause) => {
                let delay = serde_json::json!({ "delay": crate::settings::nanos(pause) });
                self.settle(delivery, format!("-NAK {delay}")).await?;
                Ended { how: "given_back", pause: Some(pause) }
            }
        };
        self.forget(behind.as_ref()).await;
        Ok(ended)
    }

    /// Asks the prover behind: hands the job over, or waits for news of it, no longer than until the lease is to be
    /// renewed.
    async fn ask(
        &self,
        prover: &dyn Prover,
        job: &Job,
        inputs: &Bytes,
        behind: &mut Option<Handle>,
    ) -> Result<Progress, Failure> {
        let patience = self.queued.lease / 3;
        let answer = async {
            match &*behind {
                Some(handle) => prover.poll(handle, patience).await,
                None => {
                    *behind = Some(prover.submit(job.id.key, inputs.clone()).await?);
                    Ok(Progress::Running)
                }
            }
        };
        let silent = || Failure::Unavailable("the prover does not answer".into());
        within(&self.context, patience + CALL, answer).await.ok_or_else(silent)?
    }

    /// Has the prover behind forget a job.
    async fn forget(&self, behind: Option<&Handle>) {
        if let Some(handle) = behind {
            within(&self.context, CALL, self.worker.config.prover.release(handle)).await;
        }
    }

    /// Stores a result, again and again, since a proof is not lost to a server that is away; then answers the delivery.
    async fn insist(
        &self,
        delivery: &Delivery,
        ended: (&JobId, Option<&Bytes>, &Outcome),
        answer: &str,
    ) -> Result<(), Fault> {
        let began = self.context.current();
        loop {
            let stored = self.store(delivery, ended);
            let stored = in_time(&self.context, CALL * 4, "a result", stored).await;
            let spent = self.context.current().duration_since(began).unwrap_or_default();
            if stored.is_ok() {
                break;
            }
            if spent >= INSIST || self.stop.is_stopped() {
                return stored;
            }
            self.worker.metrics.unanswered();
            let _ = self.queued.beat(delivery).await;
            self.pause(RETRY).await;
        }
        // A server that was killed may have forgotten the delivery, and then answers nothing. The next one finds the
        // result.
        if self.settle(delivery, answer.into()).await.is_err() {
            self.worker.metrics.unanswered();
        }
        Ok(())
    }

    async fn store(
        &self,
        delivery: &Delivery,
        (id, proof, outcome): (&JobId, Option<&Bytes>, &Outcome),
    ) -> Result<(), Fault> {
        let (worker, outcome) = (self.worker.name.clone(), outcome.clone());
        let record = Record { worker, delivery: delivery.number, outcome };
        // Nobody reads, or removes, what is stored for a job that was released meanwhile.
        if !self.queued.waits(id).await? {
            return Ok(());
        }
        let object = match (&record.outcome, proof) {
            (Outcome::Proved(Reference { object: Some(object), .. }), Some(proof)) => {
                self.queued.put(object, proof).await?;
                Some(object)
            }
            _ => None,
        };
        let first = self.queued.create(id, &record).await?;
        if let (false, Some(object)) = (first, object) {
            self.queued.remove(object).await?;
        }
        Ok(())
    }
}
