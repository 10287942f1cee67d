//! Requests to a checker.

use super::super::Certificate;
use crate::{Check, Metrics, Scheme};
use bytes::Bytes;
use commonware_actor::{
    Feedback, Unreliable,
    mailbox::{UnreliablePolicy, UnreliableSender},
};
use commonware_utils::channel::oneshot;
use std::{collections::VecDeque, fmt, num::NonZeroUsize, sync::Arc};

/// A certificate to check. A caller that has left has dropped its end of `answer`.
pub(super) struct Request<S: Scheme> {
    pub(super) certificate: Certificate<S>,
    /// The encoding of the certificate: equal ones verify equally under one scheme.
    pub(super) proof: Bytes,
    pub(super) scheme: Arc<S>,
    pub(super) reason: Check,
    /// Counts the check. The checker has none of its own: it may end a moment after its callers.
    pub(super) metrics: Metrics,
    pub(super) answer: oneshot::Sender<bool>,
}

impl<S: Scheme> UnreliablePolicy for Request<S> {
    type Overflow = VecDeque<Self>;

    /// Refuses the newest request: see the [module](super).
    fn handle(_: &mut VecDeque<Self>, _: Self) -> bool {
        false
    }
}

/// Why a certificate was not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verifier) enum Unchecked {
    /// So many wait already.
    Overloaded(usize),
    /// The checker has ended.
    Stopped,
}

/// Requests checks. Cheap to clone.
pub struct Mailbox<S: Scheme> {
    pub(super) sender: UnreliableSender<Request<S>>,
    pub(super) waiting_max: NonZeroUsize,
}

impl<S: Scheme> Clone for Mailbox<S> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waiting_max: self.waiting_max }
    }
}

impl<S: Scheme> fmt::Debug for Mailbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("waiting_max", &self.waiting_max).finish_non_exhaustive()
    }
}

impl<S: Scheme> Mailbox<S> {
    /// Whether `certificate`, encoded as `proof`, verifies under `scheme`.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the request is withdrawn unless its check has begun; other requests are not affected.
    pub(in crate::verifier) async fn check(
        &self,
        certificate: Certificate<S>,
        proof: Bytes,
        scheme: Arc<S>,
        reason: Check,
        metrics: &Metrics,
    ) -> Result<bool, Unchecked> {
        let (answer, verdict) = oneshot::channel();
        let metrics = metrics.clone();
        let request = Request { certificate, proof, scheme, reason, metrics, answer };
        match self.sender.enqueue(request) {
            Unreliable::Outcome(Feedback::Ok | Feedback::Backoff) => {}
            Unreliable::Outcome(Feedback::Closed) => return Err(Unchecked::Stopped),
            Unreliable::Rejected => return Err(Unchecked::Overloaded(self.waiting_max.get())),
        }
        verdict.await.map_err(|_| Unchecked::Stopped)
    }
}
