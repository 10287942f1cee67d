//! One attempt: submitted, polled, verified. A task of its own, which decides nothing.

use super::{
    super::{RangeProgram, work::Job},
    ingress::{Mailbox, Message, Report},
};
use crate::{Failure, Handle, Key, Progress, Prover, Stopwatch, plan, scheduler::attempt::checked};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{Clock, Spawner};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{Digest, Stopping, within};

/// The longest that an attempt goes without looking at the time.
const STEP: Duration = Duration::from_secs(1);

/// One attempt.
pub(super) struct Attempt<P> {
    pub(super) job: Job,
    pub(super) key: Key,
    pub(super) parent: Digest,
    pub(super) at: usize,
    pub(super) prover: Arc<dyn Prover>,
    pub(super) program: Arc<P>,
    pub(super) mailbox: Mailbox,
    pub(super) limits: plan::Config,
    pub(super) call: Duration,
    pub(super) patience: Duration,
    pub(super) proof_max: u64,
    /// Nobody wants it any more.
    pub(super) unwanted: Stopping,
}

impl<P: RangeProgram> Attempt<P> {
    /// Runs until it has a proof that verifies, a failure, or nobody wants it any more.
    pub(super) async fn run<E: Spawner + Clock>(self, context: E, inputs: Bytes) {
        // Until the prover has named it: a release of what is not there does nothing.
        let mut handle = Handle::of(&self.key);
        let ended = {
            let proving = self.prove(&context, inputs, &mut handle);
            select! {
                ended = proving => Some(ended),
                () = self.unwanted.stopped() => None,
            }
        };
        let (job, key, prover) = (self.job, self.key, self.at);
        let report = match ended {
            // The proof is durable before the prover may forget it.
            Some(Ok(proof)) => Some(Report::Proved { job, key, proof, prover, handle }),
            ended => {
                // A prover that is to try again must not answer what it did.
                within(&context, self.call, self.prover.release(&handle)).await;
                ended.and_then(Result::err).map(|failure| Report::Failed { job, failure })
            }
        };
        if let Some(report) = report {
            let _ = self.mailbox.sender.enqueue(Message::Report(report));
        }
    }

    async fn prove<E: Spawner + Clock>(
        &self,
        context: &E,
        inputs: Bytes,
        handle: &mut Handle,
    ) -> Result<Bytes, Failure> {
        let deadline = self.call + self.patience;
        let mut watch = Stopwatch::new(context, 2 * (deadline + STEP));
        let submitted = within(context, self.call, self.prover.submit(self.key, inputs)).await;
        let silent = || Err(Failure::Unavailable(format!("no answer within {:?}", self.call)));
        *handle = submitted.unwrap_or_else(silent)?;
        let mut alive = watch.now(context);
        loop {
            let began = watch.now(context);
            match within(context, deadline, self.prover.poll(handle, self.patience)).await {
                Some(Ok(Progress::Proved(proof))) => return self.verify(context, proof).await,
                Some(Ok(Progress::Running)) => alive = watch.now(context),
                // The job is where it is; the lease says how long that is believed.
                Some(Err(Failure::Unavailable(_) | Failure::Full)) | None => {}
                Some(Err(failure)) => return Err(failure),
            }
            let now = watch.now(context);
            if now >= self.limits.attempt_max {
                return Err(Failure::TimedOut(self.limits.attempt_max));
            }
            if now.saturating_sub(alive) >= self.limits.lease {
                return Err(Failure::Silent(self.limits.lease));
            }
            // A prover that answers at once is not asked more often than it has patience.
            context.sleep(self.patience.saturating_sub(now - began).min(STEP)).await;
        }
    }

    async fn verify<E: Spawner>(&self, context: &E, proof: Bytes) -> Result<Bytes, Failure> {
        if proof.len() as u64 > self.proof_max {
            let reason = format!("{} bytes, of {} at the most", proof.len(), self.proof_max);
            return Err(Failure::Rejected(reason));
        }
        let (program, parent, key) = (self.program.clone(), self.parent, self.key);
        let check = move |proof: &[u8]| program.verify(parent, &key, proof);
        checked(context, proof, check).await.map_err(Failure::Rejected)
    }
}
