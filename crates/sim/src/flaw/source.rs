//! Sources that are wrong.

use super::Flaw;
use commonware_runtime::{Spawner, Supervisor, deterministic};
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, channel::oneshot};
use std::{fmt, future::pending, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height,
    Ladder, Limits, Snapshot, Watermarks,
};
use tidewatch_testkit::chain::TestBlock;

/// What the source behind it answered in this pass.
#[derive(Default)]
struct Pass {
    snapshot: Option<Snapshot>,
    /// Whether digests were asked for.
    searched: bool,
    /// Whether what nobody asked for was looked up.
    needless: bool,
}

/// A source in front of another one, with a flaw at the most.
pub(crate) struct Source<E, S> {
    inner: Arc<S>,
    host: E,
    /// Beside the host, which would end with its tasks.
    calls: deterministic::Context,
    flaw: Option<Flaw>,
    pass: Mutex<Pass>,
    left: Mutex<bool>,
}

impl<E, S> fmt::Debug for Source<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

impl<E, S> Source<E, S>
where
    E: Spawner + Supervisor,
    S: tidewatch_core::Source<Block = TestBlock>,
{
    pub(crate) fn new(
        inner: Arc<S>,
        host: E,
        calls: deterministic::Context,
        flaw: Option<Flaw>,
    ) -> Self {
        let (pass, left) = (Mutex::default(), Mutex::default());
        Self { inner, host, calls, flaw, pass, left }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Asks for a snapshot in a task of its own, which goes on when this is dropped.
    async fn asked_without_end(&self) -> Result<Snapshot, Fault> {
        let (sender, receiver) = oneshot::channel();
        let inner = self.inner.clone();
        self.calls.child("call").spawn(async move |_| {
            let _ = sender.send(inner.snapshot().await); // Its caller may have given up.
        });
        receiver.await.unwrap_or_else(|_| Err(self.lost()))
    }

    fn lost(&self) -> Fault {
        FaultKind::Unreachable.fault(self.inner.name(), "no answer")
    }

    /// What the source behind it failed with, as it is passed on.
    fn bend(&self, fault: Fault) -> Fault {
        match self.flaw {
            Some(Flaw::OurFault) => FaultKind::Bug.fault(self.inner.name(), fault),
            Some(Flaw::Discreet) if fault.kind == FaultKind::FinalityConflict => self.lost(),
            _ => fault,
        }
    }
}

impl<E, S> tidewatch_core::Source for Source<E, S>
where
    E: Spawner + Supervisor + Sync,
    S: tidewatch_core::Source<Block = TestBlock>,
{
    type Block = TestBlock;

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn ladder(&self) -> Ladder {
        self.inner.ladder()
    }

    fn limits(&self) -> Limits {
        let mut limits = self.inner.limits();
        if self.is(Flaw::LongQuestion) {
            limits.digests_max = limits.digests_max.saturating_add(1);
        }
        limits
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        self.inner.chain_info().await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        if self.is(Flaw::OneLook) {
            let pass = self.pass.lock();
            if let Some(first) = pass.snapshot.clone().filter(|_| pass.searched) {
                return Ok(first);
            }
        }
        if self.is(Flaw::LeftTask) && !std::mem::replace(&mut *self.left.lock(), true) {
            self.host.child("left").spawn(|_| pending::<()>());
        }
        let answer = match self.flaw {
            Some(Flaw::CallWithoutEnd) => self.asked_without_end().await,
            _ => self.inner.snapshot().boxed().await,
        };
        let snapshot = answer.map_err(|fault| self.bend(fault))?;
        self.pass.lock().snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        self.pass.lock().searched = true;
        self.inner.digests(tip, heights).boxed().await.map_err(|fault| self.bend(fault))
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<TestBlock>, Fault> {
        self.range(tip, from).await.map(|range| range.blocks)
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<TestBlock>, Fault> {
        let looks_up = self.is(Flaw::NeedlessQuestion)
            && !std::mem::replace(&mut self.pass.lock().needless, true);
        if looks_up {
            self.inner.digests(tip, &[tip.height]).await?;
        }
        let range = self.inner.range(tip, from).boxed().await;
        let mut range = range.map_err(|fault| self.bend(fault))?;
        match (self.flaw, range.blocks.last_mut()) {
            (Some(Flaw::NoBlocks), _) => Err(self.lost()),
            (Some(Flaw::MadeUpBlock), Some(last)) => {
                *last = TestBlock::new(last.reference().height.get(), '?', last.parent());
                range.certificates.clear();
                Ok(range)
            }
            _ => Ok(range),
        }
    }

    fn doorbell(&self) -> Doorbell {
        if self.is(Flaw::Deaf) { Doorbell::silent() } else { self.inner.doorbell() }
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.inner.durable(watermarks);
    }

    /// A pass is over.
    fn judged(&self, verdict: Result<(), &Fault>) {
        *self.pass.lock() = Pass::default();
        self.inner.judged(verdict);
    }
}
