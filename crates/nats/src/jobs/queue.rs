//! The queue, as a prover.

use super::{
    cluster::Queued,
    metrics::Dead,
    plan::{self, Polled, Submitted},
    settings::FILED_MAX,
    values::{JobId, JobNames},
};
use crate::{
    Error,
    client::{Options, api, connect},
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{Clock, Metrics as Register, Supervisor};
use commonware_utils::sync::{AsyncMutex, Mutex};
use futures::{StreamExt as _, future::BoxFuture};
use rand::{Rng, RngExt as _};
use std::{collections::BTreeMap, fmt, future::pending, time::Duration};
use tidewatch_core::{Digest, Fault, within};
use tidewatch_prover::{Failure, Handle, Key, Offer, Progress, Prover};
use tracing::debug;

/// The first pause between two looks at a job; it doubles up to `LOOK_MAX`.
const LOOK: Duration = Duration::from_millis(20);
/// The longest such pause.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// How long a look may take: what was asked of a server that was killed is never answered.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a cluster may take to answer what it is asked at the start: within a call of the scheduler.
const OPEN: Duration = Duration::from_secs(8);
/// Jobs whose release is tried again, at the most; others are forgotten by age.
const UNRELEASED_MAX: usize = 1_024;
/// Of those so many at once.
const AGAIN_MAX: usize = 16;
/// Generations of one job that are tried in one submission.
const GENERATIONS: usize = 3;

/// Workers behind a queue at servers of NATS, as one prover: see the [module](super).
pub struct Queue<E> {
    context: Mutex<E>,
    name: String,
    options: Options,
    names: JobNames,
    proof_max: u64,
    opened: AsyncMutex<Option<Queued>>,
    /// Jobs whose release nobody has confirmed.
    unreleased: Mutex<BTreeMap<String, JobId>>,
    dead: Dead,
}

impl<E> fmt::Debug for Queue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a fault is to whoever submits.
fn unavailable(fault: &Fault) -> Failure {
    if let Some(Error::Refused { code: api::NO_STREAM | api::NO_CONSUMER, .. }) =
        fault.reason::<Error>()
    {
        return Failure::Unavailable(
            "it has no queue yet: a worker makes it, `tidewatch prover-worker --nats`".into(),
        );
    }
    Failure::Unavailable(fault.to_string())
}

impl<E> Queue<E>
where
    E: Clock + Supervisor + Register + Rng + Send + 'static,
{
    /// The queue of jobs of `program`, at the servers that `options` name. Nothing is asked of them yet. A proof of more
    /// than `proof_max` bytes is refused.
    pub fn new(context: E, options: Options, program: Digest, proof_max: u64) -> Self {
        Self {
            dead: Dead::new(&context),
            context: Mutex::new(context),
            name: options.shown(),
            options,
            names: JobNames::of(program),
            proof_max,
            opened: AsyncMutex::new(None),
            unreleased: Mutex::default(),
        }
    }

    fn clock(&self) -> E {
        self.context.lock().child("queue")
    }

    /// The queue, opened at the first use.
    async fn opened(&self) -> Result<Queued, Failure> {
        let mut opened = self.opened.lock().await;
        if let Some(opened) = &*opened {
            return Ok(opened.clone());
        }
        let clock = self.clock();
        let found = within(&clock, OPEN, async {
            let client = connect(&self.options).await?;
            Queued::find(client, self.names.clone()).await
        });
        let silent = || Failure::Unavailable(format!("nothing came within {} s", OPEN.as_secs()));
        let found = found.await.ok_or_else(silent)?.map_err(|fault| unavailable(&fault))?;
        *opened = Some(found.clone());
        Ok(found)
    }

    /// `answer`, and the queue looked at anew after a refusal: it may be another one.
    async fn checked<T>(&self, answer: Result<T, Fault>) -> Result<T, Failure> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(fault) => {
                if matches!(fault.reason::<Error>(), Some(Error::Refused { .. })) {
                    *self.opened.lock().await = None;
                }
                Err(unavailable(&fault))
            }
        }
    }

    async fn hand_in(&self, key: Key, inputs: &Bytes) -> Result<JobId, Failure> {
        if key.program != self.names.program {
            let ours = self.names.program;
            return Err(Failure::Unavailable(format!("it proves {ours}, not {}", key.program)));
        }
        let queued = self.opened().await?;
        for _ in 0..GENERATIONS {
            if let Some(there) = self.checked(queued.there(&key).await).await? {
                return Ok(there);
            }
            let generation = self.context.lock().random();
            let id = JobId { key, generation };
            let answer = self.checked(queued.submit(&id, inputs).await).await?;
            match plan::submitted(&answer) {
                Submitted::There => return Ok(id),
                Submitted::Full => return Err(Failure::Full),
                Submitted::Look => {}
            }
        }
        Err(Failure::Unavailable("it says that the job is there, and does not have it".into()))
    }

    async fn look(&self, id: &JobId, patience: Duration) -> Result<Progress, Failure> {
        let queued = self.opened().await?;
        let clock = self.clock();
        let mut bell = self.checked(queued.bell(id).await).await?;
        let (began, mut pause) = (clock.current(), LOOK);
        loop {
            let found = within(&clock, ANSWER, queued.find_job(id)).await;
            let silent = || Failure::Unavailable("no answer about a job".into());
            let found = self.checked(found.ok_or_else(silent)?).await?;
            match plan::polled(found, self.proof_max) {
                Polled::Running => {}
                Polled::Failed(failure) => return Err(failure),
                Polled::Fetch(proof) => {
                    let proof = self.checked(queued.get(&proof).await).await?;
                    return proof.map(Progress::Proved).ok_or(Failure::Lost);
                }
            }
            let spent = clock.current().duration_since(began).unwrap_or_default();
            let left = patience.saturating_sub(spent);
            if left.is_zero() {
                break;
            }
            let rung = async {
                if bell.next().await.is_none() {
                    pending::<()>().await;
                }
            };
            select! {
                () = clock.sleep(pause.min(left)) => pause = (pause * 2).min(LOOK_MAX),
                // What rang may not be stored yet.
                () = rung => pause = LOOK,
            }
        }
        // Those who wait file what was given up: whoever else did not may be dead.
        for _ in 0..FILED_MAX {
            let Some(filed) = self.checked(queued.file("submitter").await).await? else { break };
            self.dead.filed(filed);
        }
        let workers = self.checked(queued.workers().await).await?;
        plan::slots(workers).map(|_| Progress::Running)
    }

    async fn forget(&self, id: &JobId) -> Result<(), Failure> {
        let queued = self.opened().await?;
        self.checked(queued.release(id).await).await?;
        self.unreleased.lock().remove(&id.handle());
        Ok(())
    }

    /// Releases what could not be released while the cluster was away.
    async fn forget_more(&self) -> Result<(), Failure> {
        let some: Vec<_> = self.unreleased.lock().values().take(AGAIN_MAX).copied().collect();
        for id in some {
            self.forget(&id).await?;
        }
        Ok(())
    }

    fn job(&self, handle: &Handle) -> Option<JobId> {
        JobId::read(handle.as_str()).filter(|id| id.key.program == self.names.program)
    }
}

