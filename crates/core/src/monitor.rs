//! The port to those who watch over a driver: operators, dashboards, health checks.

use crate::{Anchor, Contact, Fault, FaultKind, Height, Snapshot, Watermarks};
use std::fmt;

/// Whether what a driver says about the tip can be relied on, and if not, why not.
///
/// `Live` is said only when contact is fresh, lag is small, the tip's own time is fresh and no gap is
/// known; every other state names what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// History is being taken in.
    CatchingUp,
    /// At the tip.
    Live,
    /// In contact and up to date but for more blocks than live allows.
    Lagging,
    /// In contact, at the source's tip, but that tip is old.
    Stale,
    /// No contact with the source.
    Blind,
    /// The source contradicts what is finalized here.
    Conflicted,
}

impl State {
    /// Name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Lagging => "lagging",
            Self::Stale => "stale",
            Self::Blind => "blind",
            Self::Conflicted => "conflicted",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A driver's state, with what it was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The verdict.
    pub state: State,
    /// Blocks between the source's proposed tip and the local view.
    pub lag: u64,
    /// The source's proposed tip, as last seen.
    pub source_height: Option<Height>,
    /// The age of that tip by its own time, in milliseconds, where blocks carry one.
    pub tip_age_ms: Option<u64>,
    /// What keeps the state from being `Live`, where that is more than the figures above say.
    pub cause: Option<Cause>,
    /// What the certificates rest on, for a chain whose validators change.
    pub verification: Option<Verification>,
}

/// How far a chain whose validators change is verified, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The newest epoch whose certificate scheme is known.
    pub epoch: u64,
    /// What the first of them was taken from.
    pub anchor: Anchor,
    /// The age of the newest known block that ends an epoch, in milliseconds; `None` while the anchor alone
    /// is known, or where blocks carry no time.
    pub age_ms: Option<u64>,
    /// The height that the newest answer or push claimed, whether it verified or not.
    pub seen: Option<Height>,
    /// The highest block that verified.
    pub verified: Option<Height>,
    /// The highest block that was delivered with everything below it.
    pub contiguous: Option<Height>,
}

/// Why a driver does not get on, or what it says cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The last pass did not take in everything: the fault that it ended or went on with.
    Fault(FaultKind),
    /// The tip's time lies ahead of this machine's clock by more than a tip may be old.
    TipAhead,
    /// The same, after this machine's clock was set back.
    ClockSetBack,
    /// Blocks are proven here, and the lowest that is not is poisoned or waits for too long.
    ProvingStalled,
    /// The driver has ended: nothing is known any more.
    Ended,
}

impl Cause {
    /// Name in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault(kind) => kind.as_str(),
            Self::TipAhead => "tip_ahead",
            Self::ClockSetBack => "clock_set_back",
            Self::ProvingStalled => "proving_stalled",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Status {
    /// Nothing was seen of the source.
    pub const fn unknown() -> Self {
        Self {
            state: State::Blind,
            lag: 0,
            source_height: None,
            tip_age_ms: None,
            cause: None,
            verification: None,
        }
    }
}

/// Observes what a driver does. Every method returns at once, and does nothing by default.
pub trait Monitor: Send + Sync + 'static {
    /// An upstream answered a request, or failed to. That it answered says nothing of what: a refused answer is
    /// a [`fault`](Self::fault).
    fn contact(&self, _contact: &Contact<'_>) {}

    /// A pass read the source.
    fn snapshot(&self, _snapshot: &Snapshot) {}

    /// The local view moved to `watermarks`.
    fn moved(&self, _watermarks: &Watermarks) {}

    /// Something was refused.
    fn fault(&self, _fault: &Fault) {}

    /// The status, after every pass and whenever time alone changes it.
    fn status(&self, _status: &Status) {}

    /// The driver makes progress: a pass goes on, waits for a source no longer than for its deadline, or is not
    /// due yet. Said every few seconds at least, but by a driver that waits for its local view or that is wrong.
    fn progressed(&self) {}
}

impl Monitor for () {}

/// Two that observe the same.
impl<A: Monitor, B: Monitor> Monitor for (A, B) {
    fn contact(&self, contact: &Contact<'_>) {
        self.0.contact(contact);
        self.1.contact(contact);
    }

    fn snapshot(&self, snapshot: &Snapshot) {
        self.0.snapshot(snapshot);
        self.1.snapshot(snapshot);
    }

    fn moved(&self, watermarks: &Watermarks) {
        self.0.moved(watermarks);
        self.1.moved(watermarks);
    }

    fn fault(&self, fault: &Fault) {
        self.0.fault(fault);
        self.1.fault(fault);
    }

    fn status(&self, status: &Status) {
        self.0.status(status);
        self.1.status(status);
    }

    fn progressed(&self) {
        self.0.progressed();
        self.1.progressed();
    }
}

impl<M: Monitor + ?Sized> Monitor for std::sync::Arc<M> {
    fn contact(&self, contact: &Contact<'_>) {
        (**self).contact(contact);
    }

    fn snapshot(&self, snapshot: &Snapshot) {
        (**self).snapshot(snapshot);
    }

    fn moved(&self, watermarks: &Watermarks) {
        (**self).moved(watermarks);
    }

    fn fault(&self, fault: &Fault) {
        (**self).fault(fault);
    }

    fn status(&self, status: &Status) {
        (**self).status(status);
    }

    fn progressed(&self) {
        (**self).progressed();
    }
}
