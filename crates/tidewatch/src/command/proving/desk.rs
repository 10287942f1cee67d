//! Answers what operators ask, of a scheduler that runs or of one that was started for the question.

use super::control::{Ask, Header, Job, Named, Prover, Standing, Told};
use crate::command::control::{self, Refused};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tidewatch_core::{AnyBlock, Archive as _, Block as _, BlockRef, Fault, Head, Height, Tier};
use tidewatch_prover::{
    Error, Program, plan,
    proven::{Finality, NoFinality, range},
    scheduler::Mailbox,
};
use tidewatch_store::Reader;

/// Blocks in one answer, at the most.
const RANGE_MAX: u32 = 1_000;

/// What answers need.
pub(super) struct Desk<P> {
    pub(super) context: Context,
    pub(super) mailbox: Mailbox,
    pub(super) program: Arc<P>,
    /// The blocks that were followed.
    pub(super) store: Reader<Context, AnyBlock>,
    /// Whether somebody proves.
    pub(super) running: bool,
}

/// Why an answer is a refusal, and what to do.
fn refused(fault: &Fault) -> Refused {
    let refused = Refused::new(fault.to_string());
    let hint = match fault.reason::<Error>() {
        Some(Error::NoJob(plan::NoJob::Proven(_))) => {
            "nothing is to be done: see `tidewatch prover verify`"
        }
        Some(Error::NoJob(plan::NoJob::Unknown(_))) => {
            "it is above what was followed: see `tidewatch prover status`"
        }
        Some(Error::NoJob(plan::NoJob::Waits(_))) => {
            "it is proven once the lower ones are: see `tidewatch prover jobs`"
        }
        Some(Error::Rejected { .. }) => "give a proof of that very block, made by this version",
        _ => return refused,
    };
    refused.hint(hint)
}

