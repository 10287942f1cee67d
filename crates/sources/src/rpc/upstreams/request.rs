//! Calls to one endpoint, in as many requests as it takes them.

use super::{Early, Member, Upstreams};
use crate::{
    error::fault,
    rpc::{
        Answer, Call, NodeError, Rpc, Toll, Unanswered,
        limits::{Next, Slot, sort},
    },
};
use commonware_runtime::Clock;
use futures::stream::{self, StreamExt as _};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{Asked, Fault, FaultKind, within};
use tracing::debug;

/// What one request brought.
struct Brought {
    answers: Vec<Slot>,
    /// What to do about the calls that it left unanswered.
    next: Next,
    /// Of the results.
    bytes: usize,
}

impl<E: Clock, R: Rpc> Upstreams<E, R> {
    /// Sends `calls` to one endpoint, in batches that it takes, several at once where it is not asked too
    /// often. What is answered is kept while the rest is asked for again.
    pub(super) async fn send(
        &self,
        at: usize,
        calls: &[Call],
        early: Early<'_>,
    ) -> Result<Vec<Answer>, Fault> {
        let member = &self.members[at];
        let (batch_before, pause_before) = {
            let allowed = member.allowed.lock();
            (allowed.batch, allowed.pause)
        };
        let mut slots: Vec<_> = calls.iter().map(|_| Slot::Open).collect();
        let (mut waited, mut kept) = (Duration::ZERO, 0_usize);
        loop {
            let open: Vec<_> =
                (0..calls.len()).filter(|call| !slots[*call].is_answered()).collect();
            if open.is_empty() {
                break;
            }
            let (batch, lanes, most, pause) = {
                let allowed = member.allowed.lock();
                (allowed.batch, allowed.lanes, allowed.batches(), allowed.pause)
            };
            if !pause.is_zero() {
                waited += pause;
                self.context.sleep(pause).await;
            }
            let batches: Vec<_> = open.chunks(batch).take(most).collect();
            let brought = self.exchange(at, calls, &batches, lanes, kept, early).await;
            let (mut good, mut slowed) = (0, false);
            for (batch, brought) in batches.iter().zip(brought) {
                let Some(Brought { answers, next, bytes }) = brought else { continue };
                let answered = answers.iter().filter(|slot| slot.is_answered()).count();
                member.allowed.lock().weighed(answered, bytes);
                batch.iter().zip(answers).for_each(|(call, answer)| slots[*call] = answer);
                (good, kept) = (good + answered, kept + bytes);
                if kept > self.answer_max {
                    let error = NodeError::TooLarge { max: self.answer_max };
                    return Err(self.failed(at, fault(member.rpc.name(), error)));
                }
                // Requests that were on their way together are refused together: that is one refusal.
                let slower = matches!(next, Next::Slower(..));
                if slower && slowed {
                    continue;
                }
                slowed |= slower;
                let others = open.len() < calls.len() || good > 0;
                self.learn(at, next, (answered, batch.len()), (waited, others)).inspect_err(
                    |_| {
                        if batch.len() == 1 {
                            // Smaller batches were of no use either.
                            member.allowed.lock().batch = batch_before;
                        }
                    },
                )?;
            }
            if good == 0 && slowed && open.len() < calls.len() {
                // Others were answered, and these are refused whenever they are asked for: it is not for
                // their number. What was said of each is its answer.
                let mut allowed = member.allowed.lock();
                (allowed.batch, allowed.pause) = (batch_before, pause_before);
                break;
            }
        }
        let mut standing = member.standing.lock();
        (standing.failures, standing.rests_until, standing.busy) = (0, 0, 0);
        drop(standing);
        let answers = slots.into_iter().filter_map(|slot| match slot {
            Slot::Open => None,
            Slot::Refused(error) => Some(Err(error)),
            Slot::Answered(answer) => Some(answer),
        });
        let answers: Vec<_> = answers.collect();
        if answers.len() < calls.len() {
            let error = NodeError::AnswerCount { got: answers.len(), want: calls.len() };
            return Err(self.failed(at, fault(member.rpc.name(), error)));
        }
        Ok(answers)
    }

