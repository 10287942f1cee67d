//! The scheduler, in the deterministic runtime, with provers that behave as they are told.

mod behaves;
mod crashes;
mod flow;
pub(crate) mod scripted;
mod worlds;

use super::*;
use crate::{
    disk::{self, tests::subject},
    plan::{
        self, Stage, Status,
        tests::{PROGRAM, key},
    },
    *,
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, deterministic};
use scripted::{Fate, Health, Scripted, Toy, proves_in, sits};
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, Digest, Fault, Height};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(secs(40_000)).start(test)
}

fn config() -> Config {
    Config {
        plan: plan::Config { hedge: None, ..plan::Config::default() },
        ..Config::new(disk::tests::config())
    }
}

/// Block `height` with its inputs, on the chain that is `fork` from height `from` on.
fn block(height: u64, fork: u8, from: u64) -> NewBlock {
    let at = |height| key(height, if height >= from { fork } else { 0 }).block;
    let block = at(height);
    let parent = at(height - 1).digest;
    NewBlock { block, parent, inputs: scripted::inputs(parent, block) }
}

fn good_proof(height: u64) -> Bytes {
    scripted::proof(PROGRAM, key(height - 1, 0).block.digest, key(height, 0).block)
}

/// A scheduler that runs.
struct Running {
    context: deterministic::Context,
    mailbox: Mailbox,
    handle: Handle<Result<(), Fault>>,
}

impl Running {
    async fn start(
        context: &deterministic::Context,
        provers: &[&Scripted],
        config: Config,
    ) -> Self {
        Self::try_start(context, provers, config).await.unwrap()
    }

    async fn try_start(
        context: &deterministic::Context,
        provers: &[&Scripted],
        config: Config,
    ) -> Result<Self, Fault> {
        let provers = provers.iter().map(|prover| Arc::new((*prover).clone()) as Arc<dyn Prover>);
        let parts =
            Parts { program: Arc::new(Toy), provers: provers.collect(), subject: subject() };
        let (scheduler, mailbox) =
            Scheduler::open(context.child("scheduler"), parts, config).await?;
        let handle = scheduler.start();
        Ok(Self { context: context.child("test"), mailbox, handle })
    }

    async fn add(&self, heights: std::ops::RangeInclusive<u64>) {
        self.mailbox.add(heights.map(|height| block(height, 0, 0)).collect()).await.unwrap();
    }

    fn tip(&self) -> u64 {
        let proven = self.mailbox.proven().current();
        assert!(proven.tip.height <= proven.committed.height, "invariant 1");
        if let Some(proof) = &proven.proof {
            assert_eq!(proof.block, proven.tip);
        }
        proven.tip.height.get()
    }

    async fn reaches(&self, height: u64) {
        let reached = |proven: &Proven| proven.tip.height.get() >= height;
        self.mailbox.proven().until(reached).await.unwrap();
    }

    async fn status(&self) -> Status {
        self.mailbox.status().await.unwrap()
    }

    async fn sleep(&self, seconds: u64) {
        self.context.sleep(secs(seconds)).await;
    }

    async fn stop(self) {
        self.mailbox.stop();
        self.handle.await.unwrap().unwrap();
    }
}

/// Runs `test` with a scheduler of one prover, of so many slots, that does as `script` says.
fn schedule(
    slots: usize,
    script: impl FnMut(&Key, usize) -> Fate + Send + 'static,
    test: impl AsyncFnOnce(&Running, &Scripted),
) {
    simulate(|context| async move {
        let prover = Scripted::new(&context, "prover", slots, script);
        let running = Running::start(&context, &[&prover], config()).await;
        test(&running, &prover).await;
        running.stop().await;
    });
}
