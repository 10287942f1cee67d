//! Whose turn it is: what is remembered of each endpoint, and how long it rests.

use super::Upstreams;
use crate::rpc::{NodeError, Rpc};
use commonware_runtime::Clock;
use std::{sync::atomic::Ordering, time::Duration};
use tidewatch_core::{Fault, FaultKind, Severity};
use tracing::debug;

/// Requests that an endpoint comes last for after its first failure.
const REST: u64 = 8;

/// Requests that it comes last for at the most.
const REST_MAX: u64 = 512;

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// It said that it is of the chain that is followed.
    pub(super) greeted: bool,
    pub(super) failures: u32,
    /// The number of the request from which on it is in turn again.
    pub(super) rests_until: u64,
    /// Passes in a row that found no use in its answers.
    unfit: u32,
    /// The number of the request from which on it is in turn again after such a pass.
    unfit_until: u64,
    /// Refusals for their number in a row, of requests that had no answer at all.
    pub(super) busy: u32,
}

impl<E: Clock, R: Rpc> Upstreams<E, R> {
    /// Whether a pass could use what was answered last. An endpoint whose answers were of no use comes
    /// last for a while, where there is another one.
    pub(crate) fn judged(&self, verdict: Result<(), &Fault>) {
        let at = self.current.load(Ordering::Relaxed);
        let mut standing = self.members[at].standing.lock();
        let Err(fault) = verdict else {
            standing.unfit = 0;
            return;
        };
        // A chain that moves while it is asked for is torn now and then, wherever it is asked for.
        let raced = fault.kind == FaultKind::Torn && standing.unfit == 0;
        if raced {
            standing.unfit = 1;
        } else if self.members.len() > 1 {
            debug!(%fault, endpoint = self.members[at].rpc.name(), "of no use to the view");
            standing.unfit_until = self.until(standing.unfit);
            standing.unfit = standing.unfit.saturating_add(1);
        }
    }

    /// A fault of whatever was answered last: counted, and the endpoint rests if it lied, or said that it
    /// cannot answer now.
    pub(crate) fn refuse(&self, fault: Fault) -> Fault {
        if fault.severity() == Severity::Invalid || fault.kind == FaultKind::Unavailable {
            self.move_on();
        }
        self.metrics.refused(fault)
    }

    /// The place of the endpoint that is asked first now.
    #[cfg_attr(
        not(feature = "ethereum"),
        allow(dead_code, reason = "others remember nothing of one")
    )]
    pub(crate) fn current(&self) -> usize {
        self.first()
    }

    /// A fault of whatever was answered last that costs nobody the rest of the answer: counted, and
    /// reported.
    #[cfg_attr(
        not(any(feature = "ethereum", feature = "tempo")),
        allow(dead_code, reason = "there alone a fault costs a part of an answer")
    )]
    pub(crate) fn absorb(&self, fault: Fault) {
        let fault = self.refuse(fault);
        self.metrics.absorbed(&fault);
    }

    /// A fault of something that was pushed, by whom is not known: counted, and reported. Nobody rests for it.
    #[cfg_attr(
        not(feature = "miden"),
        allow(dead_code, reason = "what others push is not looked at")
    )]
    pub(crate) fn spurn(&self, fault: Fault) {
        let fault = self.metrics.refused(fault);
        self.metrics.absorbed(&fault);
    }

    /// Lets the endpoint rest that was asked last, where there is another one.
    pub(crate) fn move_on(&self) {
        self.rest(self.first());
    }

    /// Why the endpoint must not be asked yet, if it asked for that.
    pub(super) fn left_alone(&self, at: usize) -> Option<NodeError> {
        let left = self.members[at].allowed.lock().left_alone(self.context.current());
        let (left, said) = left?;
        Some(NodeError::LeftAlone { left: Duration::from_secs(left.as_secs() + 1), said })
    }

    /// Counts a fault of an endpoint, which rests.
    pub(super) fn failed(&self, at: usize, fault: Fault) -> Fault {
        if fault.severity() == Severity::Transient {
            // Whatever is there when it comes back may be something else.
            self.members[at].standing.lock().greeted = false;
        }
        self.rest(at);
        self.metrics.refused(fault)
    }

    pub(super) fn rest(&self, at: usize) {
        let mut standing = self.members[at].standing.lock();
        standing.rests_until = self.until(standing.failures);
        standing.failures = standing.failures.saturating_add(1);
    }

    /// The number of the request at which a rest ends, after this many before it.
    fn until(&self, before: u32) -> u64 {
        let rest = REST.saturating_mul(2_u64.saturating_pow(before)).min(REST_MAX);
        self.asked.load(Ordering::Relaxed).saturating_add(rest)
    }

    /// The endpoint that is asked first now.
    pub(super) fn first(&self) -> usize {
        self.in_turn().first().copied().unwrap_or_default()
    }

    /// From the one that answered last, and last those that rest: whichever rests longest comes last. An
    /// endpoint that is to be left alone comes after all others.
    pub(super) fn in_turn(&self) -> Vec<usize> {
        let asked = self.asked.load(Ordering::Relaxed);
        let current = self.current.load(Ordering::Relaxed);
        let mut turn: Vec<_> = (current..self.members.len()).chain(0..current).collect();
        turn.sort_by_cached_key(|at| {
            let until = {
                let standing = self.members[*at].standing.lock();
                standing.rests_until.max(standing.unfit_until)
            };
            let rests = if until > asked { until } else { 0 };
            (self.left_alone(*at).is_some(), rests)
        });
        turn
    }
}