fn stopped() -> Refused {
    Refused::new("the scheduler has stopped").hint("ask again in a moment")
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

impl<P: Program> control::Desk for Desk<P> {
    type Ask = Ask;
    type Told = Told;

    async fn answer(&self, ask: Ask, bytes: Bytes) -> Result<(Told, Bytes), Refused> {
        let told = match ask {
            Ask::Status => self.status().await,
            Ask::Jobs { from, max } => self.jobs(from, max).await,
            Ask::Requeue { height } => self.requeue(height).await,
            Ask::Supply { height } => self.supply(height, bytes).await,
            Ask::Verify { height } => return self.verify(height).await,
            Ask::Range { from, finality, max } => self.range(from, &finality, max).await,
        };
        Ok((told?, Bytes::new()))
    }
}

impl<P: Program> Desk<P> {
    async fn status(&self) -> Result<Told, Refused> {
        let status = self.mailbox.status().await.ok_or_else(stopped)?;
        let count = |stage| status.count(stage);
        let prover = |prover: &plan::ProverStatus| Prover {
            name: prover.name.clone(),
            slots: prover.slots.min(prover.limit),
            used: prover.used,
            down: prover.down,
        };
        Ok(Told::Status(Standing {
            running: self.running,
            proven: status.proven.into(),
            committed: status.committed.into(),
            lag: status.lag(),
            // What was opened for the question has waited for nothing.
            oldest_ms: status.oldest.filter(|_| self.running).map(millis),
            pending: count(plan::Stage::Pending),
            active: count(plan::Stage::Running),
            waiting: count(plan::Stage::Proved),
            poisoned: count(plan::Stage::Poisoned),
            stalled: status.stalled,
            reason: status.head_poisoned.clone(),
            provers: status.provers.iter().map(prover).collect(),
        }))
    }

    async fn jobs(&self, from: u64, max: u32) -> Result<Told, Refused> {
        let jobs = self.mailbox.jobs(Height::new(from), max as usize).await.ok_or_else(stopped)?;
        let job = |job: tidewatch_prover::scheduler::Listed| Job {
            block: job.block.into(),
            stage: job.stage.as_str().into(),
            attempts: job.attempts,
            failure: job.failure,
            provers: job.provers,
        };
        Ok(Told::Jobs { jobs: jobs.into_iter().map(job).collect() })
    }

    async fn requeue(&self, height: u64) -> Result<Told, Refused> {
        let block =
            self.mailbox.requeue(Height::new(height)).await.map_err(|fault| refused(&fault))?;
        Ok(Told::Requeued { block: block.into() })
    }

    async fn supply(&self, height: u64, proof: Bytes) -> Result<Told, Refused> {
        let listed = self.mailbox.jobs(Height::new(height), 1).await.ok_or_else(stopped)?;
        self.mailbox.supply(Height::new(height), proof).await.map_err(|fault| refused(&fault))?;
        let block = listed.first().map(|job| Named::from(job.block)).ok_or_else(stopped)?;
        Ok(Told::Supplied { block })
    }

    async fn range(&self, from: u64, finality: &str, max: u32) -> Result<Told, Refused> {
        let finality: Finality = finality.parse().map_err(|error: NoFinality| {
            Refused::new(error.to_string()).hint("ask with the same version of tidewatch")
        })?;
        // Genesis is no block that is kept.
        let from = from.max(self.store.chain_info().genesis.height.next().get());
        // Everything below is of this moment.
        let head = Head {
            watermarks: self.store.watermarks().map_err(|fault| refused(&fault))?,
            ..Head::unknown()
        };
        let reached = finality.tip(&head);
        if reached.is_none_or(|tip| tip.height.get() < from) {
            let at = reached.map_or_else(|| "no block".to_owned(), |tip| tip.to_string());
            let message = format!("nothing from height {from} on is {finality} yet: {at} is");
            return Err(Refused::new(message).hint("ask from a lower height, or wait"));
        }
        let from = self.followed(from).await?;
        let max = NonZeroUsize::new(max.min(RANGE_MAX) as usize).unwrap_or(NonZeroUsize::MIN);
        let ranged = range(&self.store, &head, from, finality, max).await;
        let ranged = ranged.map_err(|error| {
            Refused::new(error.to_string())
                .hint("it was removed with old blocks, or just reorged: ask again")
        })?;
        let header = |block: &AnyBlock| Header {
            block: block.reference().into(),
            parent: block.parent().to_string(),
        };
        let tiers = Tier::ALL
            .into_iter()
            .filter_map(|tier| Some((tier.to_string(), ranged.tips.block(tier)?.into())));
        Ok(Told::Range {
            finality: finality.to_string(),
            tip: ranged.tip.into(),
            tips: tiers.collect(),
            blocks: ranged.blocks.iter().map(header).collect(),
        })
    }

    /// The followed block at `height`.
    async fn followed(&self, height: u64) -> Result<BlockRef, Refused> {
        let genesis = self.store.chain_info().genesis;
        if height == genesis.height.get() {
            return Ok(genesis);
        }
        let located = self.store.locate(&[Height::new(height)]).await;
        let located = located.map_err(|fault| refused(&fault))?;
        let found = located.first().copied().flatten();
        found.filter(|block| block.height.get() == height).ok_or_else(|| {
            let hint = "it was not followed, or not yet: see `tidewatch prover status`";
            Refused::new(format!("there is no block at height {height}")).hint(hint)
        })
    }

    async fn verify(&self, height: u64) -> Result<(Told, Bytes), Refused> {
        let below = height.checked_sub(1).ok_or_else(|| {
            Refused::new("the first block of a chain has no parent, and needs no proof")
        })?;
        let block = self.followed(height).await?;
        let proof = self.mailbox.proof(block).await.map_err(|fault| refused(&fault))?;
        let proof = proof.ok_or_else(|| {
            let tip = self.mailbox.proven().current().tip;
            let hint = match block.height <= tip.height {
                true => "proving began above it, or old proofs were removed",
                false => "see `tidewatch prover jobs` for how far it is",
            };
            Refused::new(format!("no proof of {block} is kept: proven is {tip}")).hint(hint)
        })?;
        // Below the first block that was followed none is known; it names its parent itself.
        let parent = match self.store.block(block).await {
            Ok(block) => BlockRef::new(Height::new(below), block.parent()),
            Err(_) => self.followed(below).await?,
        };
        let (program, checked) = (self.program.clone(), proof.clone());
        let context = self.context.child("verify").shared(true);
        let (verdict, took) = context
            .spawn(move |context| async move {
                let began = context.current();
                let verdict = program.verify(parent.digest, block, &checked);
                (verdict, context.current().duration_since(began).unwrap_or_default())
            })
            .await
            .map_err(|error| Refused::new(format!("the check broke off: {error}")))?;
        verdict.map_err(|reason| {
            Refused::new(format!("the proof does not prove block {block}: {reason}"))
        })?;
        let (bytes, verified_ms) = (proof.len(), millis(took));
        let (block, parent) = (block.into(), parent.into());
        Ok((Told::Verified { block, parent, bytes, verified_ms }, proof))
    }
}