impl<E> Prover for Queue<E>
where
    E: Clock + Supervisor + Register + Rng + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn offer(&self) -> BoxFuture<'_, Result<Offer, Failure>> {
        Box::pin(async move {
            let queued = self.opened().await?;
            let workers = self.checked(queued.workers().await).await?;
            if let Err(failure) = self.forget_more().await {
                debug!(%failure, "jobs are not released yet");
            }
            Ok(Offer { slots: plan::slots(workers)?, deadline: None })
        })
    }

    fn submit(&self, key: Key, inputs: Bytes) -> BoxFuture<'_, Result<Handle, Failure>> {
        Box::pin(async move {
            let id = self.hand_in(key, &inputs).await?;
            Handle::new(id.handle()).map_err(|error| Failure::Unavailable(error.to_string()))
        })
    }

    fn poll<'a>(
        &'a self,
        handle: &'a Handle,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Progress, Failure>> {
        Box::pin(async move {
            let id = self.job(handle).ok_or(Failure::Lost)?;
            self.look(&id, patience).await
        })
    }

    fn release<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(id) = self.job(handle) else { return };
            {
                let mut unreleased = self.unreleased.lock();
                unreleased.insert(id.handle(), id);
                if unreleased.len() > UNRELEASED_MAX {
                    unreleased.pop_first();
                }
            }
            if let Err(failure) = self.forget(&id).await {
                debug!(job = %handle, %failure, "a job is not released yet");
            }
        })
    }
}
