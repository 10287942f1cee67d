//! Several endpoints of one chain, as one transport.

use crate::{Key, Transport};
use bytes::Bytes;
use std::{
    future::Future,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};
use tidewatch_core::{Fault, FaultKind};
use tracing::debug;

/// Asks endpoints in turn: every request begins at the next one, and goes on to the others until one
/// has an answer. Since nothing is believed that does not verify, an endpoint that lies or lags costs
/// a request, and the second attempt goes elsewhere.
///
/// An endpoint that failed, or was not waited for any longer, comes last for the next 256 requests: one
/// that is silent would otherwise cost every second request of a long history its deadline. An answer
/// ends its rest.
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

    /// The endpoints with their places, and whether they rest: from the one whose turn it is, and last
    /// those that do.
    fn in_turn(&self, turn: &AtomicUsize) -> impl Iterator<Item = (usize, &T, bool)> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let first = turn.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        let rests = |at: &usize| self.rests_until[*at].load(Ordering::Relaxed) > asked;
        // Looked at once: an endpoint that fails on the way is not asked again in the same round.
        let places = (first..self.endpoints.len()).chain(0..first);
        let (mut resting, ready): (Vec<_>, Vec<_>) = places.partition(rests);
        // Whichever failed last comes last.
        resting.sort_by_key(|at| self.rests_until[*at].load(Ordering::Relaxed));
        let ready = ready.into_iter().map(|at| (at, false));
        let resting = resting.into_iter().map(|at| (at, true));
        ready.chain(resting).map(|(at, rests)| (at, &self.endpoints[at], rests))
    }

    fn rest(&self, at: usize) {
        let until = self.asked.load(Ordering::Relaxed).saturating_add(REST);
        self.rests_until[at].store(until, Ordering::Relaxed);
    }

    /// Lets the endpoint rest that fails, or whose answer is not waited for.
    async fn ask<A>(
        &self,
        at: usize,
        answer: impl Future<Output = Result<A, Fault>>,
    ) -> Result<A, Fault> {
        let given_up = Unanswered { failover: self, at: Some(at) };
        let answer = answer.await;
        given_up.answered(answer.is_ok());
        answer
    }
}

/// A request to an endpoint. Dropped, the answer did not come in time.
struct Unanswered<'a, T: Transport> {
    failover: &'a Failover<T>,
    at: Option<usize>,
}

impl<T: Transport> Unanswered<'_, T> {
    fn answered(mut self, well: bool) {
        if let Some(at) = self.at.filter(|_| well) {
            self.failover.rests_until[at].store(0, Ordering::Relaxed);
            self.at = None;
        }
    }
}

impl<T: Transport> Drop for Unanswered<'_, T> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.failover.rest(at);
        }
    }
}

impl<T: Transport> Transport for Failover<T> {
    type Feed = T::Feed;

    fn name(&self) -> &str {
        &self.name
    }

    /// The first answer; `None` if at least one endpoint says that it does not have it and no other
    /// has it either. One that rests is then not asked.
    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let mut missing = false;
        let mut failed = None;
        let kind = Key::KINDS.iter().position(|kind| *kind == key.kind()).unwrap_or_default();
        for (at, endpoint, rests) in self.in_turn(&self.turns[kind]) {
            if missing && rests {
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

    /// A feed of the endpoint whose turn it is. A feed that fails is opened again by its upstream,
    /// at the next one.
    async fn listen(&self) -> Result<T::Feed, Fault> {
        let mut failed = None;
        for (at, endpoint, _) in self.in_turn(&self.listens) {
            match self.ask(at, endpoint.listen()).await {
                Ok(feed) => return Ok(feed),
                Err(fault) => failed = Some(fault),
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
    use futures::{FutureExt as _, executor::block_on};
    use tidewatch_core::Height;

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
        for _ in 0..2 * REST + 8 {
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
        failover.rest(1);
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
}
