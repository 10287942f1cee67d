//! Several endpoints of one chain, as one transport.

use crate::{Key, Transport};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tidewatch_core::{Fault, FaultKind};
use tracing::debug;

/// Asks endpoints in turn: every request begins at the next one, and goes on to the others until one
/// has an answer. Since nothing is believed that does not verify, an endpoint that lies or lags costs
/// a request, and the second attempt goes elsewhere.
///
/// An endpoint that failed comes last for the next 256 requests: one that is silent would
/// otherwise cost every second request of a long history its deadline.
///
/// The newest of a tip is not looked for among all of them: the source keeps the highest that
/// verified, and asks again, somewhere else.
#[derive(Debug)]
pub struct Failover<T> {
    endpoints: Vec<T>,
    /// One for each kind of key: a snapshot always asks for the same two things in the same order, and
    /// with one turn for both, one of two endpoints would never be asked for finality.
    turns: [AtomicUsize; Key::KINDS.len()],
    listens: AtomicUsize,
    /// Requests so far.
    asked: AtomicU64,
    /// For each endpoint, the number of the request from which on it is in turn again.
    rests_until: Vec<AtomicU64>,
    name: String,
}

/// Requests that an endpoint which failed comes last for.
const REST: u64 = 256;

impl<T: Transport> Failover<T> {
    /// One transport of `first` and `others`.
    pub fn new(first: T, others: Vec<T>) -> Self {
        let endpoints: Vec<_> = std::iter::once(first).chain(others).collect();
        let names: Vec<_> = endpoints.iter().map(Transport::name).collect();
        let name = names.join(", ");
        let rests_until = endpoints.iter().map(|_| AtomicU64::default()).collect();
        let (turns, listens, asked) = Default::default();
        Self { endpoints, turns, listens, asked, rests_until, name }
    }

    /// All endpoints, in the order in which they were given.
    pub fn endpoints(&self) -> &[T] {
        &self.endpoints
    }

    /// The endpoints with their places: from the one whose turn it is, and last those that rest.
    fn in_turn(&self, turn: &AtomicUsize) -> impl Iterator<Item = (usize, &T)> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let first = turn.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        let rests = |at: &usize| self.rests_until[*at].load(Ordering::Relaxed) > asked;
        // Looked at once: an endpoint that fails on the way is not asked again in the same round.
        let places = (first..self.endpoints.len()).chain(0..first);
        let (resting, ready): (Vec<_>, Vec<_>) = places.partition(rests);
        ready.into_iter().chain(resting).map(|at| (at, &self.endpoints[at]))
    }

    fn rest(&self, at: usize) {
        let until = self.asked.load(Ordering::Relaxed).saturating_add(REST);
        self.rests_until[at].store(until, Ordering::Relaxed);
    }
}

impl<T: Transport> Transport for Failover<T> {
    type Feed = T::Feed;

    fn name(&self) -> &str {
        &self.name
    }