    /// Sends `batches` of `calls`, `lanes` of them at once, until one is not answered in full or more is kept
    /// than an answer may be long, `kept` bytes before. What each of them brought; nothing where it was not
    /// sent.
    async fn exchange(
        &self,
        at: usize,
        calls: &[Call],
        batches: &[&[usize]],
        lanes: usize,
        kept: usize,
        early: Early<'_>,
    ) -> Vec<Option<Brought>> {
        let lanes = lanes.min(batches.len()).max(1);
        let (stopped, kept) = (&AtomicBool::new(false), &AtomicUsize::new(kept));
        let requests = batches.iter().map(|batch| {
            let calls = batch.iter().map(|call| calls[*call].clone());
            // What is on its way at once shares the longest answer.
            let share = match lanes {
                1 => usize::MAX,
                lanes => self.answer_max / lanes / batch.len(),
            };
            let shared = |call: Call| Call { answer_max: call.answer_max.min(share), ..call };
            let calls: Vec<_> = calls.map(shared).collect();
            async move {
                if stopped.load(Ordering::Relaxed) {
                    return None;
                }
                let answered = self.request(at, &calls).await;
                let answered = answered.inspect(|answers| early(batch, answers));
                let (answers, next) = sort(self.members[at].rpc.name(), batch.len(), answered);
                let bytes = answers.iter().map(Slot::bytes).sum();
                let kept = kept.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
                if kept > self.answer_max || !matches!(next, Next::Done) {
                    stopped.store(true, Ordering::Relaxed);
                }
                Some(Brought { answers, next, bytes })
            }
        });
        let requests: Vec<_> = requests.collect();
        stream::iter(requests).buffered(lanes).collect().await
    }

    /// Takes in what a request says about how much, and how often, the endpoint may be asked. Fails if the
    /// calls that are left are not to be asked of it now.
    fn learn(
        &self,
        at: usize,
        next: Next,
        (good, calls): (usize, usize),
        (waited, others): (Duration, bool),
    ) -> Result<(), Fault> {
        let member = &self.members[at];
        match next {
            Next::Done => {
                member.allowed.lock().took(calls, (self.batch_max, self.lanes));
                Ok(())
            }
            Next::Smaller(fault) => {
                member.allowed.lock().smaller(good, calls);
                debug!(%fault, good, calls, "a smaller batch");
                Ok(())
            }
            Next::Slower(fault, after) => {
                let mut allowed = member.allowed.lock();
                if calls > 1 {
                    allowed.smaller(good, calls);
                }
                allowed.slower();
                debug!(%fault, good, calls, pause = ?allowed.pause, "more slowly");
                let patient = after.is_none_or(|after| after <= allowed.pause);
                let alone = self.members.len() == 1;
                if alone && patient && (others || waited + allowed.pause <= self.timeout) {
                    return Ok(());
                }
                let busy = {
                    let mut standing = member.standing.lock();
                    standing.busy = standing.busy.saturating_add(1);
                    standing.busy
                };
                let usual =
                    Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(busy.min(6)));
                let length = after.unwrap_or(usual).min(self.busy_max);
                allowed.leave_alone(self.context.current(), length, &fault.detail);
                drop(allowed);
                self.rest(at);
                Err(self.metrics.refused(fault))
            }
            Next::Fail(fault) => {
                if fault.kind == FaultKind::Timeout && calls > 1 {
                    member.allowed.lock().smaller(0, calls);
                }
                Err(self.failed(at, fault))
            }
        }
    }

    /// One request, within budget and deadline.
    async fn request(&self, at: usize, calls: &[Call]) -> Result<Vec<Answer>, Unanswered> {
        let rpc = &self.members[at].rpc;
        self.members[at].meter.pay().await;
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.metrics.requested(calls.len());
        let unheard = Unheard { upstreams: self, at: Some(at) };
        let asked = Asked::new(&*self.context, self.metrics.monitor(), rpc.name());
        let answers = within(&*self.context, self.timeout, rpc.send(calls)).await;
        let answers = answers.unwrap_or_else(|| {
            let error = NodeError::NoAnswer { limit: self.timeout };
            Err(Unanswered::TooMany(fault(rpc.name(), error)))
        });
        unheard.heard();
        asked.over(answers.as_ref().err().map(|unanswered| unanswered.fault().kind));
        answers
    }

    pub(super) fn toll(&self, member: &Member<E, R>) -> Toll {
        let (meter, metrics) = (member.meter.clone(), self.metrics.clone());
        Arc::new(move || {
            let (meter, metrics) = (meter.clone(), metrics.clone());
            Box::pin(async move {
                meter.pay().await;
                metrics.requested(1);
            })
        })
    }
}

/// A request on its way. Dropped, nobody waited for it any longer.
struct Unheard<'a, E: Clock, R: Rpc> {
    upstreams: &'a Upstreams<E, R>,
    at: Option<usize>,
}

impl<E: Clock, R: Rpc> Unheard<'_, E, R> {
    fn heard(mut self) {
        self.at = None;
    }
}

impl<E: Clock, R: Rpc> Drop for Unheard<'_, E, R> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.upstreams.rest(at);
        }
    }
}
