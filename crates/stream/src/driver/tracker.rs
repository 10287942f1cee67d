//! What a driver remembers of its source, to report how live it is.

use super::metrics::Metrics;
use crate::{Contact, Thresholds, assess};
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use std::{
    ops::Deref,
    time::{Duration, SystemTime},
};
use tidewatch_core::{
    Cause, Fault, FaultKind, HeadSender, Height, Monitor, Snapshot, Status, Tier, TipSet, Trust,
    Verification, Watermarks,
};

#[derive(Default)]
struct Seen {
    /// When the source answered last, whatever it was asked.
    contact: Option<SystemTime>,
    /// When it named its tips last: what they are compared with is as old.
    named: Option<SystemTime>,
    source_height: Option<Height>,
    tips: TipSet,
    trust: Option<Trust>,
    tip_time: Option<SystemTime>,
    proving_stalled: bool,
    watermarks: Watermarks,
    settled: bool,
    complete: bool,
    conflicted: bool,
    /// The source has proved a conflict: that does not pass.
    contradicted: bool,
    /// The fault that the last pass ended or went on with.
    fault: Option<FaultKind>,
    /// When something was remembered last.
    latest: Option<SystemTime>,
    /// This machine's clock was set back, and the tip's time has been ahead of it since.
    set_back: bool,
    /// The driver has ended.
    over: bool,
}

impl Seen {
    /// The clock says `now`, which it returns. Where it was set back, every contact stays as old as it was.
    fn at(&mut self, now: SystemTime) -> SystemTime {
        let back = self.latest.and_then(|latest| latest.duration_since(now).ok());
        if let Some(back) = back.filter(|back| !back.is_zero()) {
            self.set_back = true;
            for since in [&mut self.contact, &mut self.named] {
                *since = since.and_then(|since| since.checked_sub(back));
            }
        }
        self.latest = Some(now);
        now
    }
}

/// A machine that was suspended, or whose clock was moved, sleeps on for no longer than this.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Stands between a pass and the driver's monitor: passes everything on, counts it, and adds the
/// status and the head that follow from it.
pub(super) struct Tracker<E, M> {
    clock: E,
    monitor: M,
    metrics: Metrics,
    thresholds: Thresholds,
    seen: Mutex<Seen>,
    head: HeadSender,
}

