//! Between the suite and the source: counts calls, bounds them, takes panics for faults, and holds one
//! when told to. After a call that did not end it lets none through.

use crate::{
    DEADLINE,
    patience::{NoAnswer, within},
};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::FutureExt as _;
use std::{future::Future, sync::Arc};
use tidewatch_core::{
    BlockRange, BlockRef, ChainInfo, Digest, Doorbell, Fault, FaultKind, Height, Ladder, Limits,
    Snapshot, Source, Watermarks,
};
use tidewatch_testkit::source::Gate;

/// Calls by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) identities: u64,
    pub(super) snapshots: u64,
    pub(super) digests: u64,
    pub(super) ranges: u64,
}

impl Calls {
    /// All but those for the chain info, which a driver asks for only where genesis is contradicted.
    pub(super) const fn total(&self) -> u64 {
        self.snapshots + self.digests + self.ranges
    }
}

#[derive(Default)]
struct Notes {
    calls: Calls,
    late: Option<String>,
    panicked: Option<String>,
    /// Calls until one is held, and at what.
    hold: Option<(u64, Gate)>,
}

/// The source under examination. A call that never ends, or panics, is a fault here, and remembered.
pub(super) struct Probe<E, S> {
    clock: E,
    source: Arc<S>,
    notes: Mutex<Notes>,
}

impl<E: Clock, S: Source> Probe<E, S> {
    pub(super) fn new(clock: E, source: Arc<S>) -> Self {
        Self { clock, source, notes: Mutex::default() }
    }

    pub(super) const fn clock(&self) -> &E {
        &self.clock
    }

    pub(super) fn calls(&self) -> Calls {
        self.notes.lock().calls
    }

    /// The call that did not end, if there was one.
    pub(super) fn late(&self) -> Option<String> {
        self.notes.lock().late.clone()
    }

    /// The call that panicked, if there was one.
    pub(super) fn panicked(&self) -> Option<String> {
        self.notes.lock().panicked.clone()
    }

    /// Holds the `nth` call from now, from 1.
    pub(super) fn hold(&self, nth: u64) -> Gate {
        let gate = Gate::new();
        self.notes.lock().hold = Some((nth, gate.clone()));
        gate
    }

    /// Holds no call any more.
    pub(super) fn release(&self) {
        if let Some((_, gate)) = self.notes.lock().hold.take() {
            gate.open();
        }
    }

    fn held(&self) -> Option<Gate> {
        let mut notes = self.notes.lock();
        let (left, _) = notes.hold.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 { None } else { notes.hold.take().map(|(_, gate)| gate) }
    }

    async fn ask<T>(
        &self,
        what: String,
        count: fn(&mut Calls) -> &mut u64,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        if self.late().is_some() {
            // It would cost a deadline for each question.
            return Err(FaultKind::Timeout.fault(self.name(), "it fell silent before"));
        }
        *count(&mut self.notes.lock().calls) += 1;
        if let Some(gate) = self.held() {
            gate.pass().await;
        }
        match within(&self.clock, call).await {
            Ok(answer) => answer,
            Err(NoAnswer::Late) => {
                self.notes
                    .lock()
                    .late
                    .get_or_insert_with(|| format!("{what}: no answer in {DEADLINE:?}"));
                Err(FaultKind::Timeout.fault(self.name(), format!("{what} did not end")))
            }
            Err(NoAnswer::Panicked(message)) => {
                let detail = format!("{what} panicked: {message}");
                self.notes.lock().panicked.get_or_insert_with(|| detail.clone());
                Err(FaultKind::Bug.fault(self.name(), detail))
            }
        }
    }
}

// Its futures are boxed: those of a source may be large, and the suite is one future around many of them.
impl<E: Clock, S: Source> Source for Probe<E, S> {
    type Block = S::Block;

    fn name(&self) -> &str {
        self.source.name()
    }

    fn ladder(&self) -> Ladder {
        self.source.ladder()
    }

    fn limits(&self) -> Limits {
        self.source.limits()
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let call = async { self.source.chain_info().await }.boxed();
        self.ask("chain_info".into(), |calls| &mut calls.identities, call).await
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let call = async { self.source.snapshot().await }.boxed();
        self.ask("snapshot".into(), |calls| &mut calls.snapshots, call).await
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let what = format!("digests at {} heights under {tip}", heights.len());
        let call = async { self.source.digests(tip, heights).await }.boxed();
        self.ask(what, |calls| &mut calls.digests, call).await
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<S::Block>, Fault> {
        let what = format!("blocks from {from} under {tip}");
        let call = async { self.source.blocks(tip, from).await }.boxed();
        self.ask(what, |calls| &mut calls.ranges, call).await
    }

    async fn range(&self, tip: BlockRef, from: Height) -> Result<BlockRange<S::Block>, Fault> {
        let what = format!("blocks from {from} under {tip}");
        let call = async { self.source.range(tip, from).await }.boxed();
        self.ask(what, |calls| &mut calls.ranges, call).await
    }

    fn doorbell(&self) -> Doorbell {
        self.source.doorbell()
    }

    fn durable(&self, watermarks: &Watermarks) {
        self.source.durable(watermarks);
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.source.judged(verdict);
    }
}
