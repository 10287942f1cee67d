//! Several endpoints of one chain, as one transport.

use crate::{Error, Key, Transport};
use bytes::Bytes;
use std::{
    future::Future,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};
use tidewatch_core::Fault;
use tracing::debug;

/// Requests rotate over the endpoints: each starts at the next endpoint, and falls through to the others
/// until one answers. Every answer is verified, so an endpoint that lies or lags costs one request, and the
/// retry goes to another endpoint.
///
/// An endpoint that fails or times out is tried last for the next 256 requests. A silent endpoint would
/// otherwise cost every second request of a long range its deadline. An answer ends the cool-down.
///
/// An endpoint whose answer verified and was of no use to the view (it lacks what it announced, or contradicts
/// what is final here) cools down too.
///
/// The endpoints are not compared to find the newest tip: the source keeps the highest that verified, and
/// its next request goes to another endpoint.
#[derive(Debug)]
pub struct Failover<T> {
    endpoints: Vec<T>,
    /// One rotation for each kind of key: a snapshot always requests the same two keys in the same order,
    /// and with a shared rotation one of two endpoints would never be asked for finality.
    turns: [AtomicUsize; Key::KINDS.len()],
    listens: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
    /// For each endpoint, the number of the request at which its cool-down ends.
    cool_until: Vec<AtomicU64>,
    /// The endpoint that answered last.
    answered: AtomicUsize,
    name: String,
}

/// Cool-down of an endpoint that failed, in requests.
const COOL_DOWN: u64 = 256;

impl<T: Transport> Failover<T> {
    /// One transport of `first` and `others`.
    pub fn new(first: T, others: Vec<T>) -> Self {
        let endpoints: Vec<_> = std::iter::once(first).chain(others).collect();
        let names: Vec<_> = endpoints.iter().map(Transport::name).collect();
        let name = names.join(", ");
        let cool_until = endpoints.iter().map(|_| AtomicU64::default()).collect();
        let (turns, listens, requests, answered) = Default::default();
        Self { endpoints, turns, listens, requests, cool_until, answered, name }
    }

    /// All endpoints, in the order in which they were given.
    pub fn endpoints(&self) -> &[T] {
        &self.endpoints
    }

    /// The endpoints with their indices, and whether they are cooling down: from the one whose turn it
    /// is, those that are cooling down last.
    fn in_turn(&self, turn: &AtomicUsize) -> impl Iterator<Item = (usize, &T, bool)> {
        let asked = self.requests.fetch_add(1, Ordering::Relaxed);
        let first = turn.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        let cooling = |at: &usize| self.cool_until[*at].load(Ordering::Relaxed) > asked;
        // Read once: an endpoint that fails during this request is not tried twice.
        let places = (first..self.endpoints.len()).chain(0..first);
        let (mut cooling_down, ready): (Vec<_>, Vec<_>) = places.partition(cooling);
        // The one that failed last comes last.
        cooling_down.sort_by_key(|at| self.cool_until[*at].load(Ordering::Relaxed));
        let ready = ready.into_iter().map(|at| (at, false));
        let cooling_down = cooling_down.into_iter().map(|at| (at, true));
        ready.chain(cooling_down).map(|(at, cools)| (at, &self.endpoints[at], cools))
    }

    fn cool_down(&self, at: usize) {
        let until = self.requests.load(Ordering::Relaxed).saturating_add(COOL_DOWN);
        self.cool_until[at].store(until, Ordering::Relaxed);
    }

    /// Awaits `answer`. The endpoint cools down if it fails or the future is dropped before it answers.
    async fn ask<A>(
        &self,
        at: usize,
        answer: impl Future<Output = Result<A, Fault>>,
    ) -> Result<A, Fault> {
        let in_flight = InFlight { failover: self, at: Some(at) };
        let answer = answer.await;
        in_flight.answered(answer.is_ok());
        answer
    }
}

/// A request in flight. Dropped without an answer, it starts the endpoint's cool-down.
struct InFlight<'a, T: Transport> {
    failover: &'a Failover<T>,
    at: Option<usize>,
}

impl<T: Transport> InFlight<'_, T> {
    fn answered(mut self, well: bool) {
        if let Some(at) = self.at.filter(|_| well) {
            self.failover.answered.store(at, Ordering::Relaxed);
            self.failover.cool_until[at].store(0, Ordering::Relaxed);
            self.at = None;
        }
    }
}

impl<T: Transport> Drop for InFlight<'_, T> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.failover.cool_down(at);
        }
    }
}

impl<T: Transport> Transport for Failover<T> {
    type Feed = T::Feed;

    fn name(&self) -> &str {
        &self.name
    }

