//! One attempt: submitted, polled, verified. A task of its own, which decides nothing.

use super::ingress::{Mailbox, Message, Report};
use crate::{Failure, Handle, Key, Program, Progress, Prover, plan::Token, pool::said};
use bytes::Bytes;
use commonware_runtime::{Clock, Spawner};
use commonware_utils::channel::oneshot;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tidewatch_core::{BlockRef, Digest, within};

/// What an attempt begins with.
pub(super) enum Begin {
    /// These inputs, to submit.
    Inputs(Bytes),
    /// A job that was submitted before a restart.
    Handle(Handle),
}

/// One attempt.
pub(super) struct Attempt<P> {
    pub(super) key: Key,
    pub(super) parent: Digest,
    pub(super) token: Token,
    pub(super) prover: Arc<dyn Prover>,
    pub(super) program: Arc<P>,
    pub(super) mailbox: Mailbox,
    pub(super) call: Duration,
    pub(super) patience: Duration,
    pub(super) proof_max: u64,
}

impl<P: Program> Attempt<P> {
    fn report(&self, report: Report) {
        let _ = self.mailbox.sender.enqueue(Message::Report(report));
    }

    /// Runs until it has a proof that verifies, or a failure.
    pub(super) async fn run<E: Spawner + Clock>(self, context: E, begin: Begin) {
        let handle = match begin {
            Begin::Handle(handle) => handle,
            Begin::Inputs(inputs) => match self.submit(&context, inputs).await {
                Ok(Some(handle)) => handle,
                Ok(None) => return,
                Err(failure) => return self.report(Report::Failed { token: self.token, failure }),
            },
        };
        match self.prove(&context, &handle).await {
            Ok(proof) => {
                let (key, token) = (self.key, Some(self.token));
                self.report(Report::Proved { key, token, proof, answer: None });
            }
            Err(failure) => {
                // A prover that is to try again must not answer what it did.
                within(&context, self.call, self.prover.release(&handle)).await;
                self.report(Report::Failed { token: self.token, failure });
            }
        }
    }

    /// Submits it. `None` if it is not wanted any more.
    async fn submit(&self, clock: &impl Clock, inputs: Bytes) -> Result<Option<Handle>, Failure> {
        self.program.check(self.key.block, &inputs).map_err(|reason| {
            Failure::Unprovable(format!("its inputs are not those of the block: {reason}"))
        })?;
        let submitted = within(clock, self.call, self.prover.submit(self.key, inputs)).await;
        let silent = || Failure::Unavailable(format!("no answer within {:?}", self.call));
        let handle = submitted.ok_or_else(silent)??;
        let (wanted, answer) = oneshot::channel();
        let submitted = Report::Submitted { token: self.token, handle: handle.clone(), wanted };
        self.report(submitted);
        // Nobody waits for a job whose handle a restart would not find.
        if answer.await == Ok(true) {
            return Ok(Some(handle));
        }
        within(clock, self.call, self.prover.release(&handle)).await;
        Ok(None)
    }

    async fn prove<E: Spawner + Clock>(
        &self,
        context: &E,
        handle: &Handle,
    ) -> Result<Bytes, Failure> {
        let deadline = self.call + self.patience;
        loop {
            let began = context.current();
            let poll = self.prover.poll(handle, self.patience);
            match within(context, deadline, poll).await {
                Some(Ok(Progress::Proved(proof))) => return self.verify(context, proof).await,
                Some(Ok(Progress::Running)) => self.report(Report::Alive(self.token)),
                // The job is where it is; the lease says how long that is believed.
                Some(Err(Failure::Unavailable(_) | Failure::Full)) | None => {}
                Some(Err(failure)) => return Err(failure),
            }
            // A prover that answers at once is not asked more often than it has patience.
            let spent = context.current().duration_since(began).unwrap_or_default();
            context.sleep(self.patience.saturating_sub(spent).min(Duration::from_secs(1))).await;
        }
    }

    async fn verify<E: Spawner>(&self, context: &E, proof: Bytes) -> Result<Bytes, Failure> {
        if proof.len() as u64 > self.proof_max {
            let reason = format!("{} bytes, of {} at the most", proof.len(), self.proof_max);
            return Err(Failure::Rejected(reason));
        }
        verify(context, &self.program, (self.parent, self.key.block), proof)
            .await
            .map_err(Failure::Rejected)
    }
}

/// `proof`, if it verifies. Checked beside the async runtime; a panic of the program is a refusal.
pub(super) async fn verify<E: Spawner, P: Program>(
    context: &E,
    program: &Arc<P>,
    (parent, block): (Digest, BlockRef),
    proof: Bytes,
) -> Result<Bytes, String> {
    let program = program.clone();
    checked(context, proof, move |proof| program.verify(parent, block, proof)).await
}

/// `proof`, if `check` accepts it: beside the async runtime, and a panic is a refusal.
pub(crate) async fn checked<E: Spawner>(
    context: &E,
    proof: Bytes,
    check: impl FnOnce(&[u8]) -> Result<(), String> + Send + 'static,
) -> Result<Bytes, String> {
    let verified = context.child("verify").shared(true).spawn(move |_| async move {
        let verified = AssertUnwindSafe(|| check(&proof));
        match catch_unwind(verified) {
            Ok(verdict) => verdict.map(|()| proof),
            Err(panic) => Err(format!("its check panicked: {}", said(&*panic))),
        }
    });
    verified.await.unwrap_or_else(|error| Err(format!("its check was given up: {error}")))
}