impl<E: Clock, M: Monitor> Tracker<E, M> {
    pub(super) fn new(
        clock: E,
        monitor: M,
        metrics: Metrics,
        thresholds: Thresholds,
        head: HeadSender,
    ) -> Self {
        Self { clock, monitor, metrics, thresholds, seen: Mutex::default(), head }
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A pass ended: with which fault, if it did not take in everything that it saw.
    pub(super) fn ended(&self, fault: Option<FaultKind>, conflicted: Option<bool>) {
        {
            let mut seen = self.seen.lock();
            seen.settled = true;
            seen.complete = fault.is_none();
            seen.fault = fault;
            seen.conflicted = conflicted.unwrap_or(seen.conflicted);
        }
        self.progressed();
        self.refresh();
    }

    /// The driver ends: whatever was said last is not true for long.
    pub(super) fn over(&self) {
        self.seen.lock().over = true;
        self.refresh();
    }

    /// The driver is not stuck.
    pub(super) fn progressed(&self) {
        self.monitor.progressed();
    }

    /// The source answered.
    pub(super) fn contact(&self) {
        let mut seen = self.seen.lock();
        let now = seen.at(self.clock.current());
        seen.contact = Some(now);
        self.metrics.contact(now);
    }

    /// The source proved a contradiction of what is finalized: two certificates that both verify. No
    /// later answer makes that undone, so the status stays until somebody has looked.
    pub(super) fn contradicted(&self) {
        self.seen.lock().contradicted = true;
    }

    /// Resolves when contact or the tip may have grown too old, after it said the status as of then. Where
    /// neither can, after a look at the clock: there may be a contact by then, and it ages.
    pub(super) async fn turn(&self) {
        let wait = self.until_turn();
        self.clock.sleep(wait.unwrap_or(LOOK_AGAIN)).await;
        match wait {
            Some(_) => self.refresh(),
            None => drop(self.look()),
        }
    }

    fn until_turn(&self) -> Option<Duration> {
        /// What is exactly as old as a threshold is not older.
        const TICK: Duration = Duration::from_millis(1);
        let (seen, now) = self.look();
        let Thresholds { contact, tip_age, .. } = self.thresholds;
        [(seen.contact, contact), (seen.named, contact), (seen.tip_time, tip_age)]
            .into_iter()
            .filter_map(|(since, limit)| {
                let limit = limit.checked_add(TICK)?;
                let left = since?.checked_add(limit)?.duration_since(now).ok()?;
                // A clock that was set back meanwhile is looked at all the same.
                Some(left.min(limit)).filter(|left| !left.is_zero())
            })
            .min()
            .map(|left| left.min(LOOK_AGAIN))
    }

    /// What is remembered, and the time.
    fn look(&self) -> (impl Deref<Target = Seen> + '_, SystemTime) {
        let now = self.clock.current();
        let mut seen = self.seen.lock();
        seen.at(now);
        seen.set_back &= seen.tip_time.is_some_and(|time| time > now);
        (seen, now)
    }

    /// Reports the status as of now, and the head with it.
    pub(super) fn refresh(&self) {
        let (status, watermarks, tips) = {
            let (seen, now) = self.look();
            let age = |time: SystemTime| now.duration_since(time).unwrap_or(Duration::ZERO);
            let head = seen.watermarks.head().map_or(0, |block| block.height.get());
            let lag = seen.source_height.map_or(0, |height| height.get().saturating_sub(head));
            let tip_age = seen.tip_time.map(age);
            let ahead = seen.tip_time.and_then(|time| time.duration_since(now).ok());
            let tip_ahead = ahead.unwrap_or(Duration::ZERO);
            // A lag that is measured against an old tip is no reason to say `Live`.
            let named = seen.named.is_some_and(|at| age(at) <= self.thresholds.contact);
            let contact = Contact {
                since: seen.contact.filter(|_| !seen.over).map(age),
                lag,
                tip_age,
                tip_ahead,
                settled: seen.settled && named,
                complete: seen.complete,
                conflicted: seen.conflicted || seen.contradicted,
            };
            let odd = tip_ahead > self.thresholds.tip_age;
            let cause = match (seen.over, seen.fault) {
                (true, _) => Some(Cause::Ended),
                (false, Some(kind)) => Some(Cause::Fault(kind)),
                (false, None) if odd && seen.set_back => Some(Cause::ClockSetBack),
                (false, None) if odd => Some(Cause::TipAhead),
                (false, None) => seen.proving_stalled.then_some(Cause::ProvingStalled),
            };
            let status = Status {
                state: assess(&self.thresholds, &contact),
                lag,
                source_height: seen.source_height,
                tip_age_ms: tip_age.and_then(|age| u64::try_from(age.as_millis()).ok()),
                cause,
                verification: seen.trust.map(|trust| Verification {
                    epoch: trust.epoch,
                    anchor: trust.anchor,
                    age_ms: trust.time_ms.and_then(|time| {
                        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(time));
                        u64::try_from(age(time?).as_millis()).ok()
                    }),
                    seen: trust.seen,
                    verified: seen.source_height,
                    contiguous: seen.watermarks.head().map(|block| block.height),
                }),
            };
            (status, seen.watermarks, seen.tips)
        };
        self.metrics.status(&status);
        self.monitor.status(&status);
        self.head.update(|head| {
            (head.watermarks, head.tips, head.status) = (watermarks, tips, status);
        });
    }
}

impl<E: Clock, M: Monitor> Monitor for Tracker<E, M> {
    fn snapshot(&self, snapshot: &Snapshot) {
        {
            let mut seen = self.seen.lock();
            let now = seen.at(self.clock.current());
            (seen.contact, seen.named) = (Some(now), Some(now));
            (seen.tips, seen.trust) = (snapshot.tips, snapshot.trust);
            seen.proving_stalled = snapshot.proving_stalled;
            seen.source_height = snapshot.tips.block(Tier::Proposed).map(|block| block.height);
            let time = snapshot.time_ms.map(Duration::from_millis);
            seen.tip_time = time.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time));
            self.metrics.contact(now);
            self.metrics.tip(seen.tip_time);
        }
        self.monitor.snapshot(snapshot);
        self.refresh();
    }

    fn moved(&self, watermarks: &Watermarks) {
        let (before, at) = {
            let mut seen = self.seen.lock();
            // Before the source was read, it is where the view was left, nobody knows when.
            let at = seen.named.map(|_| self.clock.current());
            (std::mem::replace(&mut seen.watermarks, *watermarks), at)
        };
        self.metrics.moved(&before, watermarks, at);
        self.monitor.moved(watermarks);
        self.progressed();
        self.refresh();
    }

    fn fault(&self, fault: &Fault) {
        self.metrics.fault(fault);
        self.monitor.fault(fault);
    }
}