    /// The first answer; `None` if at least one endpoint reports that it does not have the item and no
    /// other has it. Endpoints that are cooling down are then not asked.
    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let mut missing = false;
        let mut failed = None;
        let kind = Key::KINDS.iter().position(|kind| *kind == key.kind()).unwrap_or_default();
        for (at, endpoint, cools) in self.in_turn(&self.turns[kind]) {
            if missing && cools {
                break;
            }
            match self.ask(at, endpoint.fetch(key)).await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => missing = true,
                Err(fault) => {
                    debug!(%fault, %key, "asking the next endpoint");
                    failed = Some(fault);
                }
            }
        }
        match failed {
            Some(fault) if !missing => Err(fault),
            _ => Ok(None),
        }
    }

    /// A feed of the endpoint whose turn it is. After a failed feed, the upstream opens the next one at
    /// the next endpoint.
    async fn listen(&self) -> Result<T::Feed, Fault> {
        let mut failed = None;
        for (at, endpoint, _) in self.in_turn(&self.listens) {
            match self.ask(at, endpoint.listen()).await {
                Ok(feed) => return Ok(feed),
                Err(fault) => failed = Some(fault),
            }
        }
        // There is always a first endpoint, so that something failed where nothing was opened.
        Err(failed.unwrap_or_else(|| Fault::new(self.name(), Error::NoEndpoint)))
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        if let Err(fault) = verdict
            && self.endpoints.len() > 1
        {
            let at = self.answered.load(Ordering::Relaxed);
            debug!(%fault, endpoint = self.endpoints[at].name(), "of no use to the view");
            self.cool_down(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Feed, Push};
    use commonware_utils::sync::Mutex;
    use futures::{FutureExt as _, executor::block_on};
    use tidewatch_core::{FaultKind, Height};

    /// Answers always the same, or never, and counts how often it was asked.
    struct Endpoint {
        name: &'static str,
        answer: Option<Result<Option<Bytes>, Fault>>,
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
            match self.answer.clone() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }

        async fn listen(&self) -> Result<Silent, Fault> {
            *self.calls.lock() += 1;
            match self.answer.clone() {
                Some(answer) => answer.map(|_| Silent),
                None => std::future::pending().await,
            }
        }
    }

    fn endpoint(name: &'static str, answer: Result<Option<Bytes>, Fault>) -> Endpoint {
        Endpoint { name, answer: Some(answer), calls: Mutex::default() }
    }

    fn silent(name: &'static str) -> Endpoint {
        Endpoint { name, answer: None, calls: Mutex::default() }
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
        for _ in 0..2 * COOL_DOWN + 8 {
            block_on(failover.fetch(KEY)).unwrap();
        }
        assert_eq!(*failover.endpoints[0].calls.lock(), 3);
    }

    /// Three requests a pass, and the silent one of three endpoints first in every pass: history would
    /// never be longer than nothing.
    #[test]
    fn an_endpoint_whose_answer_is_not_waited_for_rests() {
        let failover = Failover::new(silent("a"), vec![has("b"), has("c")]);
        assert_eq!(failover.fetch(KEY).now_or_never(), None);
        for _ in 0..9 {
            assert!(matches!(failover.fetch(KEY).now_or_never(), Some(Ok(Some(_)))));
        }
        assert!(failover.listen().now_or_never().is_some(), "it rests from feeds too");
        assert_eq!(*failover.endpoints[0].calls.lock(), 1);
    }

    /// Heights without a certificate of their own are ordinary: each would cost a deadline.
    #[test]
    fn what_another_one_lacks_is_not_asked_of_one_that_rests() {
        let failover = Failover::new(silent("a"), vec![endpoint("b", Ok(None))]);
        assert_eq!(failover.fetch(KEY).now_or_never(), None);
        for _ in 0..9 {
            assert_eq!(failover.fetch(KEY).now_or_never(), Some(Ok(None)));
        }
    }

    /// A request that was given up for a reason of our own lets an endpoint rest that is well.
    #[test]
    fn of_two_that_rest_the_one_that_answers_is_asked_from_then_on() {
        let failover = Failover::new(silent("a"), vec![has("b")]);
        failover.cool_down(1);
        let given_up = (0..9).filter(|_| failover.fetch(KEY).now_or_never().is_none()).count();
        assert!(given_up <= 1, "{given_up} requests went to the silent one first");
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

    #[test]
    fn an_endpoint_whose_answer_is_of_no_use_to_the_view_rests_and_comes_back() {
        let failover = Failover::new(has("a"), vec![has("b")]);
        block_on(failover.fetch(KEY)).unwrap();
        let missing = FaultKind::Missing.fault("a, b", "no block at height 7");
        failover.judged(Err(&missing));
        for _ in 0..8 {
            block_on(failover.fetch(KEY)).unwrap();
            failover.judged(Ok(()));
        }
        let asked = || [0, 1].map(|at| *failover.endpoints[at].calls.lock());
        assert_eq!(asked(), [1, 8]);
        for _ in 0..COOL_DOWN {
            block_on(failover.fetch(KEY)).unwrap();
        }
        assert!(asked()[0] > 1, "it is asked again later");
    }

    #[test]
    fn one_endpoint_is_asked_whatever_the_view_says() {
        let failover = Failover::new(has("a"), vec![]);
        block_on(failover.fetch(KEY)).unwrap();
        failover.judged(Err(&FaultKind::Missing.fault("a", "no block at height 7")));
        assert!(block_on(failover.fetch(KEY)).is_ok());
    }
}