    /// The first answer; `None` if at least one endpoint says that it does not have it and no other
    /// has it either.
    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let mut missing = false;
        let mut failed = None;
        let kind = Key::KINDS.iter().position(|kind| *kind == key.kind()).unwrap_or_default();
        for (at, endpoint) in self.in_turn(&self.turns[kind]) {
            match endpoint.fetch(key).await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => missing = true,
                Err(fault) => {
                    debug!(%fault, %key, "asking the next endpoint");
                    self.rest(at);
                    failed = Some(fault);
                }
            }
        }
        match failed {
            Some(fault) if !missing => Err(fault),
            _ => Ok(None),
        }
    }

    /// A feed of the endpoint whose turn it is. A feed that fails is opened again by its upstream,
    /// at the next one.
    async fn listen(&self) -> Result<T::Feed, Fault> {
        let mut failed = None;
        for (at, endpoint) in self.in_turn(&self.listens) {
            match endpoint.listen().await {
                Ok(feed) => return Ok(feed),
                Err(fault) => {
                    self.rest(at);
                    failed = Some(fault);
                }
            }
        }
        // There is always a first endpoint, so that something failed where nothing was opened.
        Err(failed.unwrap_or_else(|| FaultKind::Bug.fault(self.name(), "no endpoint")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Feed, Push};
    use commonware_utils::sync::Mutex;
    use futures::executor::block_on;
    use tidewatch_core::Height;

    /// Answers always the same, and counts how often it was asked.
    struct Endpoint {
        name: &'static str,
        answer: Result<Option<Bytes>, Fault>,
        calls: Mutex<u32>,
    }

    struct Silent;

    impl Feed for Silent {
        async fn next(&mut self) -> Result<Push, Fault> {
            std::future::pending().await
        }
    }

    impl Transport for Endpoint {
        type Feed = Silent;

        fn name(&self) -> &str {
            self.name
        }

        async fn fetch(&self, _: Key) -> Result<Option<Bytes>, Fault> {
            *self.calls.lock() += 1;
            self.answer.clone()
        }

        async fn listen(&self) -> Result<Silent, Fault> {
            *self.calls.lock() += 1;
            self.answer.clone().map(|_| Silent)
        }
    }

    fn endpoint(name: &'static str, answer: Result<Option<Bytes>, Fault>) -> Endpoint {
        Endpoint { name, answer, calls: Mutex::default() }
    }

    fn down(name: &'static str) -> Endpoint {
        endpoint(name, Err(FaultKind::Unreachable.fault(name, "down")))
    }

    fn has(name: &'static str) -> Endpoint {
        endpoint(name, Ok(Some(Bytes::from_static(b"block"))))
    }

    const KEY: Key = Key::Height(Height::zero());

    #[test]
    fn an_endpoint_that_is_down_or_lacks_the_block_costs_a_request_and_no_answer() {
        let failover = Failover::new(down("a"), vec![endpoint("b", Ok(None)), has("c")]);
        for _ in 0..6 {
            assert_eq!(block_on(failover.fetch(KEY)), Ok(Some(Bytes::from_static(b"block"))));
        }
        assert_eq!(*failover.endpoints[2].calls.lock(), 6);
        assert_eq!(*failover.endpoints[0].calls.lock(), 1, "then it rests");
    }

    #[test]
    fn an_endpoint_that_failed_is_asked_again_after_a_rest() {
        let failover = Failover::new(down("a"), vec![has("b")]);
        for _ in 0..2 * REST + 8 {
            block_on(failover.fetch(KEY)).unwrap();
        }
        assert_eq!(*failover.endpoints[0].calls.lock(), 3);
    }

    #[test]
    fn endpoints_that_rest_are_better_than_none() {
        let failover = Failover::new(down("a"), vec![down("b")]);
        block_on(failover.fetch(KEY)).unwrap_err();
        block_on(failover.fetch(KEY)).unwrap_err();
        assert_eq!(failover.endpoints.iter().map(|e| *e.calls.lock()).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn requests_take_turns() {
        let failover = Failover::new(has("a"), vec![has("b")]);
        for _ in 0..10 {
            block_on(failover.fetch(KEY)).unwrap();
        }
        assert_eq!(failover.endpoints.iter().map(|e| *e.calls.lock()).collect::<Vec<_>>(), [5, 5]);
    }

    #[test]
    fn both_tips_are_asked_of_every_endpoint_although_they_are_always_asked_for_together() {
        let failover = Failover::new(has("a"), vec![has("b")]);
        let asked = |key| {
            let before = *failover.endpoints[0].calls.lock();
            block_on(failover.fetch(key)).unwrap();
            *failover.endpoints[0].calls.lock() > before
        };
        let rounds =
            [(); 4].map(|()| (asked(Key::LatestFinalization), asked(Key::LatestNotarization)));
        assert_eq!(rounds, [(true, true), (false, false), (true, true), (false, false)]);
    }

    #[test]
    fn a_block_that_nobody_has_is_missing_and_not_a_failure() {
        let failover = Failover::new(down("a"), vec![endpoint("b", Ok(None))]);
        assert_eq!(block_on(failover.fetch(KEY)), Ok(None));
    }

    #[test]
    fn when_all_are_down_the_fault_names_one_of_them() {
        let failover = Failover::new(down("a"), vec![down("b")]);
        assert_eq!(block_on(failover.fetch(KEY)).unwrap_err().kind, FaultKind::Unreachable);
        assert!(block_on(failover.listen()).is_err());
        assert_eq!(failover.name(), "a, b");
    }

    #[test]
    fn a_feed_is_opened_at_the_first_endpoint_that_is_up() {
        let failover = Failover::new(down("a"), vec![has("b")]);
        assert!(block_on(failover.listen()).is_ok());
        assert!(block_on(failover.listen()).is_ok());
    }
}
