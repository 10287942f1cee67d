//! A driver that follows the source.

use super::{
    exam::{Exam, Look, digest_words, lowest, tips_words},
    name,
    probe::Probe,
};
use crate::{
    Runtime, SPAN,
    patience::{either, within},
    report::{Flaw, Report},
};
use commonware_runtime::Handle;
use commonware_utils::{NZUsize, sync::Mutex};
use futures::pin_mut;
use std::{future::Future, sync::Arc, time::Duration};
use tidewatch_core::{
    BlockRef, ChainInfo, Event, EventLog as _, Fault, Height, Monitor, Record, Severity, Snapshot,
    Source, Tier, TipSet, Watermarks,
};
use tidewatch_store::{Memory, MemoryReader};
use tidewatch_stream::{
    Driver, Ended, Mailbox, Mode, Start,
    driver::{Config, Parts, SyncError},
};
use tidewatch_testkit::{invariants, source::Gate};

/// Passes in which a driver must have come to the source's tips.
const PASSES_MAX: usize = 64;

/// Between two such passes: what was done to the chain may take a moment to be seen.
const PAUSE: Duration = Duration::from_millis(100);

/// Faults that are remembered.
const FAULTS_MAX: usize = 64;

/// Tries to see a quiet pass: a doorbell may ring for what happened before.
const QUIET_TRIES: usize = 4;

/// Remembers faults.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Monitor for Faults {
    fn fault(&self, fault: &Fault) {
        let mut faults = self.0.lock();
        if faults.len() < FAULTS_MAX {
            faults.push(fault.clone());
        }
    }
}

/// A driver over the source, and what came of it.
pub(super) struct Followed<'a, E, S: Source> {
    pub(super) exam: Exam<'a, E, S>,
    pub(super) mailbox: Mailbox,
    view: MemoryReader<S::Block>,
    handle: Option<Handle<Result<(), Fault>>>,
    faults: Faults,
    /// Events that were looked at, and what they fold to.
    seen: (u64, Watermarks),
    /// The lowest height whose block is delivered.
    pub(super) start: u64,
}

impl<'a, E: Runtime, S: Source> Followed<'a, E, S> {
    /// Starts a driver from a little below `tip`; for `tips_only`, one that asks for no block.
    pub(super) fn start(
        context: E,
        exam: Exam<'a, E, S>,
        probe: Arc<Probe<E, S>>,
        chain_info: &ChainInfo,
        tip: BlockRef,
        tips_only: bool,
    ) -> Self {
        let (writer, view) = Memory::new(chain_info.clone());
        let start = lowest(tip);
        let mode = if tips_only {
            Mode::TipsOnly
        } else {
            Mode::Blocks { start: Start::Height(Height::new(start)), skip_finalized: false }
        };
        // Every pass is asked for, or rung for: the suite says when.
        let config = Config { mode, poll: Duration::from_secs(3600), ..Config::default() };
        let faults = Faults::default();
        let parts = Parts { source: probe, view: writer, monitor: faults.clone() };
        let (driver, mailbox) = Driver::new(context, parts, config);
        let handle = Some(driver.start());
        Self { exam, mailbox, view, handle, faults, seen: (0, Watermarks::none()), start }
    }

    /// Stops the driver.
    pub(super) async fn stop(mut self) {
        self.mailbox.stop();
        if let Some(handle) = self.handle.take() {
            // One that does not stop holds nobody up here: its source has been told of by then.
            let _ = within(self.exam.source.clock(), handle).await;
        }
    }

    /// Why the driver ended.
    async fn end(&mut self) -> Flaw {
        let Some(handle) = self.handle.take() else {
            return Flaw::not_shown("the driver had ended before");
        };
        match within(self.exam.source.clock(), handle).await {
            Ok(Ok(Err(fault))) => Flaw::broken(format_args!("the driver ended: {fault}")),
            other => Flaw::broken(format_args!("the driver ended: {other:?}")),
        }
    }

    /// Passes until the view stands where the source does and `done` is true of that. Every pass is
    /// one call of the driver; every fault of a source that lies is a flaw.
    pub(super) async fn settle(&mut self, done: impl Fn(&TipSet) -> bool) -> Look<Snapshot> {
        let mut last = String::new();
        for _ in 0..PASSES_MAX {
            last = match self.mailbox.sync().await {
                Err(SyncError::Stopped(_)) => return Err(self.end().await),
                Err(SyncError::Pass(_)) if self.exam.source.late().is_some() => {
                    return Err(Flaw::see(name::ENDS));
                }
                Err(SyncError::Pass(fault)) => format!("the last pass ended with {fault}"),
                Ok(_) => {
                    let snapshot = self.exam.snapshot().await?;
                    let watermarks = self.watermarks().await?;
                    if stands(&watermarks, &snapshot.tips) && done(&snapshot.tips) {
                        return self.faults().map(|()| snapshot);
                    }
                    let (ours, theirs) = (tips_words(&watermarks.tips), tips_words(&snapshot.tips));
                    format!("the driver is at {ours}, the source at {theirs}")
                }
            };
            self.exam.source.clock().sleep(PAUSE).await;
        }
        Err(Flaw::broken(format_args!("not there after {PASSES_MAX} passes: {last}")))
    }

    /// Whether the source was never caught with an answer that cannot be true.
    fn faults(&self) -> Look {
        let faults: Vec<_> = std::mem::take(&mut *self.faults.0.lock());
        let lied =
            |fault: &&Fault| !matches!(fault.severity(), Severity::Transient | Severity::Behind);
        match faults.iter().find(lied) {
            Some(fault) => Err(Flaw::broken(format_args!("the driver refused it: {fault}"))),
            None => Ok(()),
        }
    }

    pub(super) async fn watermarks(&self) -> Look<Watermarks> {
        self.view.watermarks().map_err(Flaw::not_shown)
    }

    /// Looks at every event since the last time. `forward`: nothing that happened takes a tier back.
    pub(super) async fn watch(&mut self, report: &mut Report, forward: bool) {
        let records = self.news().await;
        let ladder = self.exam.source.ladder();
        let folded = records.iter().try_fold(self.seen.1, |before, record| {
            let (sequence, event) = (record.sequence(), record.event);
            invariants::record(ladder, &before, record)
                .map_err(|breach| Flaw::broken(format_args!("event {sequence}, {event}: {breach}")))
        });
        self.seen.1 = records.last().map_or(self.seen.1, |last| last.watermarks);
        report.record(name::LAWFUL, folded.map(drop));
        if forward {
            let back = |record: &&Record| {
                matches!(record.event, Event::Regressed { .. } | Event::Pruned { .. })
            };
            let back = records.iter().find(back).map(|record| record.event.to_string());
            let flaw = |event| {
                let why = "after the chain did no more than grow, or become final";
                Flaw::broken(format_args!("{event}, {why}"))
            };
            report.record(name::BACK, back.map_or(Ok(()), |event| Err(flaw(event))));
        }
        report.record(name::DELIVERED, self.is_delivered().await);
        if self.exam.still {
            report.record(name::CHEAP, self.is_cheap().await);
        } else {
            let why = Flaw::not_shown("the chain does not stand still");
            report.record(name::CHEAP, Err(why));
        }
    }

    async fn news(&mut self) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let more = self.view.read(self.seen.0, NZUsize!(1024)).await.unwrap_or_default();
            if more.is_empty() {
                return records;
            }
            self.seen.0 += more.len() as u64;
            records.extend(more);
        }
    }

    /// Whether the view's blocks are the source's.
    async fn is_delivered(&self) -> Look {
        let exam = &self.exam;
        exam.steady(async |snapshot| {
            let watermarks = self.watermarks().await?;
            let Some(head) = watermarks.delivered.filter(|_| stands(&watermarks, &snapshot.tips))
            else {
                return Err(Flaw::not_shown("the driver is not at the source's tip"));
            };
            let low = head.height.get().saturating_sub(SPAN).max(self.start);
            let heights: Vec<_> = (low..=head.height.get()).collect();
            let all: Vec<_> = heights.iter().copied().map(Height::new).collect();
            let ours = self.view.locate(&all).await.map_err(Flaw::not_shown)?;
            for (ours, theirs) in ours.into_iter().zip(exam.digests_of(head, &heights).await?) {
                if ours.map(|ours| ours.digest) != theirs {
                    let ours = ours.map_or("nothing".into(), |ours| ours.to_string());
                    let theirs = digest_words(theirs);
                    return Err(Flaw::broken(format_args!(
                        "{ours} was delivered, its chain now has {theirs} there"
                    )));
                }
            }
            Ok(())
        })
        .await
    }

    async fn is_cheap(&self) -> Look {
        let mut last = Flaw::not_shown("no pass");
        for _ in 0..QUIET_TRIES {
            let before = self.exam.source.calls().total();
            let ended = self.mailbox.sync().await;
            let calls = self.exam.source.calls().total() - before;
            if calls == 1 && ended == Ok(Ended::Quiet) {
                return Ok(());
            }
            last = Flaw::broken(format_args!(
                "it took {calls} calls and ended with {ended:?}, of a chain that did not move"
            ));
            self.exam.pause().await;
        }
        Err(last)
    }

    /// A pass, and `act` while it waits at `gate`. False if it did not come there.
    pub(super) async fn pass_at(&self, gate: &Gate, act: impl Future<Output = ()>) -> bool {
        let pass = self.mailbox.sync();
        pin_mut!(pass);
        let ended = either(&mut pass, gate.entered()).await;
        if ended.is_none() {
            act.await;
            gate.open();
            let _ = pass.await; // Whether it failed is seen by what the driver says.
        }
        self.exam.source.release();
        ended.is_none()
    }
}

/// Whether a view at `watermarks` has taken in all that a snapshot of `tips` says.
fn stands(watermarks: &Watermarks, tips: &TipSet) -> bool {
    let same =
        |block: Option<BlockRef>, tier| block.is_none() || watermarks.tips.block(tier) == block;
    let proposed = tips.block(Tier::Proposed);
    proposed.is_some()
        && Tier::ALL.into_iter().all(|tier| same(tips.block(tier), tier))
        && (watermarks.delivered.is_none() || watermarks.delivered == proposed)
}
